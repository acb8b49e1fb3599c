//! The library in applications of its users, on real sockets: what the built-in application never does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use testkit::peer::{Peer as Client, Request, masked};
use testkit::world::{PATIENCE, TOKEN};
use tower_layer::Layer as _;
use wsguard::core::control::rate::Mode;
use wsguard::core::effect::{Message, Record};
use wsguard::core::policy::StaticToken;
use wsguard::core::time::{Millis, UnixMs};
use wsguard::layer::{Client as ClientAddress, GuardLayer};
use wsguard::protocol::{CloseCode, ErrorCode};
use wsguard::{Guard, GuardHandle, GuardedSocket, GuardedUpgrade, Handled, Handler, Journal, Peer};

/// An application that does what its messages say.
struct Obedient;

impl Handler for Obedient {
    fn opened(&mut self, _: &mut Peer<'_>) {}

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        match message.kind {
            "echo" => {
                peer.send("echo", message.payload);
                Handled::Done
            }
            "panic" => panic!("the application has a mistake"),
            "internal" => Handled::Refused(ErrorCode::Internal, "lost_its_head"),
            "upstream" => Handled::Refused(ErrorCode::UpstreamUnavailable, "database_down"),
            "close" => {
                let number: u16 = message.payload.parse().unwrap();
                let code = CloseCode::ALL.into_iter().find(|code| code.number() == number).unwrap();
                peer.outbox().close(code).unwrap();
                Handled::Done
            }
            kind => unreachable!("{kind} is no type of this guard"),
        }
    }
}

/// What the operator learns.
struct Heard(mpsc::Sender<Record>);

impl Journal for Heard {
    fn record(&self, _: UnixMs, record: Record) {
        let _ = self.0.send(record);
    }
}

struct Running {
    address: SocketAddr,
    handle: GuardHandle,
    records: mpsc::Receiver<Record>,
}

impl Running {
    /// An axum application on a thread of its own, which ends with the test's process.
    fn start(stall: Millis) -> Self {
        let (guard, records) = guard(stall);
        let handle = guard.handle();
        let routes = axum::Router::new()
            .route("/ws", axum::routing::get(|upgrade: GuardedUpgrade| async { upgrade.serve(Obedient) }))
            .with_state(guard)
            .into_make_service_with_connect_info::<SocketAddr>();
        let address = serve(|listener| async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, handle, records }
    }

    fn upgrade(&self) -> Request {
        Request::upgrade(self.address).bearer(TOKEN)
    }

    fn join(&self) -> Client {
        let mut peer = self.upgrade().open();
        let _ = peer.welcomed();
        peer
    }

    fn record_of(&self, reference: &str) -> Record {
        loop {
            let record = self.records.recv_timeout(PATIENCE).expect("a record of this reference");
            if record.reference.is_some_and(|found| found.to_string() == reference) {
                return record;
            }
        }
    }
}

fn guard(stall: Millis) -> (Guard, mpsc::Receiver<Record>) {
    let (sender, records) = mpsc::channel();
    let kinds = ["echo", "panic", "internal", "upstream", "close", "greet"];
    let guard = kinds
        .into_iter()
        .fold(
            Guard::builder().key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
            |builder, kind| builder.message(kind, "{}"),
        )
        .hosts(["localhost"])
        .origins(["http://localhost:3000"])
        .journal(Heard(sender))
        .tune(move |policy| {
            policy.static_token = Some(StaticToken { token: TOKEN.into(), subject: "ann".into() });
            policy.rate.mode = Mode::Shadow;
            policy.heartbeat.stall = stall;
        })
        .build()
        .unwrap();
    (guard, records)
}

fn serve<F: Future<Output = ()> + Send>(run: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static) -> SocketAddr {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            run(listener).await;
        });
    });
    address.recv().unwrap()
}

fn until(what: &str, good: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !good() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_the_application_refuses_has_its_code_and_the_connection_lives_on() {
    let app = Running::start(Millis(10_000));
    let mut peer = app.join();
    for (kind, code, word) in
        [("internal", "internal", "lost_its_head"), ("upstream", "upstream_unavailable", "database_down")]
    {
        peer.say(kind, 7, &json!(null));
        let error = peer.read();
        assert_eq!(
            (&error["type"], &error["id"], &error["payload"]["code"]),
            (&json!("error"), &json!(7), &json!(code))
        );
        assert!(!error.to_string().contains(word), "the peer learns the code alone: {error}");
        let record = app.record_of(error["payload"]["ref"].as_str().unwrap());
        assert_eq!(record.refusal.unwrap().reason.word, word);
    }
    peer.say("echo", 8, &json!("still here"));
    assert_eq!(peer.expect("echo"), json!("still here"));
    let _ = peer.expect("ack");
    peer.leave();
}

#[test]
fn a_panic_of_the_application_closes_one_socket_and_is_counted() {
    let app = Running::start(Millis(10_000));
    let (mut unlucky, mut other) = (app.join(), app.join());
    unlucky.say("panic", 1, &json!(null));
    let reference = unlucky.expect_refused("internal", 1011);
    let record = app.record_of(&reference);
    assert_eq!((record.close_code, record.refusal.unwrap().reason.word), (Some(1011), "panic"));
    assert_eq!(app.handle.stats().panics(), 1);
    other.say("echo", 1, &json!(1));
    assert_eq!(other.expect("echo"), json!(1));
    let _ = app.join();
}

#[test]
fn an_application_may_close_with_every_code() {
    let app = Running::start(Millis(10_000));
    // An `error` goes before every 44xx, and before no other.
    let cases = [
        (CloseCode::Normal, 1000, None),
        (CloseCode::GoingAway, 1001, None),
        (CloseCode::ProtocolError, 1002, None),
        (CloseCode::Unsupported, 1003, None),
        (CloseCode::InvalidUtf8, 1007, None),
        (CloseCode::PolicyViolation, 1008, None),
        (CloseCode::TooBig, 1009, None),
        (CloseCode::InternalError, 1011, None),
        (CloseCode::Restart, 1012, None),
        (CloseCode::TryLater, 1013, None),
        (CloseCode::Unauthenticated, 4401, Some("unauthenticated")),
        (CloseCode::Forbidden, 4403, Some("forbidden")),
        (CloseCode::TimedOut, 4408, Some("session_expired")),
        (CloseCode::Replaced, 4409, Some("forbidden")),
        (CloseCode::RateLimited, 4429, Some("rate_limited")),
    ];
    assert_eq!(cases.map(|(code, ..)| code), CloseCode::ALL);
    for (_, number, error) in cases {
        let mut peer = app.join();
        peer.say("close", 1, &json!(number));
        let _ = peer.expect("ack");
        if let Some(code) = error {
            let told = peer.expect("error");
            assert_eq!(told["code"], code, "{number}");
            assert_eq!(told["retryAfterMs"].is_u64(), number == 4429, "{number}: {told}");
        }
        let frame = peer.read_frame().unwrap();
        assert_eq!((frame.opcode, frame.close_code()), (8, Some(number)));
    }
}

#[test]
fn a_peer_that_asks_for_much_and_reads_nothing_is_cut_off() {
    let stall = Millis(600);
    let app = Running::start(stall);
    let mut peer = app.upgrade().receive_buffer(4_096).open();
    let _ = peer.welcomed();
    let text = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": "a".repeat(60_000)}).to_string();
    let began = Instant::now();
    // Each is answered with as much, until the kernel's buffers are full; then the server stops reading, and this blocks
    // until it closes.
    peer.send_bytes(&masked(0x81, text.as_bytes()).repeat(400));
    until("cut off", || app.handle.stats().queue_drops() == 1);
    assert!(began.elapsed() >= Duration::from_millis(stall.0), "{:?}", began.elapsed());
    let record = loop {
        let record = app.records.recv_timeout(PATIENCE).expect("the record of the end");
        if record.close_code.is_some() {
            break record;
        }
    };
    assert_eq!((record.close_code, record.refusal.unwrap().reason.word), (Some(1013), "peer_does_not_read"));
    until("the connection is gone", || app.handle.stats().connections_open() == 0);
    // Who reads slowly, but reads, stays: this takes far longer than the stall that is allowed.
    let mut slow = app.upgrade().receive_buffer(4_096).open();
    let _ = slow.welcomed();
    for round in 0..12 {
        slow.say("echo", round, &json!("a".repeat(30_000)));
        thread::sleep(Duration::from_millis(100));
        let _ = slow.expect("echo");
        let _ = slow.expect("ack");
    }
    slow.leave();
    assert_eq!(app.handle.stats().queue_drops(), 1);
}

#[test]
fn a_drain_reaches_those_who_have_not_said_who_they_are() {
    let app = Running::start(Millis(10_000));
    let mut stranger = Request::upgrade(app.address).open();
    until("counted", || app.handle.stats().connections_open() == 1);
    // The answer to a ping says that the connection waits for its first message.
    stranger.send_bytes(&masked(0x89, b"here"));
    assert_eq!(stranger.read_frame().map(|frame| frame.opcode), Some(10));
    let mut known = app.join();
    app.handle.drain();
    assert_eq!(stranger.expect_close(), 1001);
    let _ = known.expect("draining");
    known.leave();
    until("nobody is left", || app.handle.stats().connections_open() == 0);
    assert_eq!(app.upgrade().set("Connection", "Upgrade, close").send().status, 503);
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum Greeting {
    Greet { name: String },
}

#[test]
fn the_layer_guards_a_service_of_tower_and_hyper() {
    let (guard, _records) = guard(Millis(10_000));
    let layer =
        GuardLayer::on_upgrade(guard.clone(), "/ws", |mut socket: GuardedSocket<Greeting, Greeting>| async move {
            while let Some(incoming) = socket.recv().await {
                let Greeting::Greet { name } = &incoming.message;
                socket.send(&Greeting::Greet { name: format!("hello {name}") }).unwrap();
                incoming.ack();
            }
        });
    let handlers = GuardLayer::serve(guard, "/ws", || Obedient);
    // A service for each connection, and one for all, whose requests say where they come from.
    for (name, layer, shared) in [("socket", layer, false), ("handler", handlers, true)] {
        let address = serve(move |listener| async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let inside = tower::service_fn(|request: hyper::Request<Incoming>| async move {
                    Ok::<_, Infallible>(hyper::Response::new(Full::<Bytes>::from(request.uri().path().to_owned())))
                });
                let layer = if shared { layer.clone() } else { layer.of_client(peer.ip()) };
                let service = layer.layer(inside);
                let service = tower::util::MapRequest::new(service, move |mut request: hyper::Request<Incoming>| {
                    if shared {
                        request.extensions_mut().insert(ClientAddress(peer.ip()));
                    }
                    request
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                        .with_upgrades(),
                );
            }
        });
        let other = Request::new(address, "GET", "/other").send();
        assert_eq!((other.status, &*other.body), (200, "/other"), "{name}");
        for (case, request, status, code) in [
            ("no upgrade", Request::new(address, "GET", "/ws"), 426, "invalid_message"),
            ("bad token", Request::upgrade(address).bearer("bad"), 401, "unauthenticated"),
            (
                "foreign origin",
                Request::upgrade(address).bearer(TOKEN).header("Origin", "http://evil.example"),
                403,
                "forbidden",
            ),
        ] {
            let response = request.send();
            assert_eq!((response.status, &*response.refusal().0), (status, code), "{name}: {case}");
        }
        let mut peer = Request::upgrade(address).bearer(TOKEN).open();
        assert_eq!(peer.welcomed()["subject"], "ann", "{name}");
        let (kind, payload, answer): (_, Value, Value) = if shared {
            ("echo", json!([1]), json!([1]))
        } else {
            ("greet", json!({"name": "bob"}), json!({"name": "hello bob"}))
        };
        peer.say(kind, 1, &payload);
        assert_eq!(peer.expect(kind), answer, "{name}");
        let _ = peer.expect("ack");
        peer.leave();
    }
}

/// The client says nothing more in any of these: without the close it would stay for as long as it answers pings.
#[test]
fn a_loop_that_ends_closes_its_connection() {
    let (guard, _records) = guard(Millis(10_000));
    let handle = guard.handle();
    let routes = axum::Router::new()
        .route(
            "/ws",
            axum::routing::get(|upgrade: GuardedUpgrade| async {
                upgrade.on_upgrade(|mut socket: GuardedSocket<Greeting, Greeting>| async move {
                    while let Some(incoming) = socket.recv().await {
                        let Greeting::Greet { name } = &incoming.message;
                        socket.send(&Greeting::Greet { name: format!("hello {name}") }).unwrap();
                        match &**name {
                            "ann" => incoming.ack(),
                            "panic" => panic!("the application has a mistake"),
                            "close" => return socket.close(CloseCode::Forbidden),
                            _ => return,
                        }
                    }
                })
            }),
        )
        .with_state(guard)
        .into_make_service_with_connect_info::<SocketAddr>();
    let address = serve(|listener| async move { axum::serve(listener, routes).await.unwrap() });
    for (name, code) in [("return", 1000), ("panic", 1011), ("close", 4403)] {
        let mut peer = Request::upgrade(address).bearer(TOKEN).open();
        let _ = peer.welcomed();
        peer.say("greet", 1, &json!({"name": "ann"}));
        assert_eq!(peer.expect("greet"), json!({"name": "hello ann"}), "{name}");
        let _ = peer.expect("ack");
        peer.say("greet", 2, &json!({"name": name}));
        assert_eq!(peer.expect("greet"), json!({"name": format!("hello {name}")}), "what was sent comes first");
        assert_eq!(peer.expect_close(), code, "{name}");
    }
    until("nobody is left", || handle.stats().connections_open() == 0);
}
