//! Delivery to an application of one's own that answers later, from a task of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::peer::{Peer, Request};
use testkit::world::PATIENCE;
use wsguard::core::effect::Record;
use wsguard::core::time::UnixMs;
use wsguard::core::token::{MintClaims, SigningKey, mint};
use wsguard::{Encoded, Guard, GuardedSocket, GuardedUpgrade, Incoming, Journal, Outbox};

const KEY: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum Words {
    Say(u64),
}

/// What the application has in hand: the test decides when it is done.
struct Hands {
    messages: Sender<Incoming<Words>>,
    outboxes: Sender<Outbox>,
}

#[derive(Clone)]
struct Shared(Guard, Arc<Mutex<Hands>>);

impl FromRef<Shared> for Guard {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.clone()
    }
}

async fn socket(State(shared): State<Shared>, upgrade: GuardedUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket: GuardedSocket<Words, Words>| async move {
        shared.1.lock().unwrap().outboxes.send(socket.outbox().clone()).unwrap();
        while let Some(incoming) = socket.recv().await {
            shared.1.lock().unwrap().messages.send(incoming).unwrap();
        }
    })
}

struct Log(Sender<&'static str>);

impl Journal for Log {
    fn record(&self, _: UnixMs, record: Record) {
        if let (true, Some(refusal)) = (record.reference.is_some(), record.refusal)
            && record.action == "message_refused"
        {
            self.0.send(refusal.reason.word).unwrap();
        }
    }
}

struct World {
    guard: Guard,
    messages: Receiver<Incoming<Words>>,
    outboxes: Receiver<Outbox>,
    /// Why messages were refused, as the log says it.
    refused: Receiver<&'static str>,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let (log, refused) = channel();
        let guard = Guard::builder()
            .journal(Log(log))
            .key("app.key", KEY)
            .hosts(["localhost"])
            .message("say", r#"{"type": "integer"}"#)
            .build()
            .unwrap();
        let (messages, received) = channel();
        let (outboxes, opened) = channel();
        let shared = Shared(guard.clone(), Arc::new(Mutex::new(Hands { messages, outboxes })));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app: Router = Router::new().route("/ws", get(socket)).with_state(shared);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { guard, messages: received, outboxes: opened, refused, address, _runtime: runtime }
    }

    fn open(&self, entry: &str) -> (Peer, Value) {
        let key = SigningKey::parse("app.key", KEY).unwrap();
        let token = mint(&key, &MintClaims::new("ann", UnixMs(4_000_000_000_000))).unwrap();
        let protocols = format!("wsguard.v1, {entry}");
        let request = Request::upgrade(self.address).header("Sec-WebSocket-Protocol", &protocols);
        let mut peer = request.bearer(&token).open();
        let welcome = peer.welcomed();
        (peer, welcome)
    }

    /// The next message that reaches the application, which must be this one.
    fn handed(&self, number: u64) -> Incoming<Words> {
        let incoming = self.messages.recv_timeout(PATIENCE).unwrap();
        let Words::Say(said) = &incoming.message;
        assert_eq!(*said, number);
        incoming
    }

    /// Waits until so many sessions wait for their clients.
    fn until_detached(&self, count: usize) {
        let since = Instant::now();
        while self.guard.handle().detached() != count {
            assert!(since.elapsed() < PATIENCE, "{count} detached");
            thread::yield_now();
        }
    }
}

fn entry(welcome: &Value, last_seq: u64) -> String {
    format!("wsguard.resume.{}.{last_seq}", welcome["resumeToken"].as_str().unwrap())
}

fn ack(id: u64) -> Value {
    json!({"type": "ack", "id": id, "payload": {}})
}

#[test]
fn a_message_under_way_is_neither_handled_twice_nor_acknowledged_early() {
    let world = World::new();
    let (mut peer, welcome) = world.open("wsguard.resume");
    peer.say("say", 1, &json!(1));
    let one = world.handed(1);
    // The older socket is still open: the session is handed over.
    let (mut peer, welcome) = {
        let (new, again) = world.open(&entry(&welcome, 0));
        assert_eq!(again["resumed"], true);
        assert_eq!(peer.expect_close(), 4409);
        (new, again)
    };
    peer.say("say", 1, &json!(1));
    peer.say("say", 2, &json!(2));
    world.handed(2).ack();
    assert_eq!(peer.read(), ack(2), "the first is still under way");
    one.ack();
    assert_eq!(peer.read(), ack(1), "on the connection of the time");

    peer.say("say", 3, &json!(3));
    peer.say("say", 4, &json!(4));
    let (three, four) = (world.handed(3), world.handed(4));
    drop(peer);
    world.until_detached(1);
    three.ack();
    four.refuse(wsguard::protocol::ErrorCode::UpstreamUnavailable, "not_now");
    assert_eq!(world.refused.try_iter().collect::<Vec<_>>(), ["not_now"], "the operator hears of it at once");
    let outbox = world.outboxes.recv_timeout(PATIENCE).unwrap();
    outbox.send(&Encoded::new("say", "33")).unwrap();

    let (mut peer, again) = world.open(&entry(&welcome, 0));
    assert_eq!(again["resumed"], true);
    assert_eq!(peer.read(), json!({"seq": 1, "type": "say", "payload": 33}), "said while nobody was there");
    peer.say("say", 3, &json!(3));
    assert_eq!(peer.read(), ack(3), "it was done meanwhile");
    peer.say("say", 4, &json!(4));
    world.handed(4).ack();
    assert_eq!(peer.read(), ack(4), "what was refused is a new try");
    assert!(world.outboxes.try_recv().is_err(), "the application was started once");
    assert_eq!(world.guard.handle().stats().duplicates(), 2);
    peer.leave();
}

#[test]
fn what_is_sent_behind_a_first_message_waits_for_the_session() {
    let world = World::new();
    let (mut old, welcome) = world.open("wsguard.resume");
    let key = SigningKey::parse("app.key", KEY).unwrap();
    let token = mint(&key, &MintClaims::new("ann", UnixMs(4_000_000_000_000))).unwrap();
    let mut new = Request::upgrade(world.address).open();
    let payload = json!({"token": token, "resumeToken": welcome["resumeToken"], "lastSeq": 0});
    let texts = [json!({"type": "auth", "payload": payload}), json!({"type": "ping", "payload": {"t": 5}})];
    let bytes: Vec<u8> =
        texts.iter().flat_map(|text| testkit::peer::masked(0x81, text.to_string().as_bytes())).collect();
    // In one write, so that both are read at once: the second must wait until the older connection has let go.
    new.send_bytes(&bytes);
    assert_eq!(new.welcomed()["resumed"], true);
    assert_eq!(new.expect("pong")["t"], 5);
    assert_eq!(old.expect_close(), 4409);
}

#[test]
fn what_is_refused_when_the_session_is_over_stands_in_the_log() {
    let world = World::new();
    let (mut peer, _) = world.open("wsguard.resume");
    for number in 1..=3 {
        peer.say("say", number, &json!(number));
    }
    let [one, two, three] = [1, 2, 3].map(|number| world.handed(number));
    peer.leave();
    let since = Instant::now();
    while world.guard.handle().stats().connections_open() > 0 {
        assert!(since.elapsed() < PATIENCE);
        thread::yield_now();
    }
    assert_eq!(world.guard.handle().detached(), 0, "who says good-bye does not come back");
    one.refuse(wsguard::protocol::ErrorCode::UpstreamUnavailable, "too_late");
    two.ack();
    // An application that stops is nothing to report.
    drop(three);
    assert_eq!(world.refused.try_iter().collect::<Vec<_>>(), ["too_late"]);
}

#[test]
fn a_session_does_not_survive_its_server_and_does_not_wait_while_it_drains() {
    let (first, second) = (World::new(), World::new());
    let (lost, welcome) = first.open("wsguard.resume");
    let (mut new, again) = second.open(&entry(&welcome, 0));
    assert_eq!(again["resumed"], false, "another process has other keys");
    second.guard.handle().drain();
    assert_eq!(new.expect("draining")["reconnectAfterMs"].as_u64().map(|ms| ms <= 5_000), Some(true));
    drop(new);
    drop(lost);
    first.until_detached(1);
    let since = Instant::now();
    while second.guard.handle().stats().connections_open() > 0 {
        assert!(since.elapsed() < PATIENCE);
        thread::yield_now();
    }
    assert_eq!(second.guard.handle().detached(), 0);
}
