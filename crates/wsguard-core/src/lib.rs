//! The sans-IO core of wsguard: frames, handshakes and messages as pure functions of input and time.

pub mod frame;
pub mod json;
pub mod markup;
pub mod schema;
pub mod time;
pub mod token;
