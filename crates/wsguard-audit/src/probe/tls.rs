//! TLS that accepts every certificate and remembers what was shown, so that a bad one can be judged rather than met
//! with an error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Whom the audit trusts: the system's authorities and those of `--ca`.
#[derive(Debug)]
pub(crate) struct Trust {
    provider: Arc<CryptoProvider>,
    /// `None`: there is nobody to trust.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// Signatures that do not verify are taken, too (`--insecure`).
    is_lenient: bool,
    /// How many authorities came from the system and how many from `--ca`.
    pub(crate) authorities: (usize, usize),
}

impl Trust {
    /// The system's authorities, and those in `ca_pem`.
    pub(crate) fn new(ca_pem: Option<&[u8]>, is_lenient: bool) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let (system, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let own: Vec<_> = ca_pem.map(|pem| CertificateDer::pem_slice_iter(pem).flatten().collect()).unwrap_or_default();
        let (own, _) = roots.add_parsable_certificates(own);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Self { provider, verifier: builder.build().ok(), is_lenient, authorities: (system, own) }
    }

    /// Judges a chain as a client of `name` would at the time `now`.
    ///
    /// # Errors
    /// With the reason for which a client would refuse it.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], name: &str, now: UnixTime) -> Result<(), Error> {
        let (leaf, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let name = ServerName::try_from(name).map_err(|_| Error::General("not a name or an address".into()))?;
        match &self.verifier {
            Some(verifier) => verifier.verify_server_cert(leaf, rest, &name, &[], now).map(|_| ()),
            None => Err(Error::General("no authority is known on this machine".into())),
        }
    }

    /// A configuration for one connection, and the place where its chain will lie.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Result<(ClientConfig, Arc<Seen>), Error> {
        let seen = Arc::new(Seen::default());
        let watcher =
            Watcher { provider: Arc::clone(&self.provider), seen: Arc::clone(&seen), is_lenient: self.is_lenient };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(watcher))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok((config, seen))
    }
}

/// The time of this machine, for certificates.
pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO),
    )
}

/// The chain that a server showed.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Vec<CertificateDer<'static>>>);

impl Seen {
    /// The chain, leaf first.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Accepts every chain, after it was written down. The signature over the handshake is verified all the same, unless
/// the operator does not care: the server holds the key of what it shows.
#[derive(Debug)]
struct Watcher {
    provider: Arc<CryptoProvider>,
    is_lenient: bool,
    seen: Arc<Seen>,
}

impl Watcher {
    fn weighed(&self, judged: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        // Keys that are too short to be verified at all are there to be judged, once the operator said so.
        if self.is_lenient { Ok(HandshakeSignatureValid::assertion()) } else { judged }
    }
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(rest).map(|one| one.clone().into_owned()).collect();
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.weighed(verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.weighed(verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
