//! The controls: one file each, holding its policy, its state and its cases.
//!
//! None of them knows another. Their order stands in [`crate::handshake`] and [`crate::guard`], written out by hand,
//! because the order is part of the security.

pub mod anomaly;
pub mod authorization;
pub(crate) mod content;
pub mod credential;
pub(crate) mod csrf;
pub mod delivery;
pub mod envelope;
pub mod heartbeat;
pub mod host;
pub(crate) mod order;
pub mod origin;
pub mod penalty;
pub mod rate;
pub mod revocation;
pub(crate) mod schema;
pub mod session;
pub mod shadow;
