//! Work of the message path in one process and without a socket, for counting instructions: what is counted depends on the
//! code and the compiler, on nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::arithmetic_side_effects,
    reason = "for measurements: what cannot be set up is no measurement"
)]

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tower_layer::Layer as _;
use wsguard::Guard;
use wsguard::layer::GuardLayer;
use wsguard_core::control::authorization::{Access, RoomRule};
use wsguard_core::control::rate::{Limiter, Print, PrintKey, Quota, Quotas, RatePolicy};
use wsguard_core::effect::Effects;
use wsguard_core::frame::{Opcode, write_masked};
use wsguard_core::guard::Connection;
use wsguard_core::handshake::{HandshakeRequest, Header, Step, admit};
use wsguard_core::json::{self, ScanLimits, Tape};
use wsguard_core::policy::{Context, MessageType, Policy, StaticToken, built_in_messages};
use wsguard_core::probe::NoProbe;
use wsguard_core::schema::CompiledSchema;
use wsguard_core::time::{Now, Tick, UnixMs};
use wsguard_core::verdict::Verdict;
use wsguard_server::app::{App, Rooms};

/// A key for tokens; here nobody has a token but the static one.
const KEY: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const TOKEN: &str = "test_token";
/// Bytes between the two ends of a connection: what is under way fits.
const PIPE_BYTES: usize = 256 * 1024;

/// A `chat` of 200 bytes with this CSRF token.
pub fn chat(csrf_token: &str) -> String {
    let head = format!(r#"{{"type":"chat","csrfToken":"{csrf_token}","payload":{{"message":""#);
    let tail = r#"","room":"lobby"}}"#;
    let prose = "The quick report is ready, please have a look when you find the time: numbers are up by 12 % since \
        Monday, the new line runs well, nobody had to stay late. Lunch at noon?";
    let room = 200_usize.saturating_sub(head.len()).saturating_sub(tail.len());
    let text: String = prose.chars().cycle().take(room).collect();
    format!("{head}{text}{tail}")
}

/// Quotas that no measurement meets; every control is on and enforces.
fn tune(policy: &mut Policy) {
    let plenty = Quota::new(1_000_000_000, 1_000_000_000);
    policy.static_token = Some(StaticToken { token: TOKEN.into(), subject: "ann".into() });
    policy.rooms = vec![RoomRule { pattern: "*".into(), access: Access::Authenticated }];
    policy.sessions.per_subject = 10_000;
    policy.rate.messages = plenty;
    policy.rate.bytes = plenty;
    policy.rate.server = plenty;
    policy.rate.handshakes = plenty;
}

fn guard() -> Guard {
    guard_with([])
}

fn guard_with(others: impl IntoIterator<Item = MessageType>) -> Guard {
    Guard::builder()
        .key("bench.key", KEY)
        .hosts(["localhost"])
        .messages(built_in_messages().unwrap().into_iter().chain(others))
        .tune(tune)
        .build()
        .unwrap()
}

/// An authenticated connection of the core, without driver and application.
pub struct Judge {
    connection: Connection,
    effects: Effects,
    text: String,
    now: Now,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge(..)")
    }
}

impl Judge {
    /// A connection that has judged one message, so that its thread's buffers have their size.
    pub fn new() -> Self {
        Self::with_types(1)
    }

    /// As [`Judge::new`], under a policy of `types` message types beside the built-in ones.
    pub fn with_types(types: usize) -> Self {
        let others = (0..types)
            .map(|number| MessageType::new(&format!("type.{number}"), r#"{"type":"object"}"#).expect("a message type"));
        let cx: Arc<Context> = Arc::clone(guard_with(others).context());
        let now = Now { tick: Tick(10_000_000), unix: UnixMs(1_700_000_000_000) };
        let authorization = format!("Bearer {TOKEN}");
        let mut request = HandshakeRequest::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        request.host = Header::One("localhost");
        request.authorization = Header::One(&authorization);
        let Step::Admit(admission) = admit(&cx, now, &request) else {
            panic!("the handshake of the measurement is admitted");
        };
        let mut effects = Effects::default();
        let (connection, _) = Connection::open(cx, now, admission, &mut effects);
        let text = chat(&csrf_token(&effects.out));
        let mut judge = Self { connection, effects, text, now };
        judge.judge();
        judge
    }

    /// Judges the chat once more.
    pub fn judge(&mut self) {
        let verdict = self.connection.on_message(self.now, &self.text, &mut self.effects, &mut NoProbe);
        assert!(verdict == Verdict::Allow, "the message of the measurement passes");
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

/// The scan alone.
#[derive(Debug)]
pub struct Scan {
    text: String,
    tape: Tape,
}

impl Scan {
    fn of(text: String) -> Self {
        Self { text, tape: Tape::new() }
    }

    /// A chat of 200 bytes, like one that was scanned before.
    pub fn chat() -> Self {
        let mut scan = Self::of(chat("0123456789012345678901"));
        scan.scan();
        scan
    }

    /// A chat of 200 bytes with escapes in its text, which is never recalled.
    pub fn with_escapes() -> Self {
        let mut scan = Self::of(chat("0123456789012345678901").replacen("report is", r#"\"X\" is,"#, 1));
        scan.scan();
        scan
    }

    /// A message of 8 KiB: a list of things with names, numbers and text.
    pub fn of_8_kib() -> Self {
        let mut scan = Self::of(eight_kib());
        scan.scan();
        scan
    }

    /// Scans the text once more.
    pub fn scan(&mut self) {
        let scanned = json::scan(&self.text, &ScanLimits::default(), &mut self.tape);
        assert!(scanned.is_ok(), "the text of the measurement passes");
    }
}

/// The scan of [`eight_kib`] and its validation.
#[derive(Debug)]
pub struct Validation {
    scan: Scan,
    schema: CompiledSchema,
}

impl Validation {
    /// Of [`eight_kib`] by [`EIGHT_KIB_SCHEMA`].
    pub fn of_8_kib() -> Self {
        Self { scan: Scan::of_8_kib(), schema: CompiledSchema::compile("large", EIGHT_KIB_SCHEMA).unwrap() }
    }

    /// Scans and checks the text once more.
    pub fn check(&mut self) {
        let Scan { text, tape } = &mut self.scan;
        let document = json::scan(text, &ScanLimits::default(), tape).expect("the text of the measurement passes");
        assert!(self.schema.check(document, document.root()).is_ok(), "the message of the measurement is valid");
    }
}

/// Charges one message after another to the buckets of `keys` subjects, which all have been charged before, in an order that
/// no cache knows.
pub fn rate_keys(keys: u32) -> impl FnMut() {
    let limiter = Limiter::new(usize::try_from(keys).unwrap_or(usize::MAX).saturating_mul(2), PrintKey::new([7; 16]));
    let mut policy = RatePolicy::default();
    let plenty = Quota::new(1_000_000_000, 1_000_000_000);
    (policy.messages, policy.bytes, policy.server) = (plenty, plenty, plenty);
    let quotas = Quotas::new(policy);
    let prefixes = limiter.prefixes_of(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let subjects: Vec<Print> = (0..keys).map(|number| limiter.print_of(&number.to_string())).collect();
    let now = Tick(10_000_000);
    for subject in &subjects {
        let charged = limiter.message(&quotas, Some(*subject), prefixes, now, 200);
        assert!(charged.is_ok(), "within the quota of the measurement");
    }
    let mut at = 0_usize;
    move || {
        at = at.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let subject = subjects.get((at >> 8) % subjects.len().max(1)).copied();
        let charged = limiter.message(&quotas, subject, prefixes, now, 200);
        assert!(charged.is_ok(), "within the quota of the measurement");
    }
}

/// A JSON text of about 8 KiB as applications send them: objects in an array, half of it text.
pub fn eight_kib() -> String {
    let items: Vec<String> = (0..46)
        .map(|number| {
            format!(
                r#"{{"id":{number},"name":"thing number {number}","price":{}.5,"tags":["new","blue"],"inStock":{},"note":"Runs well since Monday, nobody had to stay late; have a look when you find the time."}}"#,
                number * 7,
                number % 2 == 0,
            )
        })
        .collect();
    format!(r#"{{"items":[{}]}}"#, items.join(","))
}

/// The schema of [`eight_kib`].
pub const EIGHT_KIB_SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "items": {
      "type": "array",
      "maxItems": 100,
      "items": {
        "type": "object",
        "properties": {
          "id": { "type": "integer", "minimum": 0 },
          "name": { "type": "string", "minLength": 1, "maxLength": 64 },
          "price": { "type": "number", "minimum": 0 },
          "tags": { "type": "array", "items": { "type": "string", "maxLength": 16 }, "maxItems": 8 },
          "inStock": { "type": "boolean" },
          "note": { "type": "string", "maxLength": 500 }
        },
        "required": ["id", "name", "price"],
        "additionalProperties": false
      }
    }
  },
  "required": ["items"],
  "additionalProperties": false
}"#;

/// Guarded connections behind pipes, with the built-in application: all of the path but the kernel's part.
pub struct Path {
    runtime: Runtime,
    rooms: Arc<Rooms>,
    guard: Guard,
    clients: Vec<Client>,
}

struct Client {
    stream: DuplexStream,
    csrf_token: String,
    inbox: Vec<u8>,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Path(..)")
    }
}

impl Path {
    /// `members` connections, all of them in the lobby.
    pub fn new(members: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut path = Self { runtime, rooms: Arc::default(), guard: guard(), clients: Vec::new() };
        for _ in 0..members {
            let client = path.runtime.block_on(connect(&path.guard, &path.rooms));
            path.clients.push(client);
        }
        path
    }

    /// `members` connections that have exchanged some messages, and the frames of `count` chats of the first.
    pub fn warm(members: usize, count: usize) -> (Self, Vec<u8>, usize) {
        let mut path = Self::new(members);
        let batch = path.batch(count);
        for _ in 0..8 {
            path.exchange_bytes(&batch, count);
        }
        (path, batch, count)
    }

    /// The first member sends `count` chats in one write, and every member gets each of them.
    pub fn exchange(&mut self, count: usize) {
        let batch = self.batch(count);
        self.exchange_bytes(&batch, count);
    }

    /// The frames of `count` chats of the first member, for [`Path::exchange_bytes`].
    pub fn batch(&self, count: usize) -> Vec<u8> {
        let mut batch = Vec::new();
        for client in self.clients.first().into_iter().cycle().take(count) {
            write_masked(&mut batch, Opcode::Text, chat(&client.csrf_token).as_bytes(), [0x12, 0x34, 0x56, 0x78]);
        }
        batch
    }

    /// Sends `batch`, which holds `count` chats, and takes what every member gets.
    pub fn exchange_bytes(&mut self, batch: &[u8], count: usize) {
        let Self { runtime, clients, .. } = self;
        runtime.block_on(async {
            if let Some(first) = clients.first_mut() {
                first.stream.write_all(batch).await.expect("the server reads");
            }
            for client in clients {
                client.receive(count).await;
            }
        });
    }
}

impl Client {
    /// Reads until `count` text frames are there, and forgets them.
    async fn receive(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let mut taken = 0_usize;
            while left > 0
                && let Some(length) = frame_length(self.inbox.get(taken..).unwrap_or_default())
            {
                taken = taken.saturating_add(length);
                left = left.saturating_sub(1);
            }
            self.inbox.drain(..taken);
            if left > 0 {
                let read = self.stream.read_buf(&mut self.inbox).await.expect("the server writes");
                assert!(read > 0, "the server closed: {}", String::from_utf8_lossy(&self.inbox));
            }
        }
    }
}

/// Length of the whole frame that `bytes` begin with; `None` when it is not all there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = match bytes {
        [_, 126, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])).saturating_add(4),
        [_, length, ..] if *length < 126 => usize::from(*length).saturating_add(2),
        _ => return None,
    };
    (bytes.len() >= length).then_some(length)
}

async fn connect(guard: &Guard, rooms: &Arc<Rooms>) -> Client {
    let (mut stream, server) = tokio::io::duplex(PIPE_BYTES);
    let rooms = Arc::clone(rooms);
    let layer = GuardLayer::serve(guard.clone(), "/ws", move || App::new(Arc::clone(&rooms)));
    let inside = tower::service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("no page here")))
    });
    let service = TowerToHyperService::new(layer.of_client(IpAddr::V4(Ipv4Addr::LOCALHOST)).layer(inside));
    tokio::spawn(async move {
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let _ = connection.with_upgrades().await;
    });
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut inbox = Vec::new();
    loop {
        let head = inbox.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at.saturating_add(4));
        if let Some(head) = head
            && let Some(length) = frame_length(inbox.get(head..).unwrap_or_default())
        {
            let welcome = inbox.get(head..head.saturating_add(length)).unwrap_or_default();
            let csrf_token = csrf_token(welcome);
            inbox.drain(..head.saturating_add(length));
            return Client { stream, csrf_token, inbox };
        }
        let read = stream.read_buf(&mut inbox).await.expect("the server writes");
        assert!(read > 0, "no welcome: {}", String::from_utf8_lossy(&inbox));
    }
}

/// The token in a `welcome`.
fn csrf_token(welcome: &[u8]) -> String {
    let text = String::from_utf8_lossy(welcome);
    let (_, rest) = text.split_once(r#""csrfToken":""#).expect("the welcome has a CSRF token");
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_works() {
        assert_eq!(chat("0123456789012345678901").len(), 200);
        assert_eq!(Scan::with_escapes().text.len(), 200);
        Validation::of_8_kib().check();
        rate_keys(100)();
        Judge::new().judge();
        let mut path = Path::new(3);
        path.exchange(8);
        path.exchange(1);
    }
}
