//! One connection of a client, honest or not, as a proxy that ends TLS hands it on.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BytesMut};
use serde_json::{Value, json};
use testkit::wire::{HANDSHAKE_KEY, MaskedFrame, first_frame, opcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use wsguard_core::time::UnixMs;
use wsguard_core::token::{MintClaims, SigningKey, mint};

/// The name that the server answers to.
pub(crate) const HOST: &str = "chat.example";
/// A connection on which nothing comes for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 16 * 1024;
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Tokens were issued so long ago, so that no jump of the clock makes them come from the future.
const ISSUED_BEFORE_MS: u64 = 2 * 3_600_000;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Before the 101, with this status.
    Refused(u16),
    /// With this code.
    Closed(Option<u16>),
    /// By an error frame of this code, in place of the welcome.
    Denied(String),
    /// The socket ended or broke.
    Lost(io::ErrorKind),
    /// Nothing came.
    Silent,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "refused with {status}"),
            Self::Closed(Some(code)) => write!(f, "closed with {code}"),
            Self::Closed(None) => f.write_str("closed without a code"),
            Self::Denied(code) => write!(f, "denied: {code}"),
            Self::Lost(kind) => write!(f, "lost ({kind})"),
            Self::Silent => f.write_str("silence"),
        }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.kind())
    }
}

/// A frame of the server.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// Who connects: over which local address, and from which address the proxy says that it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) server: SocketAddr,
    pub(crate) client: IpAddr,
    /// A small receive buffer, in bytes.
    pub(crate) buffer: Option<u32>,
}

impl Way {
    pub(crate) fn new(server: SocketAddr, client: IpAddr) -> Self {
        Self { server, client, buffer: None }
    }

    /// A client with a /24 of its own.
    pub(crate) fn of(server: SocketAddr, base: Ipv4Addr, index: u32) -> Self {
        Self::new(server, IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(index.wrapping_mul(256)))))
    }

    /// Connects from one of many loopback addresses, so that none runs out of ports.
    pub(crate) async fn connect(self) -> io::Result<TcpStream> {
        let low = |octet: u8| octet % 200 + 1;
        let octets = match self.client {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => {
                let [.., a, b, c, d, _, _, _, _, _, _, _, _] = address.octets();
                [a, b, c, d]
            }
        };
        let [_, b, c, d] = octets;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = self.buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, low(b), low(c), low(d)), 0)))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The head of an upgrade request.
    pub(crate) fn request(self, token: Option<&str>) -> String {
        let credential = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: {}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {HANDSHAKE_KEY}\r\nSec-WebSocket-Protocol: wsguard.v1\r\n{credential}\r\n",
            self.client
        )
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    inbox: BytesMut,
    csrf: String,
}

impl Link {
    /// Upgrades, without waiting for a welcome.
    pub(crate) async fn upgrade(way: Way, token: Option<&str>) -> Result<Self, Ended> {
        let mut link = Self { stream: way.connect().await?, inbox: BytesMut::new(), csrf: String::new() };
        link.write(way.request(token).as_bytes()).await?;
        loop {
            if let Some(end) = memchr::memmem::find(&link.inbox, b"\r\n\r\n") {
                let head = link.inbox.split_to(end + 4);
                let status = head.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
                return match status {
                    Some(101) => Ok(link),
                    Some(status) => Err(Ended::Refused(status)),
                    None => Err(Ended::Lost(io::ErrorKind::InvalidData)),
                };
            }
            if link.inbox.len() > RESPONSE_BYTES_MAX {
                return Err(Ended::Lost(io::ErrorKind::InvalidData));
            }
            link.fill().await?;
        }
    }

    /// Upgrades and waits for the welcome.
    pub(crate) async fn open(way: Way, token: &str) -> Result<Self, Ended> {
        let mut link = Self::upgrade(way, Some(token)).await?;
        let welcome = link.message().await?;
        match welcome.get("type").and_then(Value::as_str) {
            Some("welcome") => {
                link.follow(&welcome);
                Ok(link)
            }
            _ => Err(Ended::Denied(code_of(&welcome))),
        }
    }

    /// Takes the CSRF token out of a `welcome` or a `csrf`.
    pub(crate) fn follow(&mut self, message: &Value) {
        if let Some(token) = message.pointer("/payload/csrfToken").and_then(Value::as_str) {
            token.clone_into(&mut self.csrf);
        }
    }

    /// A message of the application as text.
    pub(crate) fn text(&self, kind: &str, id: &str, payload: &Value) -> String {
        json!({"type": kind, "id": id, "csrfToken": self.csrf, "payload": payload}).to_string()
    }

    pub(crate) async fn say(&mut self, kind: &str, id: &str, payload: &Value) -> Result<(), Ended> {
        let text = self.text(kind, id, payload);
        self.write(MaskedFrame::new(opcode::TEXT, text.as_bytes()).as_bytes()).await
    }

    /// Says it and waits for the `ack`; what comes before it is passed over.
    pub(crate) async fn ask(&mut self, kind: &str, id: &str, payload: &Value) -> Result<(), Ended> {
        self.say(kind, id, payload).await?;
        loop {
            let message = self.message().await?;
            match message.get("type").and_then(Value::as_str) {
                Some("ack") if message.get("id").and_then(Value::as_str) == Some(id) => return Ok(()),
                Some("error") => return Err(Ended::Denied(code_of(&message))),
                _ => {}
            }
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Ended::Silent),
        }
    }

    /// The next frame that is no ping; pings are answered. Nothing is lost when it is dropped before it is ready.
    pub(crate) async fn frame(&mut self) -> Result<Frame, Ended> {
        loop {
            let found = first_frame(&self.inbox).map_err(|_| Ended::Lost(io::ErrorKind::InvalidData))?;
            if let Some(found) = found {
                let (length, opcode, payload) = (found.length, found.opcode, found.payload.to_vec());
                self.inbox.advance(length);
                match opcode {
                    opcode::PING => {
                        self.write(MaskedFrame::new(opcode::PONG, &payload).as_bytes()).await?;
                    }
                    opcode::CLOSE => {
                        return Err(Ended::Closed(payload.first_chunk().map(|code| u16::from_be_bytes(*code))));
                    }
                    _ => return Ok(Frame { opcode, payload }),
                }
                continue;
            }
            self.fill().await?;
        }
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Result<Value, Ended> {
        loop {
            let frame = timeout(PATIENCE, self.frame()).await.map_err(|_| Ended::Silent)??;
            if frame.opcode == opcode::TEXT {
                return serde_json::from_slice(&frame.payload).map_err(|_| Ended::Lost(io::ErrorKind::InvalidData));
            }
        }
    }

    /// Reads to the end, however long, and says how it came.
    pub(crate) async fn end(&mut self) -> Ended {
        loop {
            match self.frame().await {
                Ok(_) => {}
                Err(ended) => return ended,
            }
        }
    }

    /// Closes in order.
    pub(crate) async fn leave(mut self) {
        let close = MaskedFrame::new(opcode::CLOSE, &1000_u16.to_be_bytes());
        if self.write(close.as_bytes()).await.is_ok() {
            let _ = timeout(PATIENCE, self.end()).await;
        }
    }

    /// The two directions, for who does both at once.
    pub(crate) fn split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        self.stream.into_split()
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(Ended::Lost(io::ErrorKind::UnexpectedEof)),
            _ => Ok(()),
        }
    }
}

fn code_of(message: &Value) -> String {
    message.pointer("/payload/code").and_then(Value::as_str).unwrap_or("unknown").to_owned()
}

/// Who signs the tokens that the server accepts.
pub(crate) struct Issuer(SigningKey);

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer(..)")
    }
}

impl Issuer {
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        SigningKey::parse("issuer.key", &text).map(Self).map_err(|error| error.to_string())
    }

    /// A token of `subject` that is good for `minutes` from now.
    pub(crate) fn token(&self, subject: &str, minutes: u64) -> Result<String, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let claims = MintClaims {
            issued_at: Some(UnixMs(now.saturating_sub(ISSUED_BEFORE_MS))),
            id: Some(subject),
            ..MintClaims::new(subject, UnixMs(now + minutes * 60_000))
        };
        mint(&self.0, &claims).map_err(|error| error.to_string())
    }
}

/// Reads what comes and throws it away, and says how the connection ended. For who writes at the same time.
pub(crate) async fn swallow(half: tokio::net::tcp::OwnedReadHalf) -> Ended {
    read_on(half, |_| {}).await
}

/// Hands on each payload that comes, and says how the connection ended.
pub(crate) async fn read_on(mut half: tokio::net::tcp::OwnedReadHalf, mut each: impl FnMut(&[u8])) -> Ended {
    let mut inbox = BytesMut::new();
    loop {
        while let Ok(Some(frame)) = first_frame(&inbox) {
            if frame.opcode == opcode::CLOSE {
                return Ended::Closed(frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code)));
            }
            each(frame.payload);
            let length = frame.length;
            inbox.advance(length);
        }
        inbox.reserve(READ_BYTES);
        match half.read_buf(&mut inbox).await {
            Ok(0) => return Ended::Lost(io::ErrorKind::UnexpectedEof),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}
