//! TLS for the scripted server: what a library speaks, with any certificate, and first answers written by hand, which
//! no library gives any more.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "for tests: what does not come as expected is a failed test"
)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::scripted::Ask;

/// A ClientHello that no library wrote: it names no `supported_versions`.
#[derive(Clone, Debug)]
pub struct Hello {
    /// 0x0301 is TLS 1.0.
    pub version: u16,
    /// The suites that are offered.
    pub suites: Vec<u16>,
    /// DEFLATE is offered.
    pub compression: bool,
}

/// The first answer to it.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A ServerHello with version, suite, compression, and whether secure renegotiation is known.
    Hello(u16, u16, bool, bool),
    /// An alert with this description.
    Alert(u8),
    /// The end.
    Close,
}

/// What a server of today says: TLS 1.2 with a good suite, and alerts to everything else.
pub fn current(hello: &Hello) -> Answer {
    match hello {
        Hello { version: 0x0301 | 0x0302, .. } => Answer::Alert(70),
        Hello { suites, .. } if suites.contains(&0xc02f) => Answer::Hello(0x0303, 0xc02f, false, true),
        _ => Answer::Alert(40),
    }
}

/// The certificate of a server.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Whom it names.
    pub name: &'static str,
    /// Its first and its last day, from today.
    pub days: (i64, i64),
    /// Signed by the authority that the audit is told to trust, rather than by itself.
    pub is_trusted: bool,
    /// PEM of further certificates that are shown behind it.
    pub chain: &'static str,
}

impl Certificate {
    /// One that there is nothing to say about.
    pub const GOOD: Self = Self { name: "localhost", days: (-1, 90), is_trusted: true, chain: "" };
}

type ByHand = Arc<dyn Fn(&Hello) -> Answer + Send + Sync>;
type OverHttp2 = Arc<dyn Fn(&Ask) -> u16 + Send + Sync>;

/// How a scripted server speaks TLS.
#[derive(Clone)]
pub struct Tls {
    config: ServerConfig,
    ca: Vec<u8>,
    by_hand: ByHand,
    over_http2: Option<OverHttp2>,
    offers_connect: bool,
    speaks_until: u32,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("speaks_until", &self.speaks_until).finish_non_exhaustive()
    }
}

/// What a connection became.
pub(crate) enum Spoken {
    /// HTTP/1.1 is to follow.
    Http1(Box<TlsStream<TcpStream>>),
    /// It is over.
    Done,
}

impl Tls {
    /// A server of today.
    pub fn good() -> Self {
        Self::with(&Certificate::GOOD, rustls::ALL_VERSIONS)
    }

    /// With this certificate and these versions.
    pub fn with(certificate: &Certificate, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new(vec![certificate.name.to_owned()]).unwrap();
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
        let day = |from_today: i64| {
            let days = u64::try_from(i64::try_from(today).unwrap() + from_today).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(days * 86_400)
        };
        (leaf.not_before, leaf.not_after) = (day(certificate.days.0), day(certificate.days.1));
        let key = KeyPair::generate().unwrap();
        let signed = if certificate.is_trusted {
            leaf.signed_by(&key, &authority).unwrap()
        } else {
            leaf.self_signed(&key).unwrap()
        };
        let further = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).map(Result::unwrap);
        let chain = std::iter::once(signed.der().clone()).chain(further).collect();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let (by_hand, ca) = (Arc::new(current), authority.pem().into_bytes());
        Self { config, ca, by_hand, over_http2: None, offers_connect: true, speaks_until: u32::MAX }
    }

    /// With other answers to what no library sends.
    #[must_use]
    pub fn by_hand(mut self, answer: impl Fn(&Hello) -> Answer + Send + Sync + 'static) -> Self {
        self.by_hand = Arc::new(answer);
        self
    }

    /// With session tickets that allow early data.
    #[must_use]
    pub fn early_data(mut self) -> Self {
        self.config.max_early_data_size = 16_384;
        self
    }

    /// With HTTP/2, whose handshakes get the status that `answer` gives.
    #[must_use]
    pub fn http2(mut self, answer: impl Fn(&Ask) -> u16 + Send + Sync + 'static) -> Self {
        self.config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self.over_http2 = Some(Arc::new(answer));
        self
    }

    /// HTTP/2 has no WebSockets.
    #[must_use]
    pub fn without_connect(mut self) -> Self {
        self.offers_connect = false;
        self
    }

    /// Speaks on the first connection, and says nothing on all others.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.speaks_until = 1;
        self
    }

    /// The authority to trust, as PEM.
    pub(crate) fn ca(&self) -> Vec<u8> {
        self.ca.clone()
    }

    /// Does what it does with a connection; `None`: it failed.
    pub(crate) async fn accept(&self, mut stream: TcpStream, number: u32, address: SocketAddr) -> Option<Spoken> {
        if number > self.speaks_until {
            let mut ignored = Vec::new();
            while stream.read_buf(&mut ignored).await.ok()? > 0 {}
            return None;
        }
        let Some(hello) = peeked(&stream).await? else {
            let stream = TlsAcceptor::from(Arc::new(self.config.clone())).accept(stream).await.ok()?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return match &self.over_http2 {
                Some(answer) if is_http2 => {
                    self.speak_http2(stream, answer, number, address).await;
                    Some(Spoken::Done)
                }
                _ => Some(Spoken::Http1(Box::new(stream))),
            };
        };
        let record = match (self.by_hand)(&hello) {
            Answer::Hello(version, suite, compressed, renegotiation) => {
                let mut body = version.to_be_bytes().to_vec();
                body.extend_from_slice(&[7; 32]);
                body.push(0);
                body.extend_from_slice(&suite.to_be_bytes());
                body.push(u8::from(compressed));
                let extensions: &[u8] = if renegotiation { &[0, 5, 0xff, 0x01, 0, 1, 0] } else { &[0, 0] };
                body.extend_from_slice(extensions);
                let length = u8::try_from(body.len()).unwrap();
                [&[22, 3, 3, 0, length + 4, 2, 0, 0, length], body.as_slice()].concat()
            }
            Answer::Alert(description) => vec![21, 3, 1, 0, 2, 2, description],
            Answer::Close => Vec::new(),
        };
        stream.write_all(&record).await.ok()?;
        Some(Spoken::Done)
    }

    async fn speak_http2(&self, stream: TlsStream<TcpStream>, answer: &OverHttp2, number: u32, address: SocketAddr) {
        let mut builder = h2::server::Builder::new();
        if self.offers_connect {
            builder.enable_connect_protocol();
        }
        let Ok(mut connection) = builder.handshake::<_, bytes::Bytes>(stream).await else { return };
        let mut open = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            let line = format!("CONNECT {} HTTP/2", request.uri().path());
            let ask = Ask { number, line, headers, address, peer: address, body: String::new() };
            let response = http::Response::builder().status(answer(&ask)).body(()).unwrap();
            // Kept open: a stream that is dropped is reset.
            open.push((respond.send_response(response, false), request.into_body()));
        }
    }
}

/// The hello that waits on the connection; `Some(None)` when a library wrote it.
async fn peeked(stream: &TcpStream) -> Option<Option<Hello>> {
    let mut buffer = vec![0; 16_384];
    loop {
        let count = stream.peek(&mut buffer).await.ok()?;
        let length = usize::from(u16::from_be_bytes([buffer[3], buffer[4]]));
        if count == 0 || (count >= 5 && buffer[0] != 22) {
            return Some(None);
        }
        if count >= 5 && count >= length + 5 {
            return Some(read(&buffer[5..length + 5]));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn read(message: &[u8]) -> Option<Hello> {
    let two = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let version = u16::try_from(two(4)).unwrap();
    let at = 39 + usize::from(message[38]);
    let (length, at) = (two(at), at + 2);
    let suites = message[at..at + length].chunks(2).map(|suite| u16::from_be_bytes([suite[0], suite[1]])).collect();
    let at = at + length;
    let compression = message[at + 1..=at + usize::from(message[at])].contains(&1);
    let mut at = at + 1 + usize::from(message[at]) + 2;
    while at + 4 <= message.len() {
        if two(at) == 43 {
            return None;
        }
        at += 4 + two(at + 2);
    }
    Some(Hello { version, suites, compression })
}
