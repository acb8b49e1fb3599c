//! Peers, worlds and traces for the tests of wsguard: the built binary on loopback sockets, clients that send any bytes, a
//! network between them that fails when told to, and characters in virtual time.

pub mod cost;
mod documents;
pub mod evaluation;
pub mod log_table;
pub mod path;
pub mod peer;
pub mod program;
pub mod proxy;
pub mod scripted;
pub mod scripted_tls;
pub mod traces;
pub mod wire;
pub mod world;
