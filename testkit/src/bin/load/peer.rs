//! One connection of the generator.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::message::Script;
use crate::source_of;
use testkit::wire::{HANDSHAKE_ACCEPT, HANDSHAKE_KEY, MaskedFrame, first_frame, opcode};

/// Room for what one read may bring.
const READ_BYTES: usize = 64 * 1024;
/// A server that answers nothing for so long is not measured but broken. Valgrind slows a server down fifty times.
const PATIENCE: Duration = Duration::from_secs(30);
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Why a run ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that this program does not do.
    Usage(String),
    /// The server or its process could not be reached.
    Unreached(String),
    /// The server said something else than it should have.
    Misbehaved(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => write!(f, "wrong usage: {text}"),
            Self::Unreached(text) => write!(f, "not reached: {text}"),
            Self::Misbehaved(text) => write!(f, "the server misbehaved: {text}"),
        }
    }
}

/// Where all connections of a run go, and the requests that open them, one for each token.
pub(crate) struct Target {
    address: SocketAddr,
    /// For `wss`.
    tls: Option<TlsConnector>,
    requests: Vec<String>,
    guarded: bool,
}

impl Target {
    /// `url`: `ws://IP:PORT/PATH` of a loopback address, or `wss` where `ca` is a file with the certificate of its issuer. `tokens`: taken in turn; none for no credential. `guarded`: the server speaks wsguard.v1 and starts with a welcome.
    pub(crate) fn parse(url: &str, ca: Option<&Path>, tokens: &[String], guarded: bool) -> Result<Self, Failure> {
        let wrong = || Failure::Usage(format!("{url}: expected ws://127.0.0.1:PORT/PATH, or wss with --ca"));
        let scheme = if ca.is_some() { "wss://" } else { "ws://" };
        let rest = url.strip_prefix(scheme).ok_or_else(wrong)?;
        let tls = ca.map(connector).transpose()?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address: SocketAddr = host.replace("localhost", "127.0.0.1").parse().map_err(|_| wrong())?;
        if !address.ip().is_loopback() {
            return Err(Failure::Usage(format!("{address} is not a loopback address; load is for this machine only")));
        }
        let mut request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {HANDSHAKE_KEY}\r\n"
        );
        if guarded {
            request.push_str("Sec-WebSocket-Protocol: wsguard.v1\r\n");
        }
        let requests = if tokens.is_empty() {
            vec![format!("{request}\r\n")]
        } else {
            let with = |token| format!("{request}Authorization: Bearer {token}\r\n\r\n");
            tokens.iter().map(with).collect()
        };
        Ok(Self { address, tls, requests, guarded })
    }
}

impl Target {
    fn request_of(&self, index: u32) -> &str {
        let turn = usize::try_from(index).unwrap_or_default() % self.requests.len().max(1);
        self.requests.get(turn).map_or("", String::as_str)
    }
}

/// What the server says outside of the measured exchange.
#[derive(Debug, Deserialize)]
struct ServerMessage {
    #[serde(rename = "type")]
    kind: String,
    id: Option<Value>,
    payload: Value,
}

/// A socket, or TLS over one.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open connection.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    inbox: BytesMut,
    csrf_token: Box<str>,
}

impl Peer {
    /// Connects, upgrades and, if the target is guarded, waits for the welcome.
    pub(crate) async fn open(target: &Target, index: u32) -> Result<Self, Failure> {
        let unreached = |e: std::io::Error| Failure::Unreached(e.to_string());
        let socket = connect(target.address, index).await.map_err(unreached)?;
        let stream: Box<dyn Stream> = match &target.tls {
            Some(tls) => {
                let name = ServerName::from(target.address.ip());
                Box::new(tls.connect(name, socket).await.map_err(unreached)?)
            }
            None => Box::new(socket),
        };
        let mut peer = Self { stream, inbox: BytesMut::new(), csrf_token: Box::default() };
        peer.write(target.request_of(index).as_bytes()).await?;
        let response = peer.response().await?;
        let accepted = response.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == HANDSHAKE_ACCEPT
            })
        });
        if !response.starts_with("HTTP/1.1 101 ") || !accepted {
            let status = response.lines().next().unwrap_or_default();
            return Err(Failure::Misbehaved(format!("handshake answered with: {status}")));
        }
        if target.guarded {
            let welcome = peer.next_message().await?;
            if welcome.kind != "welcome" {
                return Err(Failure::Misbehaved(format!("first frame is no welcome: {welcome:?}")));
            }
            let csrf_token = welcome.payload.get("csrfToken").and_then(Value::as_str);
            peer.csrf_token = csrf_token.unwrap_or_default().into();
        }
        Ok(peer)
    }

    /// The token of the welcome.
    pub(crate) fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// Sends one message and waits until it is acknowledged.
    pub(crate) async fn request(&mut self, kind: &str, payload: &Value) -> Result<(), Failure> {
        let message = json!({ "type": kind, "id": kind, "csrfToken": self.csrf_token, "payload": payload });
        let frame = MaskedFrame::new(opcode::TEXT, message.to_string().as_bytes());
        self.write(frame.as_bytes()).await?;
        loop {
            let reply = self.next_message().await?;
            match reply.kind.as_str() {
                "ack" if reply.id.as_ref().and_then(Value::as_str) == Some(kind) => return Ok(()),
                "error" => return Err(Failure::Misbehaved(format!("{kind} refused: {reply:?}"))),
                // Other connections may talk in the lobby before it is left.
                _ => {}
            }
        }
    }

    /// Sends `count` messages, `in_flight` at a time, and appends the nanoseconds each took to `latencies_ns`.
    pub(crate) async fn exchange(
        &mut self,
        script: &mut Script,
        count: u32,
        in_flight: u32,
        latencies_ns: &mut Vec<u32>,
    ) -> Result<(), Failure> {
        let mut out = Vec::new();
        let (mut sent, mut done) = (0, 0);
        let mut now = Instant::now();
        loop {
            while sent < count && sent - done < in_flight {
                script.send_next(&mut out, now);
                sent += 1;
            }
            if !out.is_empty() {
                self.write(&out).await?;
                out.clear();
            }
            if done == count {
                return Ok(());
            }
            self.read().await?;
            now = Instant::now();
            let mut taken = 0;
            while let Some(frame) =
                self.inbox.get(taken..).map_or(Ok(None), first_frame).map_err(Failure::Misbehaved)?
            {
                taken += frame.length;
                match frame.opcode {
                    opcode::TEXT => script
                        .receive(frame.payload, &mut |sent_at| {
                            done += 1;
                            latencies_ns.push(u32::try_from((now - sent_at).as_nanos()).unwrap_or(u32::MAX));
                        })
                        .map_err(Failure::Misbehaved)?,
                    opcode::PING => {
                        out.extend_from_slice(MaskedFrame::new(opcode::PONG, frame.payload).as_bytes());
                    }
                    opcode::PONG => {}
                    other => return Err(unexpected(other, frame.payload)),
                }
            }
            self.inbox.advance(taken);
        }
    }

    /// Reads until `count` text frames have come, whatever they say.
    pub(crate) async fn hear(&mut self, count: u32) -> Result<(), Failure> {
        let mut heard = 0;
        while heard < count {
            let mut taken = 0;
            while heard < count
                && let Some(frame) =
                    self.inbox.get(taken..).map_or(Ok(None), first_frame).map_err(Failure::Misbehaved)?
            {
                taken += frame.length;
                match frame.opcode {
                    opcode::TEXT => heard += 1,
                    opcode::PING | opcode::PONG => {}
                    other => return Err(unexpected(other, frame.payload)),
                }
            }
            self.inbox.advance(taken);
            if heard < count {
                self.read_some(1024).await?;
            }
        }
        Ok(())
    }

    /// Says good-bye and waits until the server has closed the connection (RFC 6455 section 7.1.1).
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        let frame = MaskedFrame::new(opcode::CLOSE, &1000_u16.to_be_bytes());
        self.write(frame.as_bytes()).await?;
        loop {
            self.inbox.clear();
            self.inbox.reserve(256);
            let read = self.stream.read_buf(&mut self.inbox);
            match tokio::time::timeout(PATIENCE, read).await {
                // A reset ends the connection as well, and says nothing about what was measured before.
                Ok(Ok(0) | Err(_)) => return Ok(()),
                Ok(Ok(_)) => {}
                Err(_) => {
                    return Err(Failure::Misbehaved("the connection stays open after a close frame".to_owned()));
                }
            }
        }
    }

    async fn response(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.inbox, b"\r\n\r\n") {
                return Ok(String::from_utf8_lossy(&self.inbox.split_to(end + 4)).into_owned());
            }
            if self.inbox.len() > RESPONSE_BYTES_MAX {
                return Err(Failure::Misbehaved("the answer to the handshake does not end".to_owned()));
            }
            self.read_some(1024).await?;
        }
    }

    async fn next_message(&mut self) -> Result<ServerMessage, Failure> {
        loop {
            if let Some(frame) = first_frame(&self.inbox).map_err(Failure::Misbehaved)? {
                let length = frame.length;
                let parsed = match frame.opcode {
                    opcode::TEXT => Some(serde_json::from_slice(frame.payload)),
                    opcode::PING | opcode::PONG => None,
                    other => return Err(unexpected(other, frame.payload)),
                };
                self.inbox.advance(length);
                match parsed {
                    Some(value) => {
                        return value.map_err(|e| Failure::Misbehaved(format!("frame is no message: {e}")));
                    }
                    None => continue,
                }
            }
            self.read_some(1024).await?;
        }
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.read_some(READ_BYTES).await
    }

    async fn read_some(&mut self, room: usize) -> Result<(), Failure> {
        self.inbox.reserve(room);
        match tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.inbox)).await {
            Ok(Ok(0)) => Err(Failure::Misbehaved("the server closed the connection".to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::Misbehaved(error.to_string())),
            Err(_) => Err(Failure::Misbehaved(format!("no answer for {} s", PATIENCE.as_secs()))),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(|e| Failure::Misbehaved(e.to_string()))
    }
}

/// Trusts what is in the PEM file `ca` and nothing else.
fn connector(ca: &Path) -> Result<TlsConnector, Failure> {
    let wrong = |e: &dyn fmt::Display| Failure::Usage(format!("{}: {e}", ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(address: SocketAddr, index: u32) -> std::io::Result<TcpStream> {
    let stream = match source_of(index, address) {
        Some(source) => {
            let socket = TcpSocket::new_v4()?;
            // Ports of closed connections stay reserved for a minute otherwise.
            socket.set_reuseaddr(true)?;
            socket.bind(source)?;
            socket.connect(address).await?
        }
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unexpected(opcode: u8, payload: &[u8]) -> Failure {
    let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
    Failure::Misbehaved(match (opcode, code) {
        (opcode::CLOSE, Some(code)) => {
            let reason = payload.get(2..).map(String::from_utf8_lossy).unwrap_or_default();
            format!("closed with {code} {reason}")
        }
        _ => format!("frame with opcode {opcode}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        for (name, url, good) in [
            ("loopback", "ws://127.0.0.1:3000/ws", true),
            ("another loopback", "ws://127.9.9.9:3000/ws", true),
            ("IPv6", "ws://[::1]:3000/", true),
            ("localhost", "ws://localhost:3000/ws", true),
            ("private", "ws://10.0.0.1:3000/ws", false),
            ("name", "ws://example.test:3000/ws", false),
            ("no port", "ws://127.0.0.1/ws", false),
            ("TLS without a certificate to trust", "wss://127.0.0.1:3000/ws", false),
        ] {
            assert_eq!(Target::parse(url, None, &[], true).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn the_request_carries_what_the_mode_needs() {
        let tokens = ["a".to_owned(), "b".to_owned()];
        let guarded = Target::parse("ws://127.0.0.1:1/ws?x=1", None, &tokens, true).unwrap();
        for (index, token) in [(0, "a"), (1, "b"), (2, "a")] {
            let request = guarded.request_of(index);
            assert!(request.starts_with("GET /ws?x=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{request}");
            assert!(request.ends_with(&format!("\r\nAuthorization: Bearer {token}\r\n\r\n")), "{request}");
            assert!(request.contains(": wsguard.v1\r\n"), "{request}");
        }
        let raw = Target::parse("ws://127.0.0.1:1", None, &[], false).unwrap();
        let request = raw.request_of(7);
        assert!(!request.contains("Authorization") && !request.contains("Protocol"), "{request}");
        assert!(request.ends_with("\r\n\r\n"), "{request}");
    }
}
