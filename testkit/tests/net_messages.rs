//! Messages on real sockets: every error code, acknowledgements, the built-in application.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::items_after_statements,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peer::Peer;
use testkit::world::{PATIENCE, World};

/// Sends `text` and expects an `error` of `code`; gives it.
fn refused(peer: &mut Peer, name: &str, text: &str, code: &str) -> Value {
    peer.send_text(text);
    let message = peer.read();
    assert_eq!((&message["type"], &message["payload"]["code"]), (&json!("error"), &json!(code)), "{name}: {message}");
    assert!(message["payload"]["ref"].is_string() && message["payload"]["message"].is_string(), "{name}");
    message
}

#[test]
fn every_refused_message_gets_its_code_and_the_log_its_cause() {
    let world = World::dev(&[("WSGUARD_RATE__MODE", "shadow")]);
    let mut peer = world.join("dev");
    let csrf = peer.csrf().to_owned();
    // `@` stands for the token's member, to keep the cases readable.
    let cases: &[(&str, &str, &str)] = &[
        ("not JSON", "hello", "invalid_json"),
        ("empty", "", "invalid_json"),
        ("unclosed", r#"{"type":"echo""#, "invalid_json"),
        ("duplicate key", r#"{"type":"echo","type":"chat",@}"#, "invalid_json"),
        ("duplicate key, escaped", r#"{"type":"echo","typ\u0065":"chat",@}"#, "invalid_json"),
        ("duplicate key in the payload", r#"{"type":"echo",@,"payload":{"a":1,"a":2}}"#, "invalid_json"),
        ("byte order mark", "\u{feff}{\"type\":\"echo\",@}", "invalid_json"),
        ("trailing bytes", r#"{"type":"echo",@}x"#, "invalid_json"),
        ("trailing comma", r#"{"type":"echo",@,}"#, "invalid_json"),
        ("lone surrogate", r#"{"type":"echo",@,"payload":"\ud800"}"#, "invalid_json"),
        ("an array", "[1]", "invalid_message"),
        ("no type", r#"{@,"payload":1}"#, "invalid_message"),
        ("type a number", r#"{"type":1,@}"#, "invalid_message"),
        ("unknown member", r#"{"type":"echo",@,"payload":1,"admin":true}"#, "invalid_message"),
        (
            "id of 65 characters",
            r#"{"type":"echo",@,"id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#,
            "invalid_message",
        ),
        ("empty id", r#"{"type":"echo",@,"id":"","payload":1}"#, "invalid_message"),
        ("negative id", r#"{"type":"echo",@,"id":-1,"payload":1}"#, "invalid_message"),
        ("id of 2^53", r#"{"type":"echo",@,"id":9007199254740992,"payload":1}"#, "invalid_message"),
        ("schema: no message", r#"{"type":"chat",@,"payload":{}}"#, "invalid_message"),
        ("schema: empty message", r#"{"type":"chat",@,"payload":{"message":""}}"#, "invalid_message"),
        ("schema: unknown member", r#"{"type":"chat",@,"payload":{"message":"a","to":"b"}}"#, "invalid_message"),
        ("schema: room a number", r#"{"type":"join",@,"payload":{"room":1}}"#, "invalid_message"),
        ("no payload", r#"{"type":"chat",@}"#, "invalid_message"),
        ("auth again", r#"{"type":"auth","payload":{"token":"test_token"}}"#, "invalid_message"),
        ("unknown type", r#"{"type":"nothing",@,"payload":1}"#, "unknown_type"),
        ("type in another case", r#"{"type":"Echo",@,"payload":1}"#, "unknown_type"),
        ("no CSRF token", r#"{"type":"echo","payload":1}"#, "csrf_invalid"),
        ("wrong CSRF token", r#"{"type":"echo","csrfToken":"AAAA","payload":1}"#, "csrf_invalid"),
        ("empty CSRF token", r#"{"type":"echo","csrfToken":"","payload":1}"#, "csrf_invalid"),
        ("CSRF before the type is looked up", r#"{"type":"nothing","payload":1}"#, "csrf_invalid"),
        ("__proto__", r#"{"type":"echo",@,"payload":{"__proto__":{}}}"#, "unsafe_content"),
        ("escaped __proto__", r#"{"type":"echo",@,"payload":{"__prot\u006f__":{}}}"#, "unsafe_content"),
        ("deep __proto__", r#"{"type":"echo",@,"payload":[{"a":[{"__proto__":1}]}]}"#, "unsafe_content"),
        ("U+0000", r#"{"type":"echo",@,"payload":"a\u0000b"}"#, "unsafe_content"),
        ("ESC", r#"{"type":"chat",@,"payload":{"message":"\u001b[2J"}}"#, "unsafe_content"),
        ("U+007F", r#"{"type":"echo",@,"payload":"\u007f"}"#, "unsafe_content"),
        ("a room not joined", r#"{"type":"chat",@,"payload":{"message":"a","room":"secret"}}"#, "forbidden"),
        ("refresh with a bad token", r#"{"type":"auth.refresh","payload":{"token":"bad"}}"#, "unauthenticated"),
    ];
    for (name, text, code) in cases {
        let text = text.replace('@', &format!(r#""csrfToken":"{csrf}""#));
        let error = refused(&mut peer, name, &text, code);
        let reference = error["payload"]["ref"].as_str().unwrap();
        let record = world.logged(reference);
        assert_eq!((&record["event.outcome"], record["event.reason"].is_string()), (&json!("failure"), true), "{name}");
        assert_eq!(record["user.name"], "dev", "{name}");
    }
    // The connection lives on.
    peer.say("echo", 7, &json!(true));
    assert_eq!(peer.expect("echo"), json!(true));
    assert!(!world.log().contains(&csrf), "the log holds a CSRF token");
}

#[test]
fn answers_carry_the_id_and_echo_the_canonical_form() {
    let world = World::dev(&[]);
    let mut peer = world.join("dev");
    for id in [json!("a"), json!("ä".repeat(64)), json!(0), json!(9_007_199_254_740_991_u64)] {
        peer.say("echo", id.clone(), &json!({}));
        assert_eq!(peer.expect("echo"), json!({}));
        assert_eq!(peer.read(), json!({"type": "ack", "id": id, "payload": {}}));
        peer.say("chat", id.clone(), &json!({"message": 1}));
        let error = peer.read();
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &id));
    }
    // Without an id there is no ack: the pong comes next.
    let csrf = peer.csrf().to_owned();
    peer.send_text(&format!(
        r#"{{ "payload" : {{"b":[1 , 2],"a":"\u0041\/"}} , "csrfToken":"{csrf}", "type":"echo"}}"#
    ));
    peer.send(&json!({"type": "ping", "id": "p", "payload": {"t": 42}}));
    let frame = peer.read_frame().unwrap();
    let text = String::from_utf8(frame.payload).unwrap();
    assert!(text.contains(r#""payload":{"b":[1,2],"a":"A/"}"#), "{text}");
    let pong = peer.read();
    assert_eq!((&pong["type"], &pong["id"], &pong["payload"]["t"]), (&json!("pong"), &json!("p"), &json!(42)));
    assert!(pong["payload"]["serverTime"].as_u64().is_some() && pong.get("seq").is_none(), "{pong}");
    // A client's ack needs no token and gets no answer.
    peer.send(&json!({"type": "ack", "payload": {"seq": 1}}));
    peer.send(&json!({"type": "ping"}));
    assert_eq!(peer.expect("pong").get("t"), None);
}

#[test]
fn a_chat_reaches_the_room_and_markup_reaches_it_harmless() {
    let world = World::dev(&[]);
    let (mut ann, mut bob) = (world.join("ann"), world.join("bob"));
    for (seq, (said, heard)) in [
        ("a < b && c > d", "a < b && c > d"),
        ("**bold**", "**bold**"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("m{seq}");
        ann.say("chat", id.clone(), &json!({"message": said}));
        for peer in [&mut ann, &mut bob] {
            let message = peer.read();
            assert_eq!((&message["type"], &message["seq"]), (&json!("chat"), &json!(seq + 1)), "{message}");
            let payload = &message["payload"];
            assert_eq!(payload["message"], heard);
            assert_eq!((&payload["from"], &payload["room"]), (&json!("ann"), &json!("lobby")));
            assert!(payload["at"].as_u64().is_some());
        }
        assert_eq!(ann.read(), json!({"type": "ack", "id": id, "payload": {}}));
    }
    // A room of their own: who has not joined hears nothing.
    ann.say("join", "j", &json!({"room": "r"}));
    let _ = ann.expect("ack");
    ann.say("chat", "r", &json!({"message": "hi", "room": "r"}));
    assert_eq!(ann.expect("chat")["room"], "r");
    let _ = ann.expect("ack");
    ann.say("leave", "l", &json!({"room": "r"}));
    let _ = ann.expect("ack");
    ann.say("chat", "x", &json!({"message": "hi", "room": "r"}));
    assert_eq!(ann.expect("error")["code"], "forbidden");
    bob.send(&json!({"type": "ping"}));
    let _ = bob.expect("pong");
    // Whoever left gets nothing more, and nobody else notices.
    bob.leave();
    ann.say("chat", "y", &json!({"message": "anybody?"}));
    assert_eq!(ann.expect("chat")["message"], "anybody?");
}

#[test]
fn characters_that_turn_text_pass_and_are_counted() {
    let world = World::dev(&[]);
    let mut peer = world.join("ann");
    for id in 1..=2 {
        peer.say("chat", id, &json!({"message": "\u{202e}txt.exe\u{202c}"}));
        assert_eq!(peer.expect("chat")["message"], "\u{202e}txt.exe\u{202c}");
        let _ = peer.expect("ack");
    }
    let record = world.logged("bidi_controls_passed");
    assert_eq!((&record["user.name"], &record["wsguard.message_type"]), (&json!("ann"), &json!("chat")));
    assert_eq!((&record["event.outcome"], &record["wsguard.control"]), (&json!("success"), &json!("scan")));
    peer.say("nothing", 3, &json!(1));
    let _ = world.logged(peer.expect("error")["ref"].as_str().unwrap());
    assert_eq!(world.log().matches("bidi_controls_passed").count(), 1, "once a connection");
    assert_eq!(world.ask_admin("/api/stats").json()["bidiControls"], 4);
    assert!(world.ask_admin("/metrics").body.contains("wsguard_bidi_controls_total 4\n"));
}

#[test]
fn too_many_sessions_of_a_subject_are_refused_or_told_so() {
    let world = World::dev(&[("WSGUARD_SESSION__PER_SUBJECT", "1")]);
    let _first = world.join("dev");
    let response = world.upgrade().bearer("test_token").send();
    assert_eq!((response.status, &*response.refusal().0), (429, "forbidden"));
    assert!(response.header("Retry-After").is_some());
    let page = || world.upgrade().header("Sec-WebSocket-Protocol", "wsguard.v1, wsguard.bearer.test_token");
    let reference = page().open().expect_refused("forbidden", 4409);
    assert_eq!(world.logged(&reference)["event.reason"], "sessions_of_subject");
}

#[test]
fn a_session_without_a_message_is_closed() {
    let world = World::dev(&[("WSGUARD_SESSION__IDLE", "1s")]);
    let mut peer = world.join("dev");
    let reference = peer.expect_refused("session_expired", 4408);
    assert_eq!(world.logged(&reference)["event.reason"], "session_idle");
}

#[test]
fn a_flood_is_refused_with_the_time_to_wait() {
    let world = World::dev(&[]);
    let (mut flood, mut calm) = (world.join("flood"), world.join("calm"));
    let message = json!({"type": "echo", "id": 1, "csrfToken": flood.csrf(), "payload": 1}).to_string();
    let bytes = testkit::peer::masked(0x81, message.as_bytes()).repeat(200);
    let began = Instant::now();
    flood.send_bytes(&bytes);
    let (mut passed, mut told) = (0, 0);
    let counted = || world.ask_admin("/api/stats").json()["refusals"]["rate"].as_u64().unwrap();
    while told == 0 || passed + counted() < 200 {
        assert!(began.elapsed() < PATIENCE, "{passed} passed, {told} told");
        let until = Instant::now() + Duration::from_millis(50);
        while let Some(frame) = flood.poll_frame(until) {
            let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
            match answer["type"].as_str().unwrap() {
                "ack" => passed += 1,
                "error" => {
                    assert_eq!((&answer["payload"]["code"], &answer["id"]), (&json!("rate_limited"), &json!(1)));
                    let wait = answer["payload"]["retryAfterMs"].as_u64().unwrap();
                    assert!((1..=2_000).contains(&wait), "{wait}");
                    told += 1;
                }
                kind => assert_eq!(kind, "echo"),
            }
        }
    }
    assert_eq!(passed + counted(), 200);
    // 60 at once, and what refilled at 20 a second while the 200 were read.
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    assert!((60..=61 + took / 50).contains(&passed), "{passed} passed in {took} ms");
    assert!((1..=1 + took / 250).contains(&told), "{told} told in {took} ms, the others counted");
    calm.say("echo", 1, &json!(1));
    assert_eq!(calm.expect("echo"), json!(1));
}

#[test]
fn a_connection_ends_with_its_token() {
    let world = World::dev(&[]);
    let token = world.token("ann", "1s");
    let mut peer = world.upgrade().bearer(&token).open();
    let ends = peer.welcomed()["authExpiresAt"].as_u64().unwrap();
    let mut expiring = false;
    let error = loop {
        let message = peer.read();
        match message["type"].as_str().unwrap() {
            "auth.expiring" => {
                expiring = true;
                assert_eq!(message["payload"]["authExpiresAt"], ends);
            }
            _ => break message,
        }
    };
    assert!(expiring, "told before the end");
    assert_eq!((&error["type"], &error["payload"]["code"]), (&json!("error"), &json!("session_expired")));
    assert_eq!(peer.expect_close(), 4401);
}

#[test]
fn a_token_is_refreshed_by_its_own_subject_only() {
    let world = World::dev(&[]);
    let short = world.token("ann", "10s");
    let mut peer = world.upgrade().bearer(&short).open();
    let before = peer.welcomed()["authExpiresAt"].as_u64().unwrap();
    peer.send(&json!({"type": "auth.refresh", "payload": {"token": world.token("ann", "15m")}}));
    let after = peer.expect("auth.refreshed")["authExpiresAt"].as_u64().unwrap();
    assert!(after >= before + 600_000, "{before} {after}");
    peer.say("echo", 1, &json!(1));
    let _ = peer.expect("echo");
    let _ = peer.expect("ack");
    peer.send(&json!({"type": "auth.refresh", "payload": {"token": world.token("bob", "15m")}}));
    let reference = peer.expect_refused("forbidden", 4403);
    assert_eq!(world.logged(&reference)["wsguard.close_code"], 4403);
}

#[test]
fn one_refusal_after_the_other_ends_the_connection() {
    let world = World::dev(&[("WSGUARD_RATE__MODE", "shadow")]);
    let mut peer = world.join("dev");
    peer.send_bytes(&testkit::peer::masked(0x81, b"x").repeat(300));
    assert_eq!(peer.expect_close(), 1008);
}
