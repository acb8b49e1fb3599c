//! `wsguard serve`: from options to a running server.

use std::path::PathBuf;

use crate::config::{Config, ConfigErrors, Loaded, Overrides};
use crate::keys::{self, KeysInvalid};
use crate::tls::{self, TlsError};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The configuration file; `None` runs with defaults and environment.
    pub config: Option<PathBuf>,
    /// `--dev`
    pub dev: bool,
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin`
    pub admin: Option<String>,
    /// Called once with what was loaded, before anything is opened: the caller prints warnings and limits.
    pub on_loaded: fn(&Loaded),
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration has mistakes.
    #[error("load the configuration:\n{0}")]
    Config(#[from] ConfigErrors),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys of `auth.keys` cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysInvalid),
    /// This build has no listener.
    #[error("open a listener: this build has none")]
    NoListener,
}

impl ServeError {
    /// Whether the configuration is at fault (exit code 2) rather than the course of events (1).
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::Tls(_) | Self::Keys(_) => true,
            Self::NoListener => false,
        }
    }
}

/// Runs the server until it is told to end. Blocks.
///
/// # Errors
/// A configuration, certificate or key that cannot be used, all before anything is opened.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let ServeOptions {
        config,
        dev,
        listen,
        admin,
        on_loaded,
    } = options;
    let loaded = Config::load(config.as_deref(), environment(), &Overrides { listen, admin, dev })?;
    on_loaded(&loaded);
    let _tls = loaded.config.tls.as_ref().map(tls::server_config).transpose()?;
    let _ring = keys::load_keys(&loaded.config.auth.keys)?;
    Err(ServeError::NoListener)
}

/// The variables of this process. One that is not UTF-8 cannot be a setting; it is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
