//! The standalone server of wsguard: listeners, TLS, configuration, admin interface, built-in application.

mod admin;
pub mod app;
pub mod config;
mod dev;
mod http;
pub mod journal;
pub mod jwks;
mod keyholder;
pub mod keys;
mod listener;
pub mod proxy;
mod public;
mod renew;
pub mod schemas;
mod serve;
mod setup;
pub mod tls;

pub use serve::{Listening, ServeError, ServeOptions, environment, serve};
