//! The standalone server of wsguard.

pub mod keys;
