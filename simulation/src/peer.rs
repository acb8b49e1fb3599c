//! A peer: its address, its identity, and a connection as a client sees it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use wsguard_core::time::Millis;
use wsguard_protocol::COOKIE_NAME;

use crate::issuer::{Token, Wish};
use crate::net::{End, Weather};
use crate::rng::Rng;
use crate::scenario::{self, Kind};
use crate::trace::{Event, Meant, Tag};
use crate::world::{Cookie, World};
use crate::{honest, hostile};

/// Time that a peer waits for the answer to a handshake.
const ANSWER: Duration = Duration::from_secs(6);

/// The origin of the pages that may use a cookie.
pub const OWN_PAGE: &str = "https://world.example";

/// One peer of a world.
pub struct Peer {
    /// The world.
    pub world: Arc<World>,
    /// Its number.
    pub number: u32,
    /// What it does.
    pub kind: Kind,
    /// Whom its tokens name.
    pub subject: String,
    /// Its address: no two peers share a prefix, unless one has several.
    pub address: IpAddr,
    /// Its random numbers.
    pub rng: Rng,
    /// What its connections are like.
    pub weather: Weather,
    /// Roles in its tokens.
    pub roles: Vec<String>,
    messages: u32,
}

impl Peer {
    /// The peer of `plan`; a second device is of the subject of `first`.
    pub fn new(world: &Arc<World>, plan: scenario::Peer, first: Option<u32>) -> Self {
        let mut rng = world.rng("peer", u64::from(plan.number));
        let weather = Weather {
            delay_ms: rng.range(1, 60),
            jitter_ms: rng.below(40),
            client_window: if plan.kind == Kind::Deaf { 2 * 1024 } else { 64 * 1024 },
        };
        let of = match plan.kind {
            Kind::SecondDevice => first.unwrap_or(plan.number),
            _ => plan.number,
        };
        let roles = if plan.kind.is_honest() && rng.chance(40) { vec!["admin".to_owned()] } else { Vec::new() };
        Self {
            world: Arc::clone(world),
            number: plan.number,
            kind: plan.kind,
            subject: format!("s{of}"),
            address: address_of(plan.number),
            rng,
            weather,
            roles,
            messages: 0,
        }
    }

    /// A fresh token.
    pub fn token(&mut self) -> Token {
        let life = Millis(self.rng.range(8_000, 60_000));
        let token = self.world.issue(Wish { subject: &self.subject, roles: &self.roles, life });
        let mut places = self.world.places();
        let place = places.entry(self.number).or_default();
        (place.token, place.subject) = (token.number, self.subject.clone());
        token
    }

    /// A text that nobody else sends, with its tag.
    pub fn text(&mut self) -> (Tag, String) {
        let tag = Tag { peer: self.number, message: self.messages };
        self.messages += 1;
        let padding = usize::try_from(self.rng.below(if self.rng.clone().chance(10) { 900 } else { 60 })).unwrap_or(0);
        (tag, format!("{tag} {}", "lorem ipsum ".repeat(padding / 12 + 1).get(..padding).unwrap_or_default()))
    }

    /// Notes where it is now, for those who look for it.
    pub fn is_at(&self, session: &str) {
        let mut places = self.world.places();
        let place = places.entry(self.number).or_default();
        place.session = Some(session.to_owned());
    }

    /// Opens a connection and sends `head`, which is a request without its last empty line, and what comes early.
    pub async fn knock(&mut self, head: &str, early: &[u8]) -> Result<Connection, Refusal> {
        self.ask(head, early).await?.answered(head).await
    }

    /// The same, and does not wait for the answer.
    pub async fn ask(&mut self, head: &str, early: &[u8]) -> Result<Connection, Refusal> {
        let Some((link, stream)) = self.world.connect(self.address, self.weather) else {
            return Err(Refusal::NoServer);
        };
        let mut connection = Connection {
            world: Arc::clone(&self.world),
            peer: self.number,
            address: self.address,
            link,
            stream,
            read: Vec::new(),
            rng: self.rng.clone(),
        };
        self.rng.next();
        let request = [head.as_bytes(), b"\r\n\r\n", early].concat();
        if connection.stream.write_all(&request).await.is_err() {
            return Err(Refusal::Lost);
        }
        Ok(connection)
    }

    /// The head of a proper upgrade with `more` header lines.
    pub fn upgrade(more: &[String]) -> String {
        let mut lines = vec![
            "GET /ws HTTP/1.1".to_owned(),
            "Host: world.example".to_owned(),
            "Upgrade: websocket".to_owned(),
            "Connection: Upgrade".to_owned(),
            "Sec-WebSocket-Version: 13".to_owned(),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        ];
        lines.extend_from_slice(more);
        lines.join("\r\n")
    }

    /// The header lines of a browser that has the cookie `token` and shows a page of `origin`; a program says none.
    pub fn browser(token: &str, origin: Option<&str>) -> Vec<String> {
        let mut lines = vec![format!("Cookie: {COOKIE_NAME}={token}")];
        lines.extend(origin.map(|origin| format!("Origin: {origin}")));
        lines
    }

    /// The proof of the same origin for the cookie `token`, as a page of `origin` gets it.
    pub async fn proof(&mut self, token: &str, origin: Option<&str>) -> Result<String, Refusal> {
        let mut lines = vec!["POST /ws/session HTTP/1.1".to_owned(), "Host: world.example".to_owned()];
        lines.extend(Self::browser(token, origin));
        lines.push("Content-Length: 0".to_owned());
        let reply = self.knock(&lines.join("\r\n"), b"").await?;
        let body: Value = serde_json::from_slice(reply.body()).unwrap_or_default();
        body["csrfToken"].as_str().map(str::to_owned).ok_or(Refusal::Lost)
    }

    /// Opens a connection with the cookie `token` from a page of the right origin, and stops before its proof. `more` are
    /// header lines. The proof comes along.
    pub async fn by_cookie(&mut self, token: &Token, more: &[String]) -> Result<(Connection, String), Refusal> {
        let proof = self.proof(&token.text, Some(OWN_PAGE)).await?;
        let cookie = Cookie { address: self.address, token: token.clone(), proof: proof.clone() };
        self.world.loot().cookies.push(cookie);
        let lines = [Self::browser(&token.text, Some(OWN_PAGE)), more.to_vec()].concat();
        Ok((self.knock(&Self::upgrade(&lines), b"").await?, proof))
    }

    /// Shows the proof of a cookie, with `payload` where there is one.
    pub async fn prove(&self, connection: &mut Connection, token: &Token, proof: &str, payload: Option<Value>) -> bool {
        self.presents(connection.link, token.number);
        let mut auth = json!({"type": "auth", "csrfToken": proof});
        if let Some(payload) = payload {
            auth["payload"] = payload;
        }
        connection.text(&auth.to_string()).await
    }

    /// Notes that `token` was shown on `link`.
    pub fn presents(&self, link: u32, token: u32) {
        self.world.tell(Event::Presented { peer: self.number, link, token });
    }
}

/// The address of the peer with this number.
pub fn address_of(number: u32) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, low, 7))
}

/// An address of no peer, in a prefix of its own.
pub fn stranger(rng: &mut Rng) -> IpAddr {
    let some = rng.next();
    if rng.chance(50) {
        let [a, b, c, ..] = some.to_be_bytes();
        return IpAddr::V4(Ipv4Addr::new(100, a, b, c));
    }
    IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) | (u128::from(some >> 16) << 64) | 1))
}

fn reference_of(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    Some(body["error"]["ref"].as_str()?.to_owned())
}

fn retry_after(headers: &str) -> Option<Duration> {
    let line = headers.lines().find(|line| line.to_ascii_lowercase().starts_with("retry-after:"))?;
    Some(Duration::from_secs(line.split_once(':')?.1.trim().parse().ok()?))
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Refusal {
    /// There is no server.
    NoServer,
    /// The network lost it, or nothing came.
    Lost,
    /// A status, and the time to wait.
    Status(u16, Option<Duration>),
}

/// A frame as a client reads it.
#[derive(Debug)]
pub enum Frame {
    /// A text: JSON.
    Text(Value),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The end, with its code.
    Close(u16),
}

/// Why there is no frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing came in time.
    Late,
    /// The connection is gone.
    Gone,
}

/// A connection of a client.
pub struct Connection {
    world: Arc<World>,
    peer: u32,
    address: IpAddr,
    /// Its number.
    pub link: u32,
    /// The stream below.
    pub stream: End,
    read: Vec<u8>,
    rng: Rng,
}

impl Connection {
    /// Reads the answer to the request that begins with `head`.
    pub async fn answered(mut self, head: &str) -> Result<Self, Refusal> {
        let (status, headers, body) = self.response().await?;
        if ["GET /ws ", "GET /ws?", "POST /ws/"].iter().any(|start| head.starts_with(start)) {
            let (peer, link, address) = (self.peer, self.link, self.address.to_string());
            let reference = reference_of(&body);
            self.world.tell(Event::Answered { peer, link, address, status, reference });
        }
        if status == 101 || status == 200 {
            self.read.splice(0..0, body.into_bytes());
            return Ok(self);
        }
        Err(Refusal::Status(status, retry_after(&headers)))
    }

    async fn response(&mut self) -> Result<(u16, String, String), Refusal> {
        let until = Instant::now() + ANSWER;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = received.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&received[..end]).into_owned();
                let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(Refusal::Lost)?;
                let mut body = received.split_off(end + 4);
                if status == 101 {
                    self.read = body;
                    return Ok((status, head, String::new()));
                }
                while let Ok(Ok(count)) = timeout_at(until, self.stream.read(&mut buffer)).await {
                    if count == 0 {
                        break;
                    }
                    body.extend_from_slice(&buffer[..count]);
                }
                return Ok((status, head, String::from_utf8_lossy(&body).into_owned()));
            }
            match timeout_at(until, self.stream.read(&mut buffer)).await {
                Ok(Ok(count)) if count > 0 => received.extend_from_slice(&buffer[..count]),
                _ => return Err(Refusal::Lost),
            }
        }
    }

    /// What came behind a response: the body of a ticket.
    pub fn body(&self) -> &[u8] {
        &self.read
    }

    /// Sends one frame.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) -> bool {
        let bytes = masked(opcode, payload, self.rng.mask());
        self.raw(&bytes).await
    }

    /// Sends bytes as they are. A peer that does not get rid of them in time gives up.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(Duration::from_secs(5), self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends a text.
    pub async fn text(&mut self, text: &str) -> bool {
        self.frame(1, text.as_bytes()).await
    }

    /// Sends a message and writes it down.
    pub async fn say(&mut self, tag: Tag, meant: Meant, text: &str) -> bool {
        self.world.tell(Event::Sent { peer: self.peer, link: self.link, tag, meant });
        self.text(text).await
    }

    /// Reads the next frame. Errors and closes are written down here, whoever reads them.
    pub async fn next(&mut self, until: Instant) -> Result<Frame, Silence> {
        loop {
            if let Some(frame) = self.take_frame() {
                match &frame {
                    Frame::Text(value) if value["type"] == "error" => self.world.tell(Event::Refused {
                        peer: self.peer,
                        link: self.link,
                        code: value["payload"]["code"].as_str().unwrap_or_default().to_owned(),
                        reference: value["payload"]["ref"].as_str().unwrap_or_default().to_owned(),
                    }),
                    Frame::Close(code) => {
                        self.world.tell(Event::Closed { peer: self.peer, link: self.link, code: *code });
                    }
                    _ => {}
                }
                return Ok(frame);
            }
            let mut buffer = [0; 4096];
            match timeout_at(until, self.stream.read(&mut buffer)).await {
                Err(_) => return Err(Silence::Late),
                Ok(Ok(count)) if count > 0 => self.read.extend_from_slice(&buffer[..count]),
                Ok(_) => return Err(Silence::Gone),
            }
        }
    }

    /// Reads a few bytes, if there are some, and forgets them. `false` when the connection is gone.
    pub async fn sip(&mut self, most: usize) -> bool {
        let mut buffer = vec![0; most];
        !matches!(timeout(Duration::from_millis(1), self.stream.read(&mut buffer)).await, Ok(Ok(0) | Err(_)))
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let [first, second, rest @ ..] = self.read.as_slice() else {
            return None;
        };
        let (length, header) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let payload = self.read.get(header..header + length)?;
        let frame = match first & 0x0f {
            1 => Frame::Text(serde_json::from_slice(payload).unwrap_or_default()),
            8 => Frame::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
            9 => Frame::Ping,
            _ => Frame::Pong,
        };
        self.read.drain(..header + length);
        Some(frame)
    }
}

/// A whole frame of a client.
pub fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => bytes.push(0x80 | short),
        (_, Ok(length)) => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    let header = bytes.len();
    bytes.extend_from_slice(payload);
    for (byte, key) in bytes[header..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    bytes
}

/// Does what the peer does until the world is over.
pub async fn run(peer: Peer) {
    match peer.kind {
        Kind::Honest | Kind::SecondDevice | Kind::Stubborn => honest::run(peer).await,
        _ => hostile::run(peer).await,
    }
}
