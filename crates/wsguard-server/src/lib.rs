//! The standalone server of wsguard: listeners, TLS, configuration, admin interface, built-in application.

pub mod config;
pub mod journal;
pub mod keys;
pub mod proxy;
pub mod schemas;
mod serve;
pub mod tls;

pub use serve::{ServeError, ServeOptions, environment, serve};
