//! JSON Web Tokens: strict verification with keys given from outside.
