//! JSON Schema 2020-12, compiled once and run over the tape.
