//! A small server that does as it is told: what the audit must call good, bad, nothing at all, or a false positive.
//!
//! [`Script::good`] asks for a bearer token and its own Origin, reads frames strictly and answers JSON. A test replaces
//! one of its three answers: to a request, to a frame, to a text.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "for tests: what does not come as expected is a failed test"
)]

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use wsguard_audit::{Options, Pace, Report, Silent, Status};

use crate::scripted_tls::{Spoken, Tls};

/// The token that [`Script::good`] wants.
pub const TOKEN: &str = "good-token-0123456789";

/// A handshake as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which connection of the server this is, from 1.
    pub number: u32,
    /// Method, target, version.
    pub line: String,
    /// Header lines as they came.
    pub headers: Vec<(String, String)>,
    /// The server's own address.
    pub address: SocketAddr,
    /// Who asks.
    pub peer: SocketAddr,
    /// What stood behind the head of the request when it was read.
    pub body: String,
}

impl Ask {
    /// The first value of a header.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The bearer token, if there is one.
    pub fn bearer(&self) -> Option<&str> {
        self.value("Authorization")?.strip_prefix("Bearer ")
    }

    /// The Origin is that of a page of this server.
    pub fn is_own_origin(&self) -> bool {
        let own = [format!("http://{}", self.address), format!("https://localhost:{}", self.address.port())];
        self.value("Origin").is_none_or(|origin| own.iter().any(|own| own == origin))
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Greet {
    /// 101.
    Open,
    /// 101 with more header lines, and messages behind it.
    OpenWith(Vec<(String, String)>, Vec<Out>),
    /// Another status, with header lines and a body.
    Refuse(u16, Vec<(String, String)>, String),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// The end.
    Drop,
    /// Nothing, for ever.
    Silent,
}

/// What to do with a frame or a text.
#[derive(Clone, Debug)]
pub enum Out {
    /// Send a text.
    Text(String),
    /// Send bytes.
    Raw(Vec<u8>),
    /// Close with a code, and end the connection.
    Close(u16),
    /// End the connection.
    Drop,
    /// End the whole server.
    Die,
    /// Wait.
    Wait(Duration),
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Got {
    /// FIN.
    pub fin: bool,
    /// RSV1 to RSV3 as 4, 2, 1.
    pub reserved: u8,
    /// The opcode.
    pub opcode: u8,
    /// It was masked.
    pub masked: bool,
    /// The length as it was announced.
    pub announced: u64,
    /// The length was written in the shortest form.
    pub minimal: bool,
    /// Unmasked.
    pub payload: Vec<u8>,
}

type OnRequest = Arc<dyn Fn(&Ask) -> Greet + Send + Sync>;
type OnFrame = Arc<dyn Fn(&Ask, &Got) -> Option<Vec<Out>> + Send + Sync>;
type OnText = Arc<dyn Fn(&Ask, &str) -> Vec<Out> + Send + Sync>;

/// What a server does.
#[derive(Clone)]
pub struct Script {
    on_request: OnRequest,
    on_frame: OnFrame,
    on_text: OnText,
    is_strict: bool,
    /// Bytes that `Content-Length` announces are read and forgotten.
    reads_bodies: bool,
    tls: Option<Tls>,
    /// Close a connection that said nothing for so long.
    idle: Option<Duration>,
    /// Ping so often, and whether a peer that did not answer the last is closed.
    heartbeat: Option<(Duration, bool)>,
    /// Give a head, and a frame, so long from its first byte on.
    deadline: Option<Duration>,
    /// Read on, whoever reads the answers.
    hoards: bool,
    /// Largest message, in bytes.
    size: u64,
    /// Connections that are let in at a time, and those that are in.
    at_a_time: Option<u32>,
    inside: Arc<AtomicU32>,
    /// Whose head is read; the others wait.
    reading: Option<Arc<Mutex<()>>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("is_strict", &self.is_strict)
            .field("tls", &self.tls)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Script {
    /// A server that does nothing wrong.
    pub fn good() -> Self {
        Self {
            on_request: Arc::new(|ask| {
                let status = if ask.value("Upgrade").is_none() || !ask.line.starts_with("GET / HTTP/1.1") {
                    404
                } else if ask.bearer() != Some(TOKEN) {
                    401
                } else if !ask.is_own_origin() {
                    403
                } else {
                    return Greet::Open;
                };
                Greet::Refuse(status, Vec::new(), String::new())
            }),
            on_frame: Arc::new(|_, _| None),
            on_text: Arc::new(|_, text| answer(text)),
            is_strict: true,
            reads_bodies: false,
            tls: None,
            idle: None,
            heartbeat: None,
            deadline: None,
            hoards: false,
            size: 65_536,
            at_a_time: None,
            inside: Arc::default(),
            reading: None,
        }
    }

    /// A server that accepts connections and never says a word.
    pub fn silent() -> Self {
        Self::good().on_request(|_| Greet::Silent)
    }

    /// With another answer to requests.
    #[must_use]
    pub fn on_request(mut self, answer: impl Fn(&Ask) -> Greet + Send + Sync + 'static) -> Self {
        self.on_request = Arc::new(answer);
        self
    }

    /// With an answer to raw frames that comes before the strict reading; `None` lets it have its way.
    #[must_use]
    pub fn on_frame(mut self, answer: impl Fn(&Ask, &Got) -> Option<Vec<Out>> + Send + Sync + 'static) -> Self {
        self.on_frame = Arc::new(answer);
        self
    }

    /// With another answer to texts.
    #[must_use]
    pub fn on_text(mut self, answer: impl Fn(&Ask, &str) -> Vec<Out> + Send + Sync + 'static) -> Self {
        self.on_text = Arc::new(answer);
        self
    }

    /// Takes frames that RFC 6455 forbids.
    #[must_use]
    pub fn lax(mut self) -> Self {
        self.is_strict = false;
        self
    }

    /// Reads the body of a request before anything that follows.
    #[must_use]
    pub fn reads_bodies(mut self) -> Self {
        self.reads_bodies = true;
        self
    }

    /// Behind TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Closes connections that say nothing for so long.
    #[must_use]
    pub fn idle(mut self, after: Duration) -> Self {
        self.idle = Some(after);
        self
    }

    /// Pings connections that say nothing for so long; `removes` those that did not answer the ping before.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration, removes: bool) -> Self {
        self.heartbeat = Some((every, removes));
        self
    }

    /// Gives a head, and a frame, so long from its first byte on.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Keeps answers that nobody reads, as many as there are, and reads on.
    #[must_use]
    pub fn hoards(mut self) -> Self {
        self.hoards = true;
        self
    }

    /// Takes messages of so many bytes rather than 64 KiB; at most 4 MiB.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Reads the heads of requests one after the other, however long each takes.
    #[must_use]
    pub fn one_by_one(mut self) -> Self {
        self.reading = Some(Arc::default());
        self
    }

    /// Lets so many connections in at a time, and answers 429 to others.
    #[must_use]
    pub fn at_a_time(mut self, most: u32) -> Self {
        self.at_a_time = Some(most);
        self
    }

    /// Starts it on a free port.
    pub async fn start(self) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let ca = self.tls.as_ref().map(Tls::ca);
        let task = tokio::spawn(async move {
            let (end, mut ended) = tokio::sync::mpsc::channel::<()>(1);
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = ended.recv() => return,
                };
                let Ok((stream, peer)) = stream else { return };
                let reading = match &self.reading {
                    Some(reading) => Some(Arc::clone(reading).lock_owned().await),
                    None => None,
                };
                let (script, end, number) = (self.clone(), end.clone(), count.fetch_add(1, Ordering::Relaxed) + 1);
                tokio::spawn(async move {
                    if script
                        .serve(stream, address, peer, number, reading)
                        .await
                        .is_some_and(|out| matches!(out, Out::Die))
                    {
                        let _ = end.send(()).await;
                    }
                });
            }
        });
        Scripted { address, task, ca }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        peer: SocketAddr,
        number: u32,
        reading: Option<OwnedMutexGuard<()>>,
    ) -> Option<Out> {
        match &self.tls {
            None => self.converse(stream, address, peer, number, reading).await,
            Some(tls) => match tls.accept(stream, number, address).await? {
                Spoken::Http1(stream) => self.converse(*stream, address, peer, number, reading).await,
                Spoken::Done => None,
            },
        }
    }

    async fn converse(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        address: SocketAddr,
        peer: SocketAddr,
        number: u32,
        reading: Option<OwnedMutexGuard<()>>,
    ) -> Option<Out> {
        let mut buffer = Vec::new();
        let mut since: Option<Instant> = None;
        let head = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break buffer.drain(..at + 4).collect::<Vec<u8>>();
            }
            let from = since.filter(|_| !buffer.is_empty());
            if self.read_on(&mut stream, &mut buffer, from).await? == 0 {
                return None;
            }
            since = from.or_else(|| Some(Instant::now()));
        };
        drop(reading);
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let line = lines.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let body = String::from_utf8_lossy(&buffer).into_owned();
        let ask = Ask { number, line, headers, address, peer, body };
        let length = ask.value("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if self.reads_bodies {
            while buffer.len() < length && stream.read_buf(&mut buffer).await.ok()? > 0 {}
            buffer.drain(..length.min(buffer.len()));
        }
        let greet = (self.on_request)(&ask);
        let is_let_in = matches!(greet, Greet::Open | Greet::OpenWith(..));
        let inside = is_let_in.then(|| Inside::enter(&self.inside));
        let is_full = inside.as_ref().is_some_and(|inside| self.at_a_time.is_some_and(|most| inside.number > most));
        let (more, first) = match if is_full { Greet::Refuse(429, Vec::new(), String::new()) } else { greet } {
            Greet::Open => (Vec::new(), Vec::new()),
            Greet::OpenWith(more, first) => (more, first),
            Greet::Refuse(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    let _ = write!(text, "{name}: {value}\r\n");
                }
                stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.ok()?;
                return None;
            }
            Greet::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return None;
            }
            Greet::Drop => return None,
            Greet::Silent => loop {
                if stream.read_buf(&mut buffer).await.ok()? == 0 {
                    return None;
                }
            },
        };
        let key = ask.value("Sec-WebSocket-Key").unwrap_or_default();
        let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
        let mut text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
            STANDARD.encode(sum)
        );
        for (name, value) in more {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        if let Some(end) = put(&mut stream, first).await {
            return Some(end);
        }
        if self.hoards {
            return self.hoard(stream, &ask).await;
        }
        let mut whole = Vec::new();
        let mut is_answered = true;
        loop {
            while let Some(got) = take(&mut buffer) {
                is_answered |= got.opcode == 10;
                let outs = match (self.on_frame)(&ask, &got) {
                    Some(outs) => outs,
                    None => self.read(&ask, &got, &mut whole),
                };
                if let Some(end) = put(&mut stream, outs).await {
                    return Some(end);
                }
            }
            let from = since.filter(|_| !buffer.is_empty());
            let read = self.read_on(&mut stream, &mut buffer, from);
            let read = match self.heartbeat {
                None => Ok(read.await),
                Some((every, _)) => tokio::time::timeout(every, read).await,
            };
            let is_dead = self.heartbeat.is_some_and(|(_, removes)| removes && !is_answered);
            let count = match read {
                Ok(Some(count)) => count,
                Err(_) if !is_dead => {
                    is_answered = false;
                    put(&mut stream, vec![Out::Raw(frame(9, b""))]).await;
                    continue;
                }
                _ => return put(&mut stream, vec![Out::Close(4408)]).await,
            };
            since = from.or_else(|| Some(Instant::now()));
            if count == 0 {
                return None;
            }
        }
    }

    /// Reads and answers, and writes beside it, from memory.
    async fn hoard(&self, stream: impl AsyncRead + AsyncWrite + Unpin, ask: &Ask) -> Option<Out> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
        let reading = async {
            let (mut buffer, mut whole) = (Vec::new(), Vec::new());
            while reader.read_buf(&mut buffer).await.ok()? > 0 {
                while let Some(got) = take(&mut buffer) {
                    sender.send(self.read(ask, &got, &mut whole)).ok()?;
                }
            }
            None
        };
        let writing = async {
            while let Some(outs) = kept.recv().await {
                if let Some(end) = put(&mut writer, outs).await {
                    return Some(end);
                }
            }
            None
        };
        tokio::select! {
            end = reading => end,
            end = writing => end,
        }
    }

    /// Reads what comes; `None` when that took too long, from `begun` on or at all.
    async fn read_on(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        begun: Option<Instant>,
    ) -> Option<usize> {
        let left =
            self.deadline.map(|deadline| deadline.saturating_sub(begun.map_or(Duration::ZERO, |at| at.elapsed())));
        let read = stream.read_buf(buffer);
        let count = match self.idle.into_iter().chain(left.filter(|_| begun.is_some())).min() {
            None => read.await,
            Some(time) => tokio::time::timeout(time, read).await.ok()?,
        };
        // One that failed has ended.
        Some(count.unwrap_or(0))
    }

    /// What RFC 6455 asks for.
    fn read(&self, ask: &Ask, got: &Got, whole: &mut Vec<u8>) -> Vec<Out> {
        let is_control = got.opcode & 8 != 0;
        let is_wrong = !got.masked
            || got.reserved != 0
            || !matches!(got.opcode, 0 | 1 | 2 | 8 | 9 | 10)
            || (is_control && (!got.fin || got.announced > 125))
            || (!is_control && (got.opcode == 0) == whole.is_empty())
            || !got.minimal;
        if is_wrong && self.is_strict {
            return vec![Out::Close(1002)];
        }
        if got.announced > self.size || (whole.len() + got.payload.len()) as u64 > self.size {
            return vec![Out::Close(1009)];
        }
        match got.opcode {
            8 => vec![Out::Close(1000)],
            9 => vec![Out::Raw(frame(10, &got.payload))],
            10 => Vec::new(),
            2 => vec![Out::Close(1003)],
            _ => {
                whole.extend_from_slice(&got.payload);
                if !got.fin {
                    return Vec::new();
                }
                match String::from_utf8(std::mem::take(whole)) {
                    Ok(text) => (self.on_text)(ask, &text),
                    Err(_) => vec![Out::Close(1007)],
                }
            }
        }
    }
}

/// What a strict server answers to a text: `echo` comes back, everything else is an error.
pub fn answer(text: &str) -> Vec<Out> {
    let error = |code: &str| vec![Out::Text(json!({"type": "error", "code": code}).to_string())];
    match serde_json::from_str::<Value>(text) {
        Err(_) => error("invalid_json"),
        Ok(value) if value["type"] == "echo" => {
            vec![Out::Text(json!({"type": "echo", "id": value["id"], "payload": value["payload"]}).to_string())]
        }
        Ok(_) => error("unknown_type"),
    }
}

/// A frame as servers send them.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => out.push(u8::try_from(short).unwrap()),
        two @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(two).unwrap().to_be_bytes());
        }
        eight => {
            out.push(127);
            out.extend_from_slice(&(eight as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

async fn put(stream: &mut (impl AsyncWrite + Unpin), outs: Vec<Out>) -> Option<Out> {
    for out in outs {
        let (bytes, is_end) = match &out {
            Out::Text(text) => (frame(1, text.as_bytes()), false),
            Out::Raw(bytes) => (bytes.clone(), false),
            Out::Close(code) => (frame(8, &code.to_be_bytes()), true),
            Out::Drop | Out::Die => return Some(out),
            Out::Wait(time) => {
                tokio::time::sleep(*time).await;
                continue;
            }
        };
        if stream.write_all(&bytes).await.is_err() || is_end {
            return Some(out);
        }
    }
    None
}

/// The first frame of `buffer`, as soon as its header is there where it announces more than fits, else when it is whole.
fn take(buffer: &mut Vec<u8>) -> Option<Got> {
    let [first, second] = *buffer.first_chunk::<2>()?;
    let (announced, mut head, minimal) = match second & 0x7f {
        126 => {
            let length = u64::from(u16::from_be_bytes(*buffer.get(2..)?.first_chunk::<2>()?));
            (length, 4, length > 125)
        }
        127 => {
            let length = u64::from_be_bytes(*buffer.get(2..)?.first_chunk::<8>()?);
            (length, 10, length > 65_535)
        }
        short => (u64::from(short), 2, true),
    };
    let masked = second & 0x80 != 0;
    let mut mask = [0; 4];
    if masked {
        mask = *buffer.get(head..)?.first_chunk::<4>()?;
        head += 4;
    }
    let fits = usize::try_from(announced).ok().filter(|size| *size <= 4 << 20);
    let payload = match fits {
        Some(size) => {
            buffer.get(head..head + size)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
        }
        None => Vec::new(),
    };
    buffer.drain(..head + payload.len());
    Some(Got {
        fin: first & 0x80 != 0,
        reserved: first >> 4 & 7,
        opcode: first & 15,
        masked,
        announced,
        minimal,
        payload,
    })
}

/// A place among those that are in.
struct Inside {
    places: Arc<AtomicU32>,
    /// Which one, from 1.
    number: u32,
}

impl Inside {
    fn enter(places: &Arc<AtomicU32>) -> Self {
        Self { places: Arc::clone(places), number: places.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running server; ended when dropped.
#[derive(Debug)]
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    /// The authority of its certificate.
    ca: Option<Vec<u8>>,
}

impl Scripted {
    /// What an audit of it needs, at a pace at which 30 s are 0.6 s.
    pub fn options(&self) -> Options {
        let url = match self.ca {
            None => format!("ws://{}/", self.address),
            Some(_) => format!("wss://localhost:{}/", self.address.port()),
        };
        Options {
            pace: Pace::shortened(Duration::from_millis(20)),
            ca_pem: self.ca.clone(),
            ..Options::new(&url, Some(TOKEN))
        }
    }

    /// Runs checks against it.
    pub async fn audit(&self, only: &[&str], change: impl FnOnce(&mut Options)) -> Report {
        let mut options = self.options();
        options.only = only.iter().map(|&id| id.to_owned()).collect();
        change(&mut options);
        wsguard_audit::audit(options, &Silent).await.unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs one check against a script.
pub async fn verdict(script: Script, id: &str) -> (Status, String) {
    verdict_with(script, id, |_| ()).await
}

/// The same with other options.
pub async fn verdict_with(script: Script, id: &str, change: impl FnOnce(&mut Options)) -> (Status, String) {
    let server = script.start().await;
    let report = server.audit(&[id], change).await;
    let item = report.checks.iter().find(|item| item.id == id).unwrap();
    let told = format!(
        "{} | baseline {:?} | anonymous {}",
        item.evidence.join("; "),
        report.spoken.baseline,
        report.spoken.anonymous
    );
    (item.status.0, told)
}
