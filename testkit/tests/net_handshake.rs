//! The handshake on real sockets: who is refused and how, the five credentials, what the operator learns.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peer::{Request, masked};
use testkit::world::{TOKEN, World};

fn subprotocol(request: Request, token: &str) -> Request {
    request.header("Sec-WebSocket-Protocol", &format!("wsguard.v1, wsguard.bearer.{token}"))
}

/// Some clients, Node's own WebSocket among them, take no other word beside `Upgrade`.
#[test]
fn the_answer_to_an_upgrade_says_upgrade_and_nothing_else_and_any_other_answer_is_the_last() {
    let world = World::dev(&[]);
    let accepted = world.upgrade().bearer(TOKEN).send();
    assert_eq!((accepted.status, accepted.header("Connection")), (101, Some("Upgrade")), "{}", accepted.head);
    for (status, request) in [
        (401, world.upgrade().bearer("wrong")),
        (404, world.upgrade().bearer(TOKEN).target("/other")),
        (200, Request::new(world.endpoint, "GET", "/health")),
    ] {
        let response = request.send();
        assert_eq!((response.status, response.header("Connection")), (status, Some("close")), "{}", response.head);
    }
}

#[test]
fn every_refusal_has_its_status_and_tells_nothing_more() {
    let world = World::dev(&[]);
    type Change = fn(Request) -> Request;
    let cases: &[(&str, u16, &str, Change)] = &[
        ("header and subprotocol", 400, "invalid_message", |r| subprotocol(r.bearer(TOKEN), TOKEN)),
        ("header and ticket", 400, "invalid_message", |r| r.bearer(TOKEN).target("/ws?ticket=abc")),
        ("token in the query", 400, "invalid_message", |r| r.target("/ws?token=test_token")),
        ("access token in the query", 400, "invalid_message", |r| r.target("/ws?access_token=test_token")),
        ("bearer without subprotocol", 400, "invalid_message", |r| {
            r.header("Sec-WebSocket-Protocol", "wsguard.bearer.test_token")
        }),
        ("no Connection: Upgrade", 400, "invalid_message", |r| r.bearer(TOKEN).set("Connection", "keep-alive")),
        ("other Upgrade", 400, "invalid_message", |r| r.bearer(TOKEN).set("Upgrade", "h2c")),
        ("key of 15 bytes", 400, "invalid_message", |r| {
            r.bearer(TOKEN).set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA")
        }),
        ("no key", 400, "invalid_message", |r| r.bearer(TOKEN).without("Sec-WebSocket-Key")),
        ("a body", 400, "invalid_message", |r| r.bearer(TOKEN).body("{}")),
        ("HTTP/1.0", 400, "invalid_message", |r| r.bearer(TOKEN).line("GET /ws HTTP/1.0")),
        ("absolute form", 400, "invalid_message", |r| r.bearer(TOKEN).line("GET http://localhost/ws HTTP/1.1")),
        ("two cookies", 400, "invalid_message", |r| r.header("Cookie", "wsguard=a; wsguard=b")),
        ("two tickets", 400, "invalid_message", |r| r.target("/ws?ticket=a&ticket=b")),
        ("basic", 401, "unauthenticated", |r| r.header("Authorization", "Basic dGVzdA==")),
        ("unknown token", 401, "unauthenticated", |r| r.bearer("test_tokem")),
        ("empty bearer", 401, "unauthenticated", |r| r.header("Authorization", "Bearer")),
        ("two headers", 401, "unauthenticated", |r| r.bearer(TOKEN).bearer(TOKEN)),
        ("used-up ticket", 401, "unauthenticated", |r| r.target("/ws?ticket=abc")),
        ("foreign host", 403, "forbidden", |r| r.bearer(TOKEN).set("Host", "evil.example")),
        ("no host", 403, "forbidden", |r| r.bearer(TOKEN).without("Host")),
        ("foreign origin", 403, "forbidden", |r| r.bearer(TOKEN).header("Origin", "http://evil.example")),
        ("origin null", 403, "forbidden", |r| r.bearer(TOKEN).header("Origin", "null")),
        ("origin of another port", 403, "forbidden", |r| r.bearer(TOKEN).header("Origin", "http://localhost:1")),
        ("cookie without origin", 403, "forbidden", |r| r.header("Cookie", "wsguard=test_token")),
        ("X-Forwarded-For", 403, "forbidden", |r| r.bearer(TOKEN).header("X-Forwarded-For", "192.0.2.1")),
        ("Forwarded", 403, "forbidden", |r| r.bearer(TOKEN).header("Forwarded", "for=192.0.2.1")),
        ("Via", 403, "forbidden", |r| r.bearer(TOKEN).header("Via", "1.1 tunnel")),
        ("another path", 404, "invalid_message", |r| r.bearer(TOKEN).target("/other")),
        ("the demo page", 404, "invalid_message", |r| r.bearer(TOKEN).target("/")),
        ("the path with a slash", 404, "invalid_message", |r| r.bearer(TOKEN).target("/ws/")),
        ("POST", 405, "invalid_message", |r| r.bearer(TOKEN).line("POST /ws HTTP/1.1")),
        ("OPTIONS", 405, "invalid_message", |r| r.bearer(TOKEN).line("OPTIONS /ws HTTP/1.1")),
        ("version 8", 426, "invalid_message", |r| r.bearer(TOKEN).set("Sec-WebSocket-Version", "8")),
        ("no upgrade", 426, "invalid_message", |r| r.bearer(TOKEN).without("Upgrade")),
        ("head of 40 KiB", 431, "too_large", |r| r.bearer(TOKEN).header("X-Padding", &"a".repeat(40_000))),
        ("70 fields", 431, "too_large", |r| (0..70).fold(r.bearer(TOKEN), |r, n| r.header(&format!("X-{n}"), "a"))),
    ];
    for (name, status, code, change) in cases {
        let response = change(world.upgrade()).send();
        assert_eq!(response.status, *status, "{name}: {} {}", response.head, response.body);
        let (got, reference) = response.refusal();
        assert_eq!(got, *code, "{name}");
        assert_eq!(response.header("Content-Type"), Some("application/json"), "{name}");
        let version = (*status == 426).then_some("13");
        assert_eq!(response.header("Sec-WebSocket-Version"), version, "{name}");
        let record = world.logged(&reference);
        assert_eq!(record["wsguard.ref"], reference, "{name}");
        assert_eq!(record["event.outcome"], "failure", "{name}");
        assert_eq!(record["http.response.status_code"], *status, "{name}");
        let path = record["url.path"].as_str().unwrap();
        assert!(path.starts_with('/') && !path.contains('?'), "{name}: {path}");
        assert!(record["event.reason"].is_string(), "{name}: the operator learns why: {record}");
    }
}

#[test]
fn one_body_for_every_bad_credential_and_no_token_in_the_log() {
    let world = World::dev(&[]);
    let expired = world.token("ann", "-1s");
    let good = world.token("ann", "15m");
    let (head, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));
    let mut bodies = Vec::new();
    for (name, token) in [("expired", &*expired), ("forged", &forged), ("no token at all", "gibberish-of-an-attacker")]
    {
        for request in [world.upgrade().bearer(token), world.request("POST", "/ws/ticket").bearer(token)] {
            let response = request.send();
            assert_eq!(response.status, 401, "{name}");
            let (_, reference) = response.refusal();
            bodies.push(response.body.replace(&reference, ""));
            let _ = world.logged(&reference);
        }
        // Told over the socket, since a browser cannot see the status.
        let mut peer = subprotocol(world.upgrade(), token).open();
        let reference = peer.expect_refused("unauthenticated", 4401);
        let record = world.logged(&reference);
        assert_eq!(record["wsguard.control"], "credential", "{name}");
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let log = world.log();
    for token in [&*expired, &*good, &*forged, "gibberish-of-an-attacker"] {
        assert!(!log.contains(token), "the log holds a token");
        let (_, signature) = token.rsplit_once('.').unwrap_or(("", token));
        assert!(!log.contains(signature), "the log holds a signature");
    }
}

#[test]
fn too_many_handshakes_are_told_when_to_come_back() {
    let world = World::dev(&[("WSGUARD_RATE__HANDSHAKES", "30")]);
    let statuses: Vec<u16> = (0..30).map(|_| world.upgrade().bearer("bad").send().status).collect();
    assert_eq!(statuses, [401; 30]);
    let response = world.upgrade().bearer(TOKEN).send();
    assert_eq!(response.status, 429);
    assert_eq!(response.refusal().0, "rate_limited");
    let wait: u64 = response.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
}

#[test]
fn a_bearer_and_a_subprotocol_open_and_are_never_echoed() {
    let world = World::dev(&[]);
    let cases = [
        ("bearer", world.upgrade().bearer(TOKEN), None),
        (
            "bearer and name",
            world.upgrade().bearer(TOKEN).header("Sec-WebSocket-Protocol", "soap, wsguard.v1"),
            Some("wsguard.v1"),
        ),
        ("subprotocol", subprotocol(world.upgrade(), TOKEN), Some("wsguard.v1")),
        (
            "subprotocol of a page",
            subprotocol(world.upgrade(), TOKEN).header("Origin", &world.origin()),
            Some("wsguard.v1"),
        ),
    ];
    for (name, request, selected) in cases {
        let response = request.send();
        assert_eq!(response.status, 101, "{name}");
        assert_eq!(response.header("Sec-WebSocket-Protocol"), selected, "{name}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{name}");
        assert!(!response.head.contains(TOKEN), "{name}");
        let mut peer = response.peer.unwrap();
        let welcome = peer.welcomed();
        assert_eq!((&welcome["subject"], &welcome["maxMessageBytes"]), (&json!("dev"), &json!(65_536)), "{name}");
        peer.leave();
    }
}

#[test]
fn a_ticket_is_good_once_and_for_its_origin() {
    let world = World::dev(&[]);
    let origin = world.origin();
    let ticket = |origin: Option<&str>| {
        let request = world.request("POST", "/ws/ticket").bearer(TOKEN);
        let response = match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        }
        .send();
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        response.json()["ticket"].as_str().unwrap().to_owned()
    };
    let with = |ticket: &str| world.upgrade().target(&format!("/ws?ticket={ticket}"));
    let v1 = |request: Request| request.header("Sec-WebSocket-Protocol", "wsguard.v1");

    let first = ticket(Some(&origin));
    let mut peer = with(&first).header("Origin", &origin).open();
    assert_eq!(peer.welcomed()["subject"], "dev");
    assert_eq!(with(&first).header("Origin", &origin).send().status, 401, "second use");
    v1(with(&first)).header("Origin", &origin).open().expect_refused("unauthenticated", 4401);

    let second = ticket(Some(&origin));
    assert_eq!(with(&second).send().status, 401, "without its origin");
    assert_eq!(with(&second).header("Origin", &origin).send().status, 401, "used up by the failed try");
    let third = ticket(None);
    let mut peer = v1(with(&third)).open();
    assert_eq!(peer.welcomed()["subject"], "dev");
    assert!(!world.log().contains(&third));

    // The cookie gets a ticket too, but for a page of the list only.
    let by_cookie = |request: Request| request.header("Cookie", "wsguard=test_token").send().status;
    assert_eq!(by_cookie(world.request("POST", "/ws/ticket").header("Origin", &origin)), 200);
    assert_eq!(by_cookie(world.request("POST", "/ws/ticket").header("Origin", "http://evil.example")), 403);
    assert_eq!(by_cookie(world.request("POST", "/ws/ticket")), 401);
}

#[test]
fn a_cookie_says_nothing_until_the_same_origin_is_proved() {
    let world = World::dev(&[("WSGUARD_AUTH__FIRST_MESSAGE_TIMEOUT", "1s")]);
    let origin = world.origin();
    let token = world.token("ann", "15m");
    let cookie = format!("theme=dark; wsguard={token}");
    let ask = || world.request("POST", "/ws/session").header("Cookie", &cookie);
    for (name, request, status) in [
        ("no origin", ask(), 403),
        ("foreign origin", ask().header("Origin", "http://evil.example"), 403),
        ("cross-site", ask().header("Origin", &origin).header("Sec-Fetch-Site", "cross-site"), 403),
        ("no cookie", ask().without("Cookie").header("Origin", &origin), 401),
        ("bad cookie", ask().set("Cookie", "wsguard=bad").header("Origin", &origin), 401),
        ("GET", world.request("GET", "/ws/session"), 405),
    ] {
        let response = request.send();
        assert_eq!(response.status, status, "{name}");
        let _ = response.refusal();
    }
    let response = ask().header("Origin", &origin).header("Sec-Fetch-Site", "same-origin").send();
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    assert_eq!(response.header("Vary").map(str::to_ascii_lowercase).as_deref(), Some("origin"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), None);
    let proof = response.json()["csrfToken"].clone();

    let open = || world.upgrade().header("Origin", &origin).header("Cookie", &cookie).open();
    // A ping is answered before anything else: no frame of the server's own came first.
    let mut peer = open();
    peer.send_bytes(&masked(0x89, b"first"));
    assert_eq!(peer.read_frame().map(|frame| (frame.opcode, frame.payload)), Some((10, b"first".to_vec())));
    peer.send(&json!({"type": "auth", "csrfToken": proof}));
    assert_eq!(peer.welcomed()["subject"], "ann");
    peer.leave();

    for (name, message, code, close) in [
        ("wrong proof", json!({"type": "auth", "csrfToken": "AAAA"}), "csrf_invalid", 4403),
        ("no proof", json!({"type": "auth"}), "csrf_invalid", 4403),
        ("a token instead", json!({"type": "auth", "payload": {"token": TOKEN}}), "csrf_invalid", 4403),
        ("a message at once", json!({"type": "echo", "payload": 1}), "csrf_invalid", 4403),
    ] {
        let mut peer = open();
        peer.send(&message);
        let reference = peer.expect_refused(code, close);
        assert_eq!(world.logged(&reference)["wsguard.close_code"], close, "{name}");
    }
    open().expect_refused("unauthenticated", 4408);

    // A cookie that does not verify counts as absent: a first message with a token is what is left.
    let mut peer = world.upgrade().header("Origin", &origin).header("Cookie", "wsguard=bad").open();
    peer.send(&json!({"type": "auth", "payload": {"token": TOKEN}}));
    assert_eq!(peer.welcomed()["subject"], "dev");
    assert!(!world.log().contains(&token));
}

#[test]
fn the_first_message_has_one_try_and_five_seconds() {
    let world = World::dev(&[]);
    let started = Instant::now();
    let mut late = world.upgrade().open();
    let late = thread::spawn(move || {
        let _ = late.expect_refused("unauthenticated", 4408);
        started.elapsed()
    });

    let mut peer = world.upgrade().open();
    peer.send(&json!({"type": "auth", "payload": {"token": TOKEN}}));
    assert_eq!(peer.welcomed()["subject"], "dev");
    peer.say("echo", "a", &json!(1));
    assert_eq!(peer.expect("echo"), json!(1));

    let long: Value = json!({"type": "auth", "payload": {"token": "a".repeat(8_200)}});
    for (name, message) in [
        ("wrong token", json!({"type": "auth", "payload": {"token": "bad"}})),
        ("no payload", json!({"type": "auth"})),
        ("unknown member", json!({"type": "auth", "payload": {"token": TOKEN, "x": 1}})),
        ("another type", json!({"type": "echo", "payload": 1})),
        ("above 8 KiB", long),
    ] {
        let mut peer = world.upgrade().open();
        peer.send(&message);
        peer.send(&json!({"type": "auth", "payload": {"token": TOKEN}}));
        let reference = peer.expect_refused("unauthenticated", 4401);
        assert!(world.logged(&reference)["event.reason"].is_string(), "{name}");
    }

    let waited = late.join().unwrap();
    assert!((Duration::from_millis(4_900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
}
