//! Certificate and key as they are now: read at start, read again when told to, swapped in one step.
//!
//! Attack: a certificate that was replaced because its key leaked, and goes on being served until somebody restarts the
//! server and breaks every connection (CWE-324). A reload reaches every handshake from then on, also resumed ones: what
//! could be resumed is forgotten with the old certificate. Files that do not fit leave the old certificate in place.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::{RESUMABLE_SESSIONS_MAX, TICKETS, TlsError, certificates, private_key};
use crate::config::TlsFiles;

/// The certificate that new TLS handshakes get. Shared by all listeners; open connections keep what they have.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<Served>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    /// Sessions that began with this certificate.
    sessions: Arc<ServerSessionMemoryCache>,
}

impl Served {
    fn load(files: &TlsFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (chain, key) = (certificates(&files.cert)?, private_key(&files.key)?);
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Mismatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
            error,
        })?;
        Ok(Self { key: Arc::new(key), sessions: ServerSessionMemoryCache::new(RESUMABLE_SESSIONS_MAX) })
    }
}

impl Certificates {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// Files that cannot be read, that hold no certificate or key, or that do not belong together.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let served = Served::load(files, &provider)?;
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(served), provider }))
    }

    /// Reads the files again, maybe others than before, and serves what they hold from the next handshake on. Returns
    /// whether the certificate is another one.
    ///
    /// Blocks on the file system. Between the two files of a renewal the old certificate stays: call again when both
    /// are in place.
    ///
    /// # Errors
    /// As [`Certificates::load`]; the old certificate stays in place.
    pub fn reload(&self, files: &TlsFiles) -> Result<bool, TlsError> {
        let served = Served::load(files, &self.provider)?;
        let changed = self.current.load().key.cert != served.key.cert;
        if changed {
            self.current.store(Arc::new(served));
        }
        Ok(changed)
    }

    /// The TLS configuration of a listener that serves these.
    ///
    /// # Errors
    /// [`TlsError::Provider`]: the build lacks a protocol version.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Provider)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = TICKETS;
        config.session_storage = Arc::<Self>::clone(self);
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

impl StoresServerSessions for Certificates {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.current.load().sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.current.load().sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.current.load().sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
