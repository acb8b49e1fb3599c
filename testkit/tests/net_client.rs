//! The Rust client against the real server, over a network that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::peer::Request;
use testkit::proxy::Proxy;
use testkit::world::{PATIENCE, Scratch, TOKEN, World, run};
use wsguard::core::control::rate::Mode;
use wsguard::core::time::{Millis, UnixMs};
use wsguard::core::token::{MintClaims, SigningKey, mint};
use wsguard::{Guard, GuardedSocket, GuardedUpgrade};
use wsguard_client::{
    Auth, Builder, Client, Code, ConnectError, ErrorCode, Event, Events, Message, OnLost, Opened, Pings, Reconnect,
    State, TokenError, TokenReason,
};

/// Quotas that no test here is about.
const NO_QUOTAS: [(&str, &str); 3] =
    [("WSGUARD_RATE__MODE", "shadow"), ("WSGUARD_PENALTY__MODE", "shadow"), ("WSGUARD_ANOMALY__MODE", "shadow")];

fn world(settings: &[(&str, &str)]) -> World {
    World::dev(&[&NO_QUOTAS[..], settings].concat())
}

/// Comes back at once, so that no test waits for what the vectors already prove.
fn client(url: &str) -> Builder {
    let ms = Duration::from_millis;
    Client::builder(url).token(TOKEN).reconnect(Reconnect::full_jitter(ms(1), ms(50)).stable_after(ms(1)))
}

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

async fn connected(builder: Builder) -> (Client, Events) {
    let (client, mut events) = soon("a connection", builder.connect()).await.unwrap();
    let opened = opened(&mut events).await;
    assert!(!opened.resumed && !opened.missed);
    (client, events)
}

/// The next event, of which nothing but messages is passed over.
async fn opened(events: &mut Events) -> Opened {
    loop {
        match soon("a connection", events.next()).await {
            Some(Event::Opened(opened)) => return opened,
            Some(Event::Lost(_) | Event::Message(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn message(events: &mut Events) -> Message {
    loop {
        match soon("a message", events.next()).await {
            Some(Event::Message(message)) => return message,
            Some(Event::Lost(_) | Event::Opened(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn closed(events: &mut Events) -> wsguard_client::Closed {
    loop {
        match soon("the end", events.next()).await {
            Some(Event::Closed(closed)) => {
                assert!(events.next().await.is_none(), "nothing follows the end");
                return closed;
            }
            Some(_) => {}
            None => panic!("ended without an end"),
        }
    }
}

fn echo(payload: impl Serialize) -> Value {
    json!({"type": "echo", "payload": payload})
}

/// The value of a metric, added up over its labels.
fn metric(world: &World, name: &str) -> u64 {
    let body = world.ask_admin("/metrics").body;
    let lines = body.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn every_credential_opens_and_a_lost_connection_is_resumed_with_it() {
    let world = world(&[]);
    for auth in [Auth::Bearer, Auth::Subprotocol, Auth::Ticket, Auth::FirstMessage] {
        let proxy = Proxy::start(world.endpoint);
        let (client, mut events) = connected(self::client(&proxy.url()).auth(auth)).await;
        let status = client.status();
        assert_eq!((status.state, status.subject.as_deref()), (State::Open, Some("dev")), "{auth:?}");
        soon("an ack", client.send(&echo("one"))).await.unwrap();
        assert_eq!(message(&mut events).await.payload::<String>().unwrap(), "one");
        proxy.cut();
        soon("an ack", client.send(&echo("two"))).await.unwrap();
        let again = opened(&mut events).await;
        assert!(again.resumed && !again.missed, "{auth:?}: {again:?}");
        assert_eq!(Some(again.session), status.session, "{auth:?}");
        assert_eq!(message(&mut events).await.payload::<String>().unwrap(), "two");
        client.close();
        assert!(closed(&mut events).await.error.is_none());
        let end = soon("the end", client.closed()).await;
        assert_eq!((end.code, client.state()), (1000, State::Closed));
    }
    assert_eq!(metric(&world, "wsguard_resumes_total{outcome=\"resumed\"}"), 4);
}

#[tokio::test]
async fn a_refused_token_is_told_and_never_tried_in_a_loop() {
    let world = world(&[]);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    for auth in [Auth::Bearer, Auth::Subprotocol, Auth::Ticket, Auth::FirstMessage] {
        let proxy = Proxy::start(world.endpoint);
        let error =
            soon("a refusal", Client::builder(proxy.url()).token("no-token").auth(auth).connect()).await.unwrap_err();
        let ConnectError::Failed(error) = error else { panic!("{auth:?}: {error}") };
        assert_eq!(error.code(), Code::Server(ErrorCode::Unauthenticated), "{auth:?}");
        let reference = error.reference().unwrap_or_else(|| panic!("{auth:?}: the log can be searched")).to_owned();
        assert_eq!(world.logged(&reference)["wsguard.ref"], reference, "{auth:?}");
        assert!(!format!("{error:?} {error}").contains("no-token"), "{auth:?}");
        // A static token that was refused has no successor.
        assert_eq!(proxy.accepted(), 1, "{auth:?}");
    }

    // A provider is asked once more, with a reason that says that a kept token will not do.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let provider = move |reason| {
        seen.lock().unwrap().push(reason);
        let token = if reason == TokenReason::Rejected { TOKEN } else { "kept" };
        async move { Ok::<_, TokenError>(token) }
    };
    let (client, _) = soon("a connection", self::client(&url).token(provider).connect()).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [TokenReason::Connect, TokenReason::Rejected]);
    client.close();

    let provider = |_| async { Ok::<_, TokenError>("never-good") };
    let error = soon("a refusal", self::client(&url).token(provider).connect()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Failed(error) if error.code() == Code::Server(ErrorCode::Unauthenticated)));

    let provider = |_| async { Err::<String, _>(TokenError::forbidden()) };
    let error = soon("an end", self::client(&url).token(provider).connect()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Failed(error) if error.code() == Code::Server(ErrorCode::Forbidden)));
}

#[tokio::test]
async fn connect_tells_that_nobody_is_there_and_start_goes_on_trying() {
    let world = world(&[]);
    let proxy = Proxy::start(world.endpoint);
    proxy.down();
    let error = soon("a failure", client(&proxy.url()).connect()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Failed(error) if error.code() == Code::ConnectionLost));

    let (client, _events) = self::client(&proxy.url()).start().unwrap();
    let waiting = client.send(&echo(1));
    assert_eq!(soon("a loss", client.reached(State::Reconnecting)).await, State::Reconnecting);
    proxy.restore();
    soon("an ack", waiting).await.unwrap();
    assert_eq!(client.state(), State::Open);

    // What would be refused again is not tried again.
    let elsewhere = format!("ws://localhost:{}/elsewhere", world.endpoint.port());
    let (client, mut events) = self::client(&elsewhere).start().unwrap();
    let refused = client.send(&echo(1));
    let end = closed(&mut events).await;
    assert_eq!(end.error.map(|error| error.code()), Some(Code::Protocol), "404");
    assert_eq!(soon("an end", refused).await.unwrap_err().code(), Code::Protocol);
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_the_session_goes_on() {
    let world = Arc::new(world(&[]));
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let provider = {
        let (world, asked) = (Arc::clone(&world), Arc::clone(&asked));
        move |reason| {
            asked.lock().unwrap().push(reason);
            let world = Arc::clone(&world);
            async move {
                let token = tokio::task::spawn_blocking(move || world.token("ann", "2s")).await;
                token.map_err(TokenError::from)
            }
        }
    };
    let (client, mut events) = connected(client(&url).token(provider)).await;
    let session = client.status().session;
    // Past two tokens: `auth.expiring` comes at four fifths of each.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) || asked.lock().unwrap().len() < 3 {
        assert!(began.elapsed() < PATIENCE, "{:?}", asked.lock().unwrap());
        soon("an ack", client.send(&echo(0))).await.unwrap();
        let _ = message(&mut events).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await;
    }
    assert_eq!((client.state(), client.status().session), (State::Open, session), "no new connection");
    let asked = asked.lock().unwrap().clone();
    assert!(asked[1..].iter().all(|reason| *reason == TokenReason::Expiring), "{asked:?}");
    client.close();

    // A static token has no successor: its end is a typed error, not a loop.
    let token = world.token("bob", "1s");
    let (_client, mut events) = connected(self::client(&url).token(token)).await;
    let end = closed(&mut events).await;
    assert_eq!(end.code, 4401);
    let code = end.error.unwrap().code();
    assert!(matches!(code, Code::Server(ErrorCode::Unauthenticated | ErrorCode::SessionExpired)), "{code}");
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum Words {
    Say(u64),
}

#[tokio::test]
async fn the_csrf_token_is_followed_through_its_rotations() {
    const KEY: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    async fn socket(upgrade: GuardedUpgrade) -> Response {
        upgrade.on_upgrade(|mut socket: GuardedSocket<Words, Words>| async move {
            while let Some(incoming) = socket.recv().await {
                if socket.send(&incoming.message).is_ok() {
                    incoming.ack();
                }
            }
        })
    }
    // The server of `wsguard serve` rotates once a minute at most; the same guard under a policy of its own does not wait.
    let guard = Guard::builder()
        .key("app.key", KEY)
        .hosts(["localhost"])
        .message("say", r#"{"type": "integer"}"#)
        .tune(|policy| {
            policy.csrf_rotate_every = Millis(100);
            policy.rate.mode = Mode::Shadow;
        })
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://localhost:{}/ws", listener.local_addr().unwrap().port());
    let app: Router = Router::new().route("/ws", get(socket)).with_state(guard);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let key = SigningKey::parse("app.key", KEY).unwrap();
    let token = mint(&key, &MintClaims::new("ann", UnixMs(4_000_000_000_000))).unwrap();
    let (client, mut events) = connected(client(&url).token(token)).await;
    // Any token that is two rotations old is refused: without following them, nothing would pass after 200 ms.
    let end = tokio::time::Instant::now() + Duration::from_secs(1);
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        soon("an ack", client.send(&Words::Say(number))).await.unwrap();
        assert_eq!(message(&mut events).await.payload::<u64>().unwrap(), number);
        number += 1;
    }
    assert!(number > 10, "{number}");
}

/// Sends `count` messages and expects each echo once and in order, whatever happens meanwhile.
async fn all_in_order(client: &Client, events: &mut Events, count: u64, mut meanwhile: impl FnMut(u64)) {
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        let mut acks = tokio::task::JoinSet::new();
        for number in 0..count {
            let sending = sender.send(&echo(number));
            acks.spawn(async move { sending.await.map(|_| number) });
        }
        acks.join_all().await
    });
    for number in 0..count {
        let message = message(events).await;
        assert_eq!((message.kind.as_str(), message.payload::<u64>().unwrap()), ("echo", number));
        meanwhile(number);
    }
    for outcome in soon("all acks", sending).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_messages_survive_cuts_in_the_middle_of_frames() {
    let world = world(&[]);
    let proxy = Proxy::start(world.endpoint);
    let (client, mut events) = connected(client(&proxy.url())).await;
    proxy.cut_after(3_001);
    all_in_order(&client, &mut events, 1_000, |number| {
        // After an odd number of bytes: most often within a frame, of either direction.
        if number % 90 == 45 {
            proxy.cut_after(1_777 + number * 7);
        }
    })
    .await;
    let resumed = metric(&world, "wsguard_resumes_total{outcome=\"resumed\"}");
    assert!(resumed >= 8, "{resumed} resumed of {} connections", proxy.accepted());
    // An attempt may be cut before its welcome; none of those that had one lost the session.
    assert!(resumed < proxy.accepted(), "{resumed} resumed of {} connections", proxy.accepted());
    soon("a flush", client.flush()).await;
    let status = client.status();
    assert_eq!((status.queued, status.in_flight), (0, 0));
}

#[tokio::test]
async fn a_thousand_messages_survive_a_connection_that_is_half_open() {
    let world = world(&[]);
    let proxy = Proxy::start(world.endpoint);
    let pings = Pings::every(Duration::from_millis(300), Duration::from_secs(1));
    let builder = client(&proxy.url()).pings(pings).connect_timeout(Duration::from_secs(2));
    let (client, mut events) = connected(builder).await;
    let healed = AtomicUsize::new(0);
    all_in_order(&client, &mut events, 1_000, |number| {
        if number % 400 == 200 {
            // Both ends believe in the connection; only silence tells.
            proxy.half_open();
            proxy.restore();
            healed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(healed.load(Ordering::SeqCst), 2);
    assert!(proxy.accepted() >= 3, "{} connections", proxy.accepted());
    let rtt = client.status().rtt.expect("pings were answered");
    assert!(rtt.last > Duration::ZERO && rtt.median > Duration::ZERO);

    // A network that stays away: attempts run into their time-out, and what waits arrives afterwards.
    proxy.half_open();
    let waiting = client.send(&echo("late"));
    assert_eq!(soon("a loss", client.reached(State::Reconnecting)).await, State::Reconnecting);
    let attempts = proxy.accepted();
    while proxy.accepted() < attempts + 2 {
        let _ = soon("another attempt", events.next()).await;
    }
    proxy.restore();
    soon("an ack", waiting).await.unwrap();
    assert_eq!(message(&mut events).await.payload::<String>().unwrap(), "late");
}

#[tokio::test]
async fn silence_is_noticed_without_pings() {
    let world = world(&[("WSGUARD_HEARTBEAT__INTERVAL", "1s"), ("WSGUARD_HEARTBEAT__TIMEOUT", "1s")]);
    let proxy = Proxy::start(world.endpoint);
    let (client, mut events) = connected(client(&proxy.url()).no_pings()).await;
    proxy.half_open();
    proxy.restore();
    let Some(Event::Lost(lost)) = soon("a loss", events.next()).await else { panic!("silence") };
    assert_eq!((lost.code, lost.error.code()), (1006, Code::ConnectionLost));
    assert!(opened(&mut events).await.resumed);
    assert!(client.status().rtt.is_none());
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum FromServer {
    Echo(Value),
}

#[tokio::test]
async fn when_the_process_is_lost_nothing_acknowledged_is_sent_again() {
    for on_lost in [OnLost::Reject, OnLost::Resend] {
        let first = world(&[]);
        let proxy = Proxy::start(first.endpoint);
        let (client, mut events) = connected(client(&proxy.url()).on_lost(on_lost)).await;
        for number in 0..10 {
            soon("an ack", client.send(&echo(number))).await.unwrap();
            assert_eq!(message(&mut events).await.payload::<u64>().unwrap(), number);
        }
        // Written into a network that swallows it: nobody can know whether it was handled.
        proxy.half_open();
        let in_flight = client.send(&echo("in flight"));
        while client.status().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        proxy.down();
        drop(first.kill());
        assert_eq!(soon("a loss", client.reached(State::Reconnecting)).await, State::Reconnecting);
        let queued: Vec<_> = (0..3).map(|number| client.send(&echo(format!("queued {number}")))).collect();
        let second = world(&[]);
        proxy.retarget(second.endpoint);
        proxy.restore();
        let outcome = soon("an end", in_flight).await;
        let opened = opened(&mut events).await;
        assert!(opened.missed && !opened.resumed, "{opened:?}");
        for queued in queued {
            soon("an ack", queued).await.unwrap();
        }
        let want: Vec<String> = match on_lost {
            OnLost::Reject => {
                let error = outcome.unwrap_err();
                assert_eq!(error.code(), Code::DeliveryUnknown);
                assert!(error.may_have_been_handled());
                vec!["queued 0".into(), "queued 1".into(), "queued 2".into()]
            }
            OnLost::Resend => {
                outcome.unwrap();
                vec!["in flight".into(), "queued 0".into(), "queued 1".into(), "queued 2".into()]
            }
        };
        let mut messages = events.messages::<FromServer>();
        for text in want {
            let message = soon("a message", messages.next()).await.unwrap().unwrap();
            assert_eq!(message, FromServer::Echo(json!(text)), "{on_lost:?}");
        }
        client.close();
        assert!(soon("the end", messages.next()).await.is_none(), "{on_lost:?}: nothing more was handled");
    }
}

#[tokio::test]
async fn a_server_that_drains_is_left_at_the_moment_it_gave() {
    let mut first = world(&[]);
    let second = world(&[]);
    let proxy = Proxy::start(first.endpoint);
    let (client, mut events) = connected(client(&proxy.url())).await;
    soon("an ack", client.send(&echo(1))).await.unwrap();
    proxy.retarget(second.endpoint);
    first.terminate();
    let Some(Event::Message(_)) = soon("the echo", events.next()).await else { panic!("the echo") };
    let Some(Event::Lost(lost)) = soon("the move", events.next()).await else { panic!("the move") };
    assert_eq!(lost.error.code(), Code::ConnectionLost);
    assert!(opened(&mut events).await.missed, "another server does not know the session");
    soon("an ack", client.send(&echo(2))).await.unwrap();
    assert_eq!(message(&mut events).await.payload::<u64>().unwrap(), 2);
    assert_eq!(proxy.accepted(), 2, "one connection to each");
    client.close();
    soon("the end", client.closed()).await;
    assert!(tokio::task::spawn_blocking(move || first.exit()).await.unwrap().success());
}

#[tokio::test]
async fn a_revoked_client_learns_why_and_stays_away() {
    let key = "0123456789abcdef0123456789abcdef";
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("admin.key"), key).unwrap();
    let settings = [&NO_QUOTAS[..], &[("WSGUARD_ADMIN__KEY_FILE", "admin.key")]].concat();
    let world = World::start(scratch, &["--dev"], &settings);
    let proxy = Proxy::start(world.endpoint);
    let provider = |_| async { Ok::<_, TokenError>(TOKEN) };
    let (client, mut events) = connected(client(&proxy.url()).token(provider)).await;
    let body = json!({"subject": "dev"}).to_string();
    let revoked = Request::new(world.admin, "POST", "/api/revocations").bearer(key).body(&body).send();
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    let end = closed(&mut events).await;
    assert_eq!((end.code, end.error.map(|error| error.code())), (4403, Some(Code::Server(ErrorCode::Forbidden))));
    assert_eq!(proxy.accepted(), 1);
    let error = client.send(&echo(1)).await.unwrap_err();
    assert_eq!((error.code(), error.may_have_been_handled()), (Code::Closed, false));
}

/// Twelve times the burst at once, on a quota that has room for another message every 5 ms: what is in flight when the
/// first is refused would overtake it.
#[tokio::test]
async fn a_burst_far_above_the_quota_arrives_once_and_in_order() {
    const COUNT: u64 = 600;
    let world = World::dev(&[("WSGUARD_RATE__MESSAGES_PER_SECOND", "200"), ("WSGUARD_RATE__BURST", "50")]);
    let (client, mut events) = connected(client(&format!("ws://localhost:{}/ws", world.endpoint.port()))).await;
    let sent: Vec<_> = (0..COUNT).map(|number| client.send(&echo(number))).collect();
    let mut seen = Vec::new();
    let mut refused = 0;
    while seen.len() < sent.len() {
        match soon("an echo", events.next()).await {
            Some(Event::Message(message)) => seen.push(message.payload::<u64>().unwrap()),
            Some(Event::Fault(error)) => {
                assert_eq!(error.code(), Code::Server(ErrorCode::RateLimited));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.iter().copied().eq(0..COUNT), "in order: {seen:?}");
    assert!(refused > 0, "the quota was met");
    for sent in sent {
        soon("an ack", sent).await.unwrap();
    }
    assert_eq!(client.state(), State::Open);
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_server_back_and_loses_nothing() {
    let world = world(&[]);
    let builder = client(&format!("ws://localhost:{}/ws", world.endpoint.port()));
    let (client, mut events) = connected(builder.incoming(16, 1_048_576)).await;
    let sent: Vec<_> = (0..200_u64).map(|number| client.send(&echo(number))).collect();
    // Nobody reads: acknowledgements wait behind the messages, and memory is bounded by sixteen of them.
    while client.status().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    for number in 0..200 {
        assert_eq!(message(&mut events).await.payload::<u64>().unwrap(), number);
    }
    for sent in sent {
        soon("an ack", sent).await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_last_handle_closes_and_a_detached_message_arrives_before() {
    let world = world(&[]);
    let (client, events) = connected(client(&format!("ws://localhost:{}/ws", world.endpoint.port()))).await;
    client.send(&echo("detached")).detach();
    soon("a flush", client.flush()).await;
    let session = client.status().session.unwrap();
    drop((client, events));
    let line = tokio::task::spawn_blocking(move || {
        let line = world.logged_with(&["connection_closed_by_peer", &session]);
        assert_eq!(metric(&world, "wsguard_sessions_detached"), 0, "the session does not wait");
        line
    });
    let line = soon("the end", line).await.unwrap();
    assert_eq!(line["wsguard.close_code"], 1000, "{line}");
}

#[tokio::test]
async fn tls_is_verified_against_the_given_authority_alone() {
    let scratch = Scratch::new();
    let issuer = |name: &str| {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (issuer("ours"), issuer("other"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &ours).unwrap();
    std::fs::write(scratch.path().join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(scratch.path().join("key.pem"), key.serialize_pem()).unwrap();
    let keygen = run(scratch.path(), &["keygen", "--out", "app.key"], &[]);
    assert!(keygen.status.success());
    let token = run(scratch.path(), &["token", "--key", "app.key", "--sub", "ann"], &[]).stdout;
    let token = String::from_utf8(token).unwrap().trim().to_owned();
    let settings = [
        ("WSGUARD_TLS__CERT", "cert.pem"),
        ("WSGUARD_TLS__KEY", "key.pem"),
        ("WSGUARD_AUTH__KEYS", "app.key.pub"),
        ("WSGUARD_ORIGIN__ALLOW", "https://localhost"),
        ("WSGUARD_HOST__ALLOW", "localhost"),
    ];
    let world = World::start(scratch, &[], &settings);
    let url = format!("wss://localhost:{}/ws", world.endpoint.port());
    for auth in [Auth::Bearer, Auth::Ticket] {
        let builder = Client::builder(&url).token(token.clone()).auth(auth).ca_pem(ours.pem());
        let (client, _events) = connected(builder).await;
        soon("an ack", client.send(&echo(1))).await.unwrap();
        client.close();
        soon("the end", client.closed()).await;
    }
    for (name, builder) in [
        ("another authority", Client::builder(&url).ca_pem(other.pem())),
        ("the system's", Client::builder(&url)),
        ("another name", Client::builder(url.replace("localhost", "127.0.0.1")).ca_pem(ours.pem())),
    ] {
        let error = soon("a refusal", builder.token(token.clone()).connect()).await.map(|_| ()).unwrap_err();
        let ConnectError::Failed(error) = error else {
            assert_eq!(name, "the system's", "a system without certificates trusts nobody: {error}");
            continue;
        };
        assert_eq!(error.code(), Code::ConnectionLost, "{name}");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("certificate"), "{name}: {cause}");
    }
}
