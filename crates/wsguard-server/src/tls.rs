//! TLS for the public and the admin listener, from PEM files.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 as the only application protocol: WebSockets over HTTP/2 do not pass the guard, so no client
//! may choose it. Attacks: replayed early data (RFC 8446 section 8: it is off), cross-protocol requests (ALPACA: ALPN is
//! compared), stolen ticket keys that open recorded traffic (no self-contained tickets; resumption is by a bounded cache).

mod certificates;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use certificates::Certificates;

use crate::config::TlsFiles;

/// Longest PEM file in bytes. A chain of four certificates takes about 8 KiB.
pub const PEM_BYTES_MAX: u64 = 1_048_576;

/// TLS sessions that can be resumed without a full handshake; the oldest is forgotten first. About 1 KiB each.
pub const RESUMABLE_SESSIONS_MAX: usize = 4_096;

/// Tickets a TLS 1.3 handshake sends: one; the default of two is for browsers that fetch many files at once.
const TICKETS: usize = 1;

/// Why TLS could not be set up. Names the file and what was expected of it, never what it holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    #[error("read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is longer than [`PEM_BYTES_MAX`].
    #[error("read {}: expected at most {PEM_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("read {}: expected {expected}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key are each readable and do not work together.
    #[error("use {} with {}: {error}", key.display(), cert.display())]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls says.
        error: rustls::Error,
    },
    /// The cryptographic provider lacks a protocol version: a fault of the build.
    #[error("set up TLS: {0}")]
    Provider(rustls::Error),
}

/// Makes the TLS configuration of a listener whose files are not read again; see [`Certificates`] for one whose are.
///
/// # Errors
/// Files that cannot be read, that hold no certificate or key, or that do not belong together.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    Certificates::load(files)?.config()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(unfit(path, "PEM with at least one block CERTIFICATE, the server's own first")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let encrypted = String::from_utf8_lossy(&pem).contains("ENCRYPTED");
        let expected = if encrypted {
            "a private key without a password; remove it with: openssl pkey"
        } else {
            "PEM with one block PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY"
        };
        unfit(path, expected)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(PEM_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= PEM_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(TlsError::TooLong { path: path.to_owned() })
    }
}

fn unfit(path: &Path, expected: &'static str) -> TlsError {
    TlsError::Unfit { path: path.to_owned(), expected }
}

#[cfg(test)]
pub(crate) mod tests;
