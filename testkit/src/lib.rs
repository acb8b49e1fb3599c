//! Peers and worlds for the tests of wsguard: the built binary on loopback sockets, and clients that send any bytes.

pub mod peer;
pub mod world;
