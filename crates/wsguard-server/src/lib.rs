//! The standalone server of wsguard: listeners, TLS, configuration, admin interface, built-in application.

mod admin;
pub mod app;
pub mod config;
mod dev;
pub mod embed;
mod http;
pub mod journal;
pub mod jwks;
mod keyholder;
pub mod keys;
mod listener;
mod pending;
pub mod proxy;
mod public;
mod reload;
mod rfc3339;
pub mod schemas;
mod serve;
mod setup;
mod shadow;
pub mod store;
pub mod tls;

pub use rfc3339::time_from_rfc3339;
pub use serve::{Listening, ServeError, ServeOptions, environment, serve};
