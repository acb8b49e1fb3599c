//! A raw WebSocket peer: a blocking socket, requests and frames as the test wants them, wrong ones included.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "for tests: what does not come as expected is a failed test"
)]

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use wsguard_core::frame::{self, Opcode};

use crate::world::PATIENCE;

/// What a peer talks over: TCP, or TLS over it.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An HTTP/1.1 request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    address: SocketAddr,
    line: String,
    headers: Vec<(String, String)>,
    body: String,
    receive_buffer: Option<usize>,
    tls: Option<Arc<ClientConfig>>,
    kept: bool,
}

impl Request {
    /// A request with nothing but a Host.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            line: format!("{method} {target} HTTP/1.1"),
            headers: vec![("Host".into(), format!("localhost:{}", address.port()))],
            body: String::new(),
            receive_buffer: None,
            tls: None,
            kept: false,
        }
    }

    /// A proper upgrade of `/ws` without a credential.
    pub fn upgrade(address: SocketAddr) -> Self {
        Self::new(address, "GET", "/ws")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// Another request line: `GET /ws?x=1 HTTP/1.1`.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    /// Another target: `/ws?x=1`.
    #[must_use]
    pub fn target(self, target: &str) -> Self {
        let method = self.line.split(' ').next().unwrap_or_default().to_owned();
        self.line(&format!("{method} {target} HTTP/1.1"))
    }

    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The header with this value alone.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// None of this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self
    }

    /// `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A JSON body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self.set("Content-Type", "application/json").set("Content-Length", &body.len().to_string())
    }

    /// A small receive buffer: what the peer does not read soon waits in the server.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Over TLS, to `localhost`.
    #[must_use]
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// For a server that may keep the connection: the body of its answer ends by its length.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// Sends the request and reads the head of the answer, and its body unless it is a 101.
    pub fn send(self) -> Response {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None).unwrap();
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.connect(&self.address.into()).expect("connect");
        let tcp = TcpStream::from(socket);
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let socket = tcp.try_clone().unwrap();
        let mut stream: Box<dyn Stream> = match self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp))
            }
        };
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        // A server that refuses early may close before it took everything.
        let _ = stream.write_all(text.as_bytes());

        let mut got = Vec::new();
        let mut chunk = [0; 4_096];
        let end = loop {
            if let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let count = stream.read(&mut chunk).expect("read the answer");
            assert!(count > 0, "closed without an answer: {}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&chunk[..count]);
        };
        let mut rest = got.split_off(end + 4);
        let head = String::from_utf8(got).unwrap();
        let status = head[9..12].parse().expect("a status");
        let peer = if status == 101 {
            Some(Peer { stream, socket, got: rest, csrf: String::new() })
        } else {
            // wsguard serves one request a connection, so the body ends where the connection does. Others may keep it.
            let length = if self.kept { length_of(&head) } else { usize::MAX };
            while rest.len() < length
                && let Ok(count @ 1..) = stream.read(&mut chunk)
            {
                rest.extend_from_slice(&chunk[..count]);
            }
            got = rest;
            return Response { status, head, body: String::from_utf8_lossy(&got).into_owned(), peer: None };
        };
        Response { status, head, body: String::new(), peer }
    }

    /// Sends an upgrade that must succeed.
    pub fn open(self) -> Peer {
        let response = self.send();
        assert_eq!(response.status, 101, "{} {}", response.head, response.body);
        response.peer.unwrap()
    }
}

fn length_of(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).expect("a length")
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
    /// The open socket, after a 101.
    pub peer: Option<Peer>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (held, value) = line.split_once(':')?;
            held.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    /// Code and reference of a refusal, whose body holds nothing else.
    pub fn refusal(&self) -> (String, String) {
        let body = self.json();
        let text = |name| body["error"][name].as_str().unwrap_or_default().to_owned();
        let (code, reference) = (text("code"), text("ref"));
        assert!(!code.is_empty() && !reference.is_empty(), "{body}");
        assert_eq!(body, json!({"error": {"code": code, "ref": reference}}), "nothing more");
        (code, reference)
    }
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Opcode, 0 to 15.
    pub opcode: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// The masking key of every frame that a peer sends: any will do.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it, with the first byte (FIN, RSV, opcode) as given.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_masked(&mut bytes, Opcode::Text, payload, MASK);
    bytes[0] = first;
    bytes
}

/// The client's end of an open socket.
pub struct Peer {
    stream: Box<dyn Stream>,
    /// The same socket, to set its time-outs.
    socket: TcpStream,
    got: Vec<u8>,
    csrf: String,
}

impl Peer {
    /// Ends the connection with a reset: a network that breaks, at once and without a close frame.
    pub fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("got", &self.got.len()).finish_non_exhaustive()
    }
}

impl Peer {
    /// Sends bytes as they are. A server that closed already is no failure: what it answered is read afterwards.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.try_send_bytes(bytes);
    }

    /// The same, for who wants to know whether the socket took them.
    ///
    /// # Errors
    /// What the socket says.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send_bytes(&masked(0x81, text.as_bytes()));
    }

    /// Sends a message as JSON.
    pub fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    /// Sends a message of the application, with the CSRF token of the welcome.
    pub fn say(&mut self, kind: &str, id: impl Into<Value>, payload: &Value) {
        let (id, csrf) = (id.into(), self.csrf.clone());
        self.send(&json!({"type": kind, "id": id, "csrfToken": csrf, "payload": payload}));
    }

    /// The CSRF token of the welcome.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// The next frame; `None` at the end of the stream.
    pub fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.got) {
                self.got.drain(..length);
                return Some(frame);
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.got.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came within {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// The next frame that is there before `until`; `None` when there is none, or the stream ended.
    pub fn poll_frame(&mut self, until: Instant) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.got) {
                self.got.drain(..length);
                return Some(frame);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 16_384];
            let count = self.stream.read(&mut chunk);
            self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
            match count {
                Ok(count @ 1..) => self.got.extend_from_slice(&chunk[..count]),
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// The next text message; pings are passed over.
    pub fn read(&mut self) -> Value {
        loop {
            let frame = self.read_frame().expect("a message, not the end of the stream");
            match frame.opcode {
                1 => return serde_json::from_slice(&frame.payload).expect("JSON"),
                9 => {}
                opcode => panic!("a message expected, got opcode {opcode} with {:?}", frame.close_code()),
            }
        }
    }

    /// The next message, which must be of `kind`; its payload.
    pub fn expect(&mut self, kind: &str) -> Value {
        let message = self.read();
        assert_eq!(message["type"], kind, "{message}");
        message["payload"].clone()
    }

    /// The welcome; its CSRF token is kept for [`Peer::say`].
    pub fn welcomed(&mut self) -> Value {
        let welcome = self.expect("welcome");
        welcome["csrfToken"].as_str().expect("a token").clone_into(&mut self.csrf);
        welcome
    }

    /// Reads to the close frame and the end of the stream, and gives the code. Messages before it are passed over.
    pub fn expect_close(&mut self) -> u16 {
        loop {
            let frame = self.read_frame().expect("a close frame before the end of the stream");
            if frame.opcode == 8 {
                let code = frame.close_code().expect("a code");
                self.send_bytes(&masked(0x88, &code.to_be_bytes()));
                assert_eq!(self.read_frame(), None, "nothing follows a close frame");
                return code;
            }
        }
    }

    /// An `error` of `code` and then a close of `close` follow, and nothing else; gives the reference.
    pub fn expect_refused(&mut self, code: &str, close: u16) -> String {
        let error = self.expect("error");
        assert_eq!(error["code"], code, "{error}");
        let frame = self.read_frame().expect("a close frame");
        assert_eq!((frame.opcode, frame.close_code()), (8, Some(close)));
        error["ref"].as_str().expect("a reference").to_owned()
    }

    /// Closes in order and waits for the answer.
    pub fn leave(mut self) {
        self.send_bytes(&masked(0x88, &1000_u16.to_be_bytes()));
        assert_eq!(self.expect_close(), 1000);
    }
}

/// The first frame of `bytes` and its whole length. A server's frames are not masked.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    assert_eq!(first & 0xf0, 0x80, "the server neither fragments nor sets reserved bits");
    assert!(second & 0x80 == 0, "the server does not mask");
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap(), 10),
        short => (usize::from(*short), 2),
    };
    let payload = bytes.get(header..header + length)?.to_vec();
    Some((Frame { opcode: first & 0x0f, payload }, header + length))
}
