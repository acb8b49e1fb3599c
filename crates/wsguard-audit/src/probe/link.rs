//! A connection of the audit: bytes out, bytes in, how long each phase took, and who ended it.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::budget::Permit;
use super::response::{HEAD_BYTES_MAX, Response, head_end, unchunked};
use super::tls::Trust;
use crate::target::Target;

/// Most of a body that is kept, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a connection runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the end of it a reset, where there is TCP to reset.
    fn reset(&self);
}

impl Stream for TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Stream for TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// A stream within a connection of HTTP/2.
impl Stream for DuplexStream {
    fn reset(&self) {}
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The target closed it in order.
    Fin,
    /// The target, or something before it, tore it down.
    Reset,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fin => "the connection was closed",
            Self::Reset => "the connection was reset",
        })
    }
}

/// Why there is no connection, or no answer on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// No TCP connection.
    Connect(String),
    /// No TLS on it.
    Tls(String),
    /// No answer in time.
    Silent,
    /// The answer is not HTTP.
    NotHttp,
    /// The proxy in front has no server behind it.
    Gateway(u16),
    /// The audit may not ask any more.
    Spent(String),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Tls(error) => write!(f, "no TLS: {error}"),
            Self::Silent => f.write_str("no answer in time"),
            Self::NotHttp => f.write_str("the answer is not HTTP"),
            Self::Gateway(status) => write!(f, "HTTP {status}: a proxy answered for a server that it could not reach"),
            Self::Spent(why) => f.write_str(why),
        }
    }
}

/// How long the phases of a connection took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) tcp: Duration,
    pub(crate) tls: Duration,
    pub(crate) answer: Duration,
}

/// What TLS agreed on.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) suite: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) alpn: Option<Vec<u8>>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Bytes(usize),
    Ended(End),
    Quiet,
}

/// How far the target took bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// All of them.
    Taken,
    /// So many, and no more in time.
    Stalled(usize),
    /// The connection ended.
    Ended(End),
}

/// From where, and how, a connection is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dial {
    /// An address of this machine, rather than the one that it chooses.
    pub(crate) source: Option<IpAddr>,
    /// With buffers as small as the system lets them be.
    pub(crate) is_narrow: bool,
}

/// Size of the buffers of a narrow connection, in bytes: what is not read has to stay at the target.
const NARROW_BYTES: u32 = 8 * 1024;

/// Where connections go.
#[derive(Debug)]
pub(crate) struct Road {
    target: Target,
    trust: Arc<Trust>,
    /// The address that answered last.
    preferred: AtomicUsize,
}

impl Road {
    pub(crate) fn new(target: Target, trust: Arc<Trust>) -> Self {
        Self { target, trust, preferred: AtomicUsize::new(0) }
    }

    /// The address that answered last.
    pub(crate) fn address(&self) -> String {
        let index = self.preferred.load(Ordering::Relaxed);
        self.target.addresses.get(index).map(ToString::to_string).unwrap_or_default()
    }

    /// A TCP connection to the target; each of its addresses gets its chance.
    async fn tcp(&self, port: u16, deadline: Instant, dial: Dial) -> Result<TcpStream, Unreached> {
        let count = self.target.addresses.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut why = Unreached::Silent;
        for offset in 0..count {
            let index = first.wrapping_add(offset).checked_rem(count).unwrap_or(0);
            let Some(address) = self.target.addresses.get(index) else { continue };
            let mut address = *address;
            address.set_port(port);
            if dial.source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            match timeout_at(deadline, connect(address, dial)).await {
                Ok(Ok(stream)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    // Small frames must not wait for each other.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = Unreached::Connect(error.to_string()),
                Err(_) => why = Unreached::Silent,
            }
        }
        Err(why)
    }

    /// A connection as the URL says: TCP, or TLS over it.
    pub(crate) async fn open(&self, permit: Permit, deadline: Instant) -> Result<Link, Unreached> {
        self.open_from(permit, deadline, Dial::default()).await
    }

    /// The same, made in this way.
    pub(crate) async fn open_from(&self, permit: Permit, deadline: Instant, dial: Dial) -> Result<Link, Unreached> {
        let started = Instant::now();
        let tcp = self.tcp(self.target.port, deadline, dial).await?;
        let timing = Timing { tcp: started.elapsed(), ..Timing::default() };
        self.over(permit, deadline, tcp, timing, self.target.tls, &[b"http/1.1"]).await
    }

    /// A connection with or without TLS, to another port, offering other protocols.
    pub(crate) async fn open_with(
        &self,
        permit: Permit,
        deadline: Instant,
        tls: bool,
        port: u16,
        alpn: &[&[u8]],
    ) -> Result<Link, Unreached> {
        let started = Instant::now();
        let tcp = self.tcp(port, deadline, Dial::default()).await?;
        let timing = Timing { tcp: started.elapsed(), ..Timing::default() };
        self.over(permit, deadline, tcp, timing, tls, alpn).await
    }

    async fn over(
        &self,
        permit: Permit,
        deadline: Instant,
        tcp: TcpStream,
        timing: Timing,
        tls: bool,
        alpn: &[&[u8]],
    ) -> Result<Link, Unreached> {
        if !tls {
            return Ok(Link::new(tcp, permit, timing, None));
        }
        let (config, seen) = self.trust.client(alpn).map_err(|why| Unreached::Tls(why.to_string()))?;
        let mut link = self.wrap(permit, deadline, tcp, timing, Arc::new(config)).await?;
        if let Some(facts) = &mut link.tls {
            facts.chain = seen.chain();
        }
        Ok(link)
    }

    /// A connection with this configuration of TLS.
    pub(crate) async fn open_tls(
        &self,
        permit: Permit,
        deadline: Instant,
        config: Arc<ClientConfig>,
    ) -> Result<Link, Unreached> {
        let tcp = self.tcp(self.target.port, deadline, Dial::default()).await?;
        self.wrap(permit, deadline, tcp, Timing::default(), config).await
    }

    async fn wrap(
        &self,
        permit: Permit,
        deadline: Instant,
        tcp: TcpStream,
        mut timing: Timing,
        config: Arc<ClientConfig>,
    ) -> Result<Link, Unreached> {
        let error = |error: &dyn fmt::Display| Unreached::Tls(error.to_string());
        let name = ServerName::try_from(self.target.host.clone()).map_err(|why| error(&why))?;
        let started = Instant::now();
        let stream = timeout_at(deadline, TlsConnector::from(config).connect(name, tcp))
            .await
            .map_err(|_| Unreached::Silent)?
            .map_err(|why| error(&why))?;
        timing.tls = started.elapsed();
        let session = stream.get_ref().1;
        let facts = TlsFacts {
            version: session.protocol_version(),
            suite: session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
            chain: Vec::new(),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        };
        Ok(Link::new(stream, permit, timing, Some(facts)))
    }
}

async fn connect(address: SocketAddr, dial: Dial) -> std::io::Result<TcpStream> {
    if dial == Dial::default() {
        return TcpStream::connect(address).await;
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = dial.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    if dial.is_narrow {
        socket.set_recv_buffer_size(NARROW_BYTES)?;
        socket.set_send_buffer_size(NARROW_BYTES)?;
    }
    socket.connect(address).await
}

/// A connection.
pub(crate) struct Link {
    io: Box<dyn Stream>,
    /// What was read and not yet used.
    pub(crate) buffer: Vec<u8>,
    pub(crate) timing: Timing,
    pub(crate) tls: Option<TlsFacts>,
    permit: Permit,
    ended: Option<End>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("timing", &self.timing).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Link {
    fn new(io: impl Stream + 'static, permit: Permit, timing: Timing, tls: Option<TlsFacts>) -> Self {
        Self { io: Box::new(io), buffer: Vec::new(), timing, tls, permit, ended: None }
    }

    /// The connection with another stream in its place, which runs within it.
    pub(crate) fn within(self, wrap: impl FnOnce(Box<dyn Stream>) -> DuplexStream) -> Self {
        let Self { io, timing, tls, permit, .. } = self;
        Self::new(wrap(io), permit, timing, tls)
    }

    /// The target let it in.
    pub(crate) fn settle(&mut self) {
        self.permit.settle();
    }

    /// It will never be let in.
    pub(crate) fn set_aside(&mut self) {
        self.permit.set_aside();
    }

    /// Sends bytes. A target that does not take them until `deadline` counts as one that tore the connection down only
    /// when the system says so; otherwise the rest is not sent.
    pub(crate) async fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), End> {
        match self.offer(bytes, deadline).await {
            Offered::Taken | Offered::Stalled(_) => Ok(()),
            Offered::Ended(end) => Err(end),
        }
    }

    /// Sends bytes, and says how far the target took them until `deadline`.
    pub(crate) async fn offer(&mut self, bytes: &[u8], deadline: Instant) -> Offered {
        let mut taken = 0;
        let sent = timeout_at(deadline, async {
            while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                match self.io.write(rest).await? {
                    0 => return Err(ErrorKind::WriteZero.into()),
                    count => taken = taken.saturating_add(count),
                }
            }
            self.io.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Offered::Taken,
            Err(_) => Offered::Stalled(taken),
            Ok(Err(error)) => {
                let end = end_of(error.kind());
                self.ended = Some(end);
                Offered::Ended(end)
            }
        }
    }

    /// Ends it with a reset.
    pub(crate) fn reset(self) {
        self.io.reset();
    }

    /// Reads what is there, waiting for it until `deadline`.
    pub(crate) async fn fill(&mut self, deadline: Instant) -> Fill {
        if let Some(end) = self.ended {
            return Fill::Ended(end);
        }
        self.buffer.reserve(16 * 1024);
        let end = match timeout_at(deadline, self.io.read_buf(&mut self.buffer)).await {
            Err(_) => return Fill::Quiet,
            Ok(Ok(0)) => End::Fin,
            Ok(Ok(count)) => return Fill::Bytes(count),
            Ok(Err(error)) => end_of(error.kind()),
        };
        self.ended = Some(end);
        Fill::Ended(end)
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self, deadline: Instant) -> Result<Response, HeadMissing> {
        let started = Instant::now();
        loop {
            if let Some(end) = head_end(&self.buffer) {
                let head: Vec<u8> = self.buffer.drain(..end).collect();
                self.timing.answer = started.elapsed();
                return Response::parse(&head).ok_or(HeadMissing::NotHttp);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(HeadMissing::NotHttp);
            }
            match self.fill(deadline).await {
                Fill::Bytes(_) => {}
                Fill::Quiet => return Err(HeadMissing::Silent),
                Fill::Ended(_) if !self.buffer.is_empty() => return Err(HeadMissing::NotHttp),
                Fill::Ended(end) => return Err(HeadMissing::Ended(end)),
            }
        }
    }

    /// Reads the body that belongs to `head`, as far as it comes until `deadline`.
    pub(crate) async fn body(&mut self, head: &mut Response, deadline: Instant) {
        let length = head.value("Content-Length").and_then(|value| value.parse::<usize>().ok());
        let chunked =
            head.value("Transfer-Encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let has_body = !matches!(head.status, 100..200 | 204 | 304);
        while has_body && self.buffer.len() < length.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX) {
            if chunked && self.buffer.ends_with(b"0\r\n\r\n") {
                break;
            }
            if !matches!(self.fill(deadline).await, Fill::Bytes(_)) {
                break;
            }
        }
        if has_body {
            let take = self.buffer.len().min(length.unwrap_or(BODY_BYTES_MAX)).min(BODY_BYTES_MAX);
            head.body = self.buffer.drain(..take).collect();
            if chunked {
                let is_whole = head.body.ends_with(b"0\r\n\r\n");
                head.body = unchunked(&head.body);
                // Whole as if its length had been announced.
                if is_whole {
                    head.headers.push(("Content-Length".to_owned(), head.body.len().to_string()));
                }
            }
        }
    }
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadMissing {
    Silent,
    NotHttp,
    Ended(End),
}

fn end_of(kind: ErrorKind) -> End {
    match kind {
        // rustls says so where TCP ended without a farewell of TLS.
        ErrorKind::UnexpectedEof => End::Fin,
        _ => End::Reset,
    }
}
