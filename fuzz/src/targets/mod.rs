pub mod config;
pub mod content;
pub mod envelope;
pub mod frame;
pub mod handshake;
pub mod scan;
pub mod schema;
pub mod token;
