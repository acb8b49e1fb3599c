//! The standalone server of wsguard: listeners, TLS, configuration, admin interface, built-in application.

pub mod config;
pub mod keys;
pub mod proxy;
