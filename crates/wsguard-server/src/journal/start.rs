//! From the configuration to an open log.

use std::io;
use std::path::{Path, PathBuf};

use wsguard_core::token::{Algorithm, SigningKey};

use super::{Journal, Options};
use crate::config::{Log, LogFormat, LogTarget};
use crate::keys::{self, KeyLoadError, KeygenError};

/// Why the security log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, or the writer cannot start.
    #[error("open log.security: {0}")]
    Open(io::Error),
    /// The key that signs checkpoints cannot be read.
    #[error("sign the security log: {0}")]
    Key(KeyLoadError),
    /// The key that signs checkpoints cannot be made.
    #[error("make the key of the security log: {0}")]
    KeyNotMade(KeygenError),
    /// The key that signs checkpoints is an HS256 secret: who could verify could forge.
    #[error("sign the security log: {} is an HS256 secret, expected a key pair (`wsguard keygen --out FILE`)", .0.display())]
    KeyIsSecret(PathBuf),
}

impl Journal {
    /// Opens the log that `log` describes. `on_terminal`: standard error is one.
    ///
    /// # Errors
    /// The log, or the key that signs its checkpoints, cannot be had: without them nothing is served.
    pub fn start(log: &Log, on_terminal: bool) -> Result<Self, JournalError> {
        // A person reads the terminal; a file is for machines, and for an auditor who wants its chain.
        let for_people = log.security == LogTarget::Stderr && on_terminal;
        let format = log.format.unwrap_or(if for_people { LogFormat::Human } else { LogFormat::Json });
        let key = match (&log.key_file, &log.security) {
            _ if format == LogFormat::Human => None,
            (Some(path), _) => Some(path.clone()),
            (None, LogTarget::File(path)) => Some(made_beside(path)?),
            (None, LogTarget::Stderr) => None,
        };
        Self::open(Options {
            target: log.security.clone(),
            format,
            key: key.map(|path| load(&path)).transpose()?,
            checkpoints: log.checkpoints.clone(),
            rotate_bytes: log.rotate_bytes,
            keep_files: usize::try_from(log.keep_files).unwrap_or(usize::MAX),
        })
        .map_err(JournalError::Open)
    }
}

/// Reads the key that signs: a pair, so that whoever verifies cannot sign.
fn load(path: &Path) -> Result<SigningKey, JournalError> {
    let key = keys::load_signing_key(path).map_err(JournalError::Key)?;
    if key.algorithm() == Algorithm::Hs256 {
        return Err(JournalError::KeyIsSecret(path.to_owned()));
    }
    Ok(key)
}

/// The signing key beside the log: made at the first start, so that every log in a file is vouched for.
fn made_beside(log: &Path) -> Result<PathBuf, JournalError> {
    // `security.jsonl*` is the log and its rotated files, and not this key.
    let path = log.with_extension("key");
    if !path.exists() {
        keys::generate(Algorithm::EdDsa)
            .and_then(|key| keys::write_key_files(&path, &key))
            .map_err(JournalError::KeyNotMade)?;
    }
    Ok(path)
}
