//! One request for a JWK set, with limits on everything that the other side decides.
//!
//! Attacks: an issuer's address that redirects elsewhere (refused: the operator names the address), a body without end
//! (cut off at the limit), a server that answers slowly or never (one deadline for all of it), compressed bombs
//! (nothing is decoded, none is asked for), another host with a certificate of its own (TLS with the system's or the
//! operator's roots; nothing switches that off).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wsguard::core::token::KEY_SET_BYTES_MAX;

use super::Address;

/// From the look-up of the name to the last byte. Issuers answer within a second; a start waits no longer than this.
pub(super) const FETCH_TIME_MAX: Duration = Duration::from_secs(10);

/// Largest head of the answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Where systems keep the certificates that they trust, as one file; the first that is there counts. Kept up to date with
/// the system, which certificates inside this program would not be.
const SYSTEM_ROOTS: &[&str] = &[
    // Debian, Ubuntu, Arch, Gentoo
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, Red Hat
    "/etc/pki/tls/certs/ca-bundle.crt",
    // SUSE
    "/etc/ssl/ca-bundle.pem",
    // Alpine, the BSDs, macOS
    "/etc/ssl/cert.pem",
];

/// Why there is no key set. Names no byte of the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("connect: {0}")]
    Connect(std::io::Error),
    #[error("ask: {0}")]
    Http(hyper::Error),
    #[error("it answers with status {0}; expected 200")]
    Status(StatusCode),
    #[error("it answers with a redirect ({0}); give the address that it leads to")]
    Redirect(StatusCode),
    #[error("its answer is longer than {KEY_SET_BYTES_MAX} bytes, or breaks off")]
    Body,
    #[error("no answer within {} s", FETCH_TIME_MAX.as_secs())]
    Late,
}

/// Why nothing can be fetched at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetcherError {
    /// `auth.jwks_ca` cannot be used.
    #[error("read {}: expected PEM with at least one block CERTIFICATE", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// The system has no certificates to trust.
    #[error("trust the issuer: no root certificates in {}; set auth.jwks_ca", SYSTEM_ROOTS.join(", "))]
    NoRoots,
    /// TLS cannot be set up: a fault of the build.
    #[error("set up TLS: {0}")]
    Provider(rustls::Error),
    /// The host is no name that a certificate can have.
    #[error("ask {0}: its host is no name that a certificate can have")]
    Host(Address),
}

/// Fetches one address.
pub(super) struct Fetcher {
    address: Address,
    /// `None` for `http://` on loopback.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    time_max: Duration,
}

impl Fetcher {
    /// A fetcher for `address` that trusts `authority` (PEM), else the system's roots.
    pub(super) fn new(address: Address, authority: Option<&Path>) -> Result<Self, FetcherError> {
        let tls = if address.is_tls() {
            let name = ServerName::try_from(address.host().to_owned());
            let name = name.map_err(|_| FetcherError::Host(address.clone()))?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
                .map_err(FetcherError::Provider)?
                .with_root_certificates(roots(authority)?)
                .with_no_client_auth();
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { address, tls, time_max: FETCH_TIME_MAX })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks once.
    pub(super) async fn fetch(&self) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.time_max, self.ask()).await.unwrap_or(Err(FetchError::Late))
    }

    async fn ask(&self) -> Result<Bytes, FetchError> {
        let place = (self.address.host(), self.address.port());
        let stream = TcpStream::connect(place).await.map_err(FetchError::Connect)?;
        match &self.tls {
            None => self.request(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(FetchError::Connect)?;
                self.request(stream).await
            }
        }
    }

    async fn request<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Bytes, FetchError> {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::GET;
        // The target was parsed with the address; an address that passed cannot fail here.
        *request.uri_mut() = self.address.target().parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.address.authority()) {
            headers.insert(HOST, host);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("wsguard/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(FetchError::Http)?;
            let status = response.status();
            if status.is_redirection() || response.headers().contains_key(LOCATION) {
                return Err(FetchError::Redirect(status));
            }
            if status != StatusCode::OK {
                return Err(FetchError::Status(status));
            }
            let body = Limited::new(response.into_body(), KEY_SET_BYTES_MAX);
            Ok(body.collect().await.map_err(|_| FetchError::Body)?.to_bytes())
        };
        // The connection moves the bytes of the exchange; when it ends first, the exchange still has what it read.
        let connection = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! { outcome = exchange => outcome, () = connection => Err(FetchError::Body) }
    }
}

/// The certificates of `authority`, all of which must be good; without one those of the system.
fn roots(authority: Option<&Path>) -> Result<RootCertStore, FetcherError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority {
        let unfit = || FetcherError::Authority { path: path.to_owned() };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unfit())? {
            roots.add(certificate.map_err(|_| unfit())?).map_err(|_| unfit())?;
        }
        return if roots.is_empty() { Err(unfit()) } else { Ok(roots) };
    }
    let system = SYSTEM_ROOTS.iter().find_map(|path| CertificateDer::pem_file_iter(path).ok());
    // Some of a system's certificates may be beyond what rustls takes; the others count.
    roots.add_parsable_certificates(system.into_iter().flatten().filter_map(Result::ok));
    if roots.is_empty() {
        return Err(FetcherError::NoRoots);
    }
    Ok(roots)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// An issuer on a free port that answers every request with the same bytes, and counts.
    pub(in super::super) struct Issuer {
        pub(in super::super) address: Address,
        answer: Arc<Mutex<Vec<u8>>>,
        asked: Arc<AtomicUsize>,
        pub(in super::super) heads: Arc<Mutex<Vec<String>>>,
    }

    impl Issuer {
        pub(in super::super) async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}/keys?v=1", listener.local_addr().unwrap()).parse().unwrap();
            let issuer = Self { address, answer: Arc::default(), asked: Arc::default(), heads: Arc::default() };
            let (answer, asked, heads) =
                (Arc::clone(&issuer.answer), Arc::clone(&issuer.asked), Arc::clone(&issuer.heads));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let heads = Arc::clone(&heads);
                    tokio::spawn(async move {
                        let mut head = vec![0; 4_096];
                        let length = stream.read(&mut head).await.unwrap_or(0);
                        head.truncate(length);
                        heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                        let _ = stream.write_all(&answer).await;
                        if answer.is_empty() {
                            // Silent: the peer's patience ends first.
                            let _ = stream.read(&mut [0; 1]).await;
                        }
                    });
                }
            });
            issuer
        }

        pub(in super::super) fn says(&self, answer: impl Into<Vec<u8>>) {
            *self.answer.lock().unwrap() = answer.into();
        }

        /// Answers with a 200 and `body`.
        pub(in super::super) fn publishes(&self, body: &str) {
            let length = body.len();
            self.says(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }

        pub(in super::super) fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn only_a_whole_small_200_is_an_answer() {
        let issuer = Issuer::start().await;
        let mut fetcher = Fetcher::new(issuer.address.clone(), None).unwrap();
        fetcher.time_max = Duration::from_millis(300);
        let huge = vec![b' '; KEY_SET_BYTES_MAX + 1];
        let with = |head: &str, body: &[u8]| [head.as_bytes(), b"\r\n\r\n", body].concat();
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", huge.len());
        for (name, answer, want) in [
            ("good", with("HTTP/1.1 200 OK\r\nContent-Length: 2", b"{}"), Ok(2)),
            ("until the end", with("HTTP/1.1 200 OK", b"{ }"), Ok(3)),
            (
                "redirect",
                with("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0", b""),
                Err("a redirect (302"),
            ),
            (
                "redirect by another status",
                with("HTTP/1.1 200 OK\r\nLocation: /x\r\nContent-Length: 2", b"{}"),
                Err("a redirect (200"),
            ),
            ("not found", with("HTTP/1.1 404 Not Found\r\nContent-Length: 2", b"{}"), Err("status 404")),
            ("no content", with("HTTP/1.1 204 No Content", b""), Err("status 204")),
            ("declared too long", with(&long, &huge), Err("longer than")),
            ("too long without saying", with("HTTP/1.1 200 OK", &huge), Err("longer than")),
            ("breaks off", with("HTTP/1.1 200 OK\r\nContent-Length: 9", b"{}"), Err("breaks off")),
            ("head too long", with(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)), b""), Err("ask:")),
            ("not HTTP", b"hello\r\n\r\n".to_vec(), Err("ask:")),
            ("silent", Vec::new(), Err("no answer")),
        ] {
            issuer.says(answer);
            let got = fetcher.fetch().await.map(|body| body.len()).map_err(|error| error.to_string());
            match (&got, want) {
                (Ok(length), Ok(want)) => assert_eq!(*length, want, "{name}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{name}: {error}"),
                _ => panic!("{name}: {got:?}"),
            }
        }
        let heads = issuer.heads.lock().unwrap();
        assert!(heads[0].starts_with("GET /keys?v=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{}", heads[0]);
        assert!(!heads[0].to_ascii_lowercase().contains("accept-encoding"), "{}", heads[0]);
    }

    #[tokio::test]
    async fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Address = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = Fetcher::new(address, None).unwrap().fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Connect(_)), "{error}");
    }

    #[tokio::test]
    async fn an_issuer_over_tls_is_proved() {
        use crate::config::TlsFiles;
        use crate::tls::Certificates;
        use crate::tls::tests::{certificate, pem};
        let path =
            |kind: &str| std::env::temp_dir().join(format!("wsguard-jwks-tls-{}-{kind}.pem", std::process::id()));
        let (files, stranger) = (TlsFiles { cert: path("cert"), key: path("key") }, path("stranger"));
        let (cert, key) = certificate();
        std::fs::write(&files.cert, pem("CERTIFICATE", &cert)).unwrap();
        std::fs::write(&files.key, pem("PRIVATE KEY", &key)).unwrap();
        std::fs::write(&stranger, pem("CERTIFICATE", &certificate().0)).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Certificates::load(&files).unwrap().config().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 4_096]).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        for (name, host, authority, want) in [
            ("its own authority", "localhost", &files.cert, true),
            ("another authority", "localhost", &stranger, false),
            ("another name", "127.0.0.1", &files.cert, false),
        ] {
            let address = format!("https://{host}:{port}/k").parse().unwrap();
            let got = Fetcher::new(address, Some(authority)).unwrap().fetch().await;
            assert_eq!(got.is_ok(), want, "{name}: {got:?}");
        }
        for path in [&files.cert, &files.key, &stranger] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn an_authority_that_is_none_is_told() {
        let path = std::env::temp_dir().join(format!("wsguard-jwks-ca-{}.pem", std::process::id()));
        let address: Address = "https://login.example/k".parse().unwrap();
        for (name, text) in [
            ("empty", ""),
            ("garbage", "garbage"),
            ("a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Fetcher::new(address.clone(), Some(&path)).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains("jwks-ca")), "{name}: {error:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Fetcher::new(address, Some(&path)), Err(FetcherError::Authority { .. })));
    }
}
