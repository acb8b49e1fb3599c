//! The documents whose Rust is compiled: `cargo test --doc` reads them from here. `tests/snippets` fails where one with
//! Rust in it is missing, and sees to the other languages.

/// Includes a document for its examples.
macro_rules! documents {
    ($($name:ident: $path:literal;)*) => {
        $(#[cfg(doctest)]
        #[doc = include_str!(concat!("../../", $path))]
        struct $name;)*
    };
}

documents! {
    Readme: "README.md";
    Clients: "docs/clients.md";
    Embedding: "docs/embedding.md";
}
