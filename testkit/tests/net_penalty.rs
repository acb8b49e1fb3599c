//! The ladder on real sockets: as the flooding peer sees it, its neighbour, and the operator.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peer::{Peer, masked};
use testkit::world::{PATIENCE, World};

/// Sends `per_second` messages a second until the server ends the connection, reading meanwhile what it answers. Gives the
/// close code, the last `error`, and the time it took.
fn flood(peer: &mut Peer, per_second: usize, patience: Duration) -> (u16, Value, Duration) {
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    let tick = masked(0x81, message.as_bytes()).repeat(per_second / 20);
    let began = Instant::now();
    let mut error = Value::Null;
    loop {
        peer.send_bytes(&tick);
        let until = Instant::now() + Duration::from_millis(50);
        while let Some(frame) = peer.poll_frame(until) {
            match frame.opcode {
                1 => {
                    let message: Value = serde_json::from_slice(&frame.payload).unwrap();
                    if message["type"] == "error" {
                        error = message["payload"].clone();
                    }
                }
                8 => return (frame.close_code().unwrap(), error, began.elapsed()),
                _ => {}
            }
        }
        assert!(began.elapsed() < patience, "not closed within {patience:?}");
    }
}

fn stats(world: &World) -> Value {
    world.ask_admin("/api/stats").json()
}

#[test]
fn ten_times_the_quota_is_closed_within_ten_seconds_and_stays_out() {
    // The defaults, all of them.
    let world = World::dev(&[]);
    let token = world.token("ann", "15m");
    let mut ann = world.upgrade().bearer(&token).open();
    let _ = ann.welcomed();
    let mut other_tab = world.upgrade().bearer(&token).open();
    let _ = other_tab.welcomed();
    let mut neighbour = world.join("bob");

    let (code, error, took) = flood(&mut ann, 200, Duration::from_secs(10));
    let out_since = Instant::now();
    assert_eq!(code, 4429, "neither 1008 nor 1013: {took:?}");
    assert_eq!(error["code"], "rate_limited");
    let wait = error["retryAfterMs"].as_u64().unwrap();
    assert!((10_000..=15_000).contains(&wait), "{error}");
    let record = world.logged(error["ref"].as_str().unwrap());
    assert_eq!((&record["wsguard.control"], &record["event.reason"]), (&json!("penalty"), &json!("penalties_used_up")));
    assert_eq!(record["wsguard.close_code"], 4429);

    // Her other socket is reached too, with the time to wait.
    assert_eq!(other_tab.expect_refused("rate_limited", 4429).len(), 10);

    // A program sees 429 with Retry-After.
    let refused = world.upgrade().bearer(&token).send();
    assert_eq!((refused.status, refused.refusal().0.as_str()), (429, "rate_limited"));
    let after: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((5..=15).contains(&after), "{after}");
    // A browser cannot see that: it is told over the socket.
    let protocols = format!("wsguard.v1, wsguard.bearer.{token}");
    let mut browser = world.upgrade().header("Sec-WebSocket-Protocol", &protocols).open();
    let error = browser.expect("error");
    assert_eq!(error["code"], "rate_limited");
    assert!((5_000..=15_000).contains(&error["retryAfterMs"].as_u64().unwrap()), "{error}");
    assert_eq!(browser.expect_close(), 4429);
    // So is whoever authenticates with the first message.
    let mut first = world.upgrade().open();
    first.send(&json!({"type": "auth", "payload": {"token": token}}));
    let _ = first.expect_refused("rate_limited", 4429);

    // The neighbour behind the same address is not concerned, neither its socket nor a new one.
    neighbour.say("echo", 1, &json!("still here"));
    assert_eq!(neighbour.expect("echo"), json!("still here"));
    let mut another = world.join("cid");
    another.say("echo", 1, &json!(1));
    assert_eq!(another.expect("echo"), json!(1));

    // The operator sees why, with numbers.
    let begun = world.logged("\"ban_begun\"");
    assert_eq!((&begun["user.name"], &begun["event.reason"]), (&json!("ann"), &json!("subject")));
    for step in ["\"event.reason\":\"slow\"", "\"event.reason\":\"drop\"", "\"event.reason\":\"close\""] {
        assert_eq!(world.logged(step)["event.action"], "penalty_step");
    }
    let seen = stats(&world);
    assert_eq!((&seen["penalties"]["close"], &seen["bans"]["subject"]), (&json!(1), &json!(1)), "{seen}");
    let metrics = world.ask_admin("/metrics").body;
    for line in ["wsguard_penalties_total{step=\"close\"} 1", "wsguard_bans{kind=\"subject\"} 1"] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    // Out for ten seconds at least; then in again, and heard.
    let mut tries = 0;
    let mut back = loop {
        let response = world.upgrade().bearer(&token).send();
        if let Some(peer) = response.peer {
            break peer;
        }
        tries += 1;
        assert_eq!(response.status, 429);
        assert!(tries < 40, "never in again");
        thread::sleep(Duration::from_millis(500));
    };
    assert!(out_since.elapsed() >= Duration::from_secs(10), "in again after {:?}", out_since.elapsed());
    let _ = back.welcomed();
    back.say("echo", 1, &json!("back"));
    assert_eq!(back.expect("echo"), json!("back"));
}

#[test]
fn reconnecting_does_not_help() {
    let world = World::dev(&[]);
    let token = world.token("ann", "15m");
    let began = Instant::now();
    // A socket for each burst; none of them lives long enough to be closed by itself.
    let refused = loop {
        let response = world.upgrade().bearer(&token).send();
        let Some(mut peer) = response.peer else {
            break response;
        };
        // Closed at once when it is banned between the 101 and its welcome.
        let message = json!({"type": "echo", "csrfToken": "x", "payload": 1}).to_string();
        peer.send_bytes(&masked(0x81, message.as_bytes()).repeat(100));
        let until = Instant::now() + Duration::from_millis(200);
        while peer.poll_frame(until).is_some_and(|frame| frame.opcode != 8) {}
        assert!(began.elapsed() < PATIENCE, "a new socket for each burst is no way around");
    };
    assert_eq!(refused.status, 429);
    assert!(stats(&world)["penalties"]["close"] == 1);
}

#[test]
fn errors_about_limits_come_four_times_a_second() {
    let world = World::dev(&[("WSGUARD_PENALTY__CLOSE_AT", "1000000"), ("WSGUARD_PENALTY__DROP_AT", "1000000")]);
    let mut peer = world.join("ann");
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    let began = Instant::now();
    peer.send_bytes(&masked(0x81, message.as_bytes()).repeat(400));
    peer.send(&json!({"type": "ack", "payload": {"seq": 1}}));
    let (mut echoes, mut errors) = (0, 0);
    let counted = || stats(&world)["refusals"]["rate"].as_u64().unwrap();
    while errors == 0 || echoes + counted() < 400 {
        assert!(began.elapsed() < PATIENCE, "{echoes} echoes, {errors} errors");
        let until = Instant::now() + Duration::from_millis(50);
        while let Some(frame) = peer.poll_frame(until) {
            let message: Value = serde_json::from_slice(&frame.payload).unwrap();
            match message["type"].as_str().unwrap() {
                "echo" => echoes += 1,
                "error" => {
                    errors += 1;
                    assert!(message["payload"]["retryAfterMs"].as_u64().unwrap() >= 1, "{message}");
                }
                kind => panic!("{kind}"),
            }
        }
    }
    assert_eq!(echoes + counted(), 400);
    // What refilled, and what could be told, while the 400 were read.
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    assert!((60..=61 + took / 50).contains(&echoes), "{echoes} in {took} ms");
    assert!((1..=1 + took / 250).contains(&errors), "{errors} told in {took} ms, the others counted");
}

#[test]
fn a_paused_peer_is_not_taken_for_dead() {
    // Half-open detection far shorter than the pauses.
    let world = World::dev(&[
        ("WSGUARD_HEARTBEAT__INTERVAL", "1s"),
        ("WSGUARD_HEARTBEAT__TIMEOUT", "300ms"),
        ("WSGUARD_MESSAGE__DEADLINE", "300ms"),
        ("WSGUARD_PENALTY__CLOSE_AT", "1000000"),
        ("WSGUARD_PENALTY__DROP_AT", "1000000"),
    ]);
    let mut peer = world.join("ann");
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    let mut bytes = masked(0x81, message.as_bytes()).repeat(300);
    // The last one arrives in two halves, the second during the pause.
    let last = masked(0x81, json!({"type": "ping", "id": "last"}).to_string().as_bytes());
    bytes.extend_from_slice(&last[..5]);
    let began = Instant::now();
    peer.send_bytes(&bytes);
    thread::sleep(Duration::from_millis(100));
    peer.send_bytes(&last[5..]);
    let answer = loop {
        let message = peer.read();
        if message["id"] == "last" {
            break message;
        }
    };
    let quiet = began.elapsed();
    assert!(answer["type"] == "pong" || answer["payload"]["code"] == "rate_limited", "{answer}");
    assert!(quiet >= Duration::from_secs(1), "it was not read for a while: {quiet:?}");
}

#[test]
fn leaving_and_acknowledging_are_never_limited() {
    let world = World::dev(&[("WSGUARD_RATE__BURST", "3"), ("WSGUARD_RATE__MESSAGES_PER_SECOND", "1")]);
    let mut peer = world.join("ann");
    for id in 0..3 {
        peer.say("join", id, &json!({"room": format!("r{id}")}));
        assert_eq!(peer.read()["type"], "ack");
    }
    peer.say("echo", "over", &json!(1));
    assert_eq!(peer.expect("error")["code"], "rate_limited");
    for id in 0..3 {
        peer.say("leave", id, &json!({"room": format!("r{id}")}));
        peer.send(&json!({"type": "ack", "payload": {"seq": 1}}));
        assert_eq!(peer.read(), json!({"type": "ack", "id": id, "payload": {}}));
    }
    peer.leave();
}

#[test]
fn closing_is_never_limited() {
    // Above its quota and on the rung `slow`, where the socket is read again after two seconds at most.
    let world = World::dev(&[
        ("WSGUARD_RATE__BURST", "3"),
        ("WSGUARD_RATE__MESSAGES_PER_SECOND", "1"),
        ("WSGUARD_PENALTY__SLOW_AT", "2"),
    ]);
    let mut peer = world.join("ann");
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    peer.send_bytes(&masked(0x81, message.as_bytes()).repeat(6));
    let began = Instant::now();
    peer.send_bytes(&masked(0x88, &1000_u16.to_be_bytes()));
    let answered = loop {
        let frame = peer.read_frame().expect("a close frame before the end of the stream");
        if frame.opcode == 8 {
            break frame.close_code();
        }
    };
    assert_eq!(answered, Some(1000));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(stats(&world)["penalties"]["slow"].as_u64().unwrap() >= 1, "{}", stats(&world)["penalties"]);
    assert_eq!(world.logged("connection_closed_by_peer")["wsguard.close_code"], 1000);
}

#[test]
fn foreign_pages_lock_nobody_out() {
    let world = World::dev(&[("WSGUARD_RATE__HANDSHAKES", "5")]);
    // A page elsewhere makes a visitor's browser try as often as it can.
    let statuses: Vec<u16> =
        (0..12).map(|_| world.upgrade().header("Origin", "https://evil.example").send().status).collect();
    assert_eq!(statuses[..5], [403; 5]);
    assert_eq!(statuses[5..], [429; 7], "a bucket of their own");
    // The visitor's own handshakes are all there.
    let mut peer = world.upgrade().header("Origin", &world.origin()).bearer("test_token").open();
    let _ = peer.welcomed();
    assert_eq!(stats(&world)["bans"], json!({"session": 0, "subject": 0, "prefix": 0}));
}

#[test]
fn an_unverified_subject_pays_for_nothing() {
    let world = World::dev(&[
        ("WSGUARD_PENALTY__CLOSE_AT", "20"),
        ("WSGUARD_PENALTY__SLOW_AT", "5"),
        ("WSGUARD_PENALTY__DROP_AT", "10"),
        ("WSGUARD_PENALTY__DWELL", "0ms"),
    ]);
    let good = world.token("ann", "15m");
    // The same claims, another signature.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for _ in 0..10 {
        assert_eq!(world.upgrade().bearer(&forged).send().status, 401);
    }
    let mut ann = world.upgrade().bearer(&good).open();
    let _ = ann.welcomed();
}

#[test]
fn guessing_tokens_bans_the_address_for_handshakes_alone() {
    let world = World::dev(&[("WSGUARD_PENALTY__PREFIX_FACTOR", "1"), ("WSGUARD_PENALTY__DWELL", "0ms")]);
    let mut inside = world.join("ann");
    let token = world.token("ann", "15m");
    let tries = (0..100).position(|_| world.upgrade().bearer("wrong").send().status == 429).unwrap();
    assert!((15..=40).contains(&tries), "{tries}");
    let refused = world.upgrade().bearer(&token).send();
    assert_eq!(refused.status, 429);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(world.request("POST", "/ws/ticket").bearer(&token).send().status, 429, "tickets too");
    // Whoever is in answers for itself.
    inside.say("echo", 1, &json!(1));
    assert_eq!(inside.expect("echo"), json!(1));
    assert_eq!(world.logged("\"ban_begun\"")["event.reason"], "prefix");
}

#[test]
fn shadow_lets_everything_pass_and_says_what_it_would_have_done() {
    let world = World::dev(&[
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_SHADOW__CONTROLS", "schema,content,csrf,rate_type,session_cap"),
        ("WSGUARD_RATE__TYPES", "echo=1"),
        ("WSGUARD_SESSION__PER_SUBJECT", "1"),
    ]);
    let mut peer = world.join("ann");
    let mut second = world.join("ann");
    second.say("echo", 1, &json!(1));
    assert_eq!(second.expect("echo"), json!(1));
    // Too many of a type, no CSRF token, a payload that no schema knows, markup where none may be.
    peer.say("echo", 1, &json!("twice"));
    assert_eq!(peer.expect("echo"), json!("twice"));
    let _ = peer.expect("ack");
    peer.send(&json!({"type": "echo", "payload": "no token"}));
    assert_eq!(peer.expect("echo"), json!("no token"));
    peer.say("chat", 2, &json!({"message": "hi", "extra": 1}));
    assert_eq!(peer.expect("chat")["message"], "hi");
    let _ = peer.expect("ack");
    peer.say("join", 3, &json!({"room": "<img src=x onerror=alert(1)>"}));
    assert_eq!(peer.expect("ack"), json!({}));
    // What is not JSON is refused in any mode.
    peer.send_text("{");
    assert_eq!(peer.expect("error")["code"], "invalid_json");

    let seen = stats(&world)["shadow"].clone();
    for (control, reason) in [
        ("rate_type", "messages_of_type"),
        ("csrf", "csrf_missing"),
        ("schema", "schema"),
        ("content", "markup_refused"),
        ("session_cap", "sessions_of_subject"),
    ] {
        assert!(seen[control][reason].as_u64().unwrap_or(0) >= 1, "{control} {reason}: {seen}");
    }
    let metrics = world.ask_admin("/metrics").body;
    assert!(metrics.contains("wsguard_shadow_refusals_total{control=\"csrf\",reason=\"csrf_missing\"} 1"), "{metrics}");
    assert_eq!(world.logged("\"refused_in_shadow\"")["user.name"], "ann");
    assert!(world.log().contains("shadow.controls"), "a warning at start");
}

#[test]
fn the_ladder_in_shadow_counts_its_steps() {
    let world = World::dev(&[("WSGUARD_PENALTY__MODE", "shadow"), ("WSGUARD_PENALTY__DWELL", "0ms")]);
    let mut peer = world.join("ann");
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    peer.send_bytes(&masked(0x81, message.as_bytes()).repeat(255));
    let _ = world.logged("\"penalty_in_shadow\"");
    let mut errors = 0;
    while errors < 255 - 80 {
        errors += i32::from(peer.read()["type"] == "error");
    }
    let seen = stats(&world);
    assert_eq!(seen["bans"]["subject"], 0);
    for step in ["warn", "slow", "drop", "close"] {
        assert_eq!(seen["penalties"][step], 0, "{step}");
        if step != "warn" {
            assert!(seen["shadow"]["penalty"][step].as_u64().unwrap_or(0) >= 1, "{step}: {seen}");
        }
    }
}

#[test]
fn a_flood_that_reads_nothing_meets_the_ladder_before_its_full_queue() {
    // The least that a send queue can be.
    let world =
        World::dev(&[("WSGUARD_SERVER__SEND_QUEUE_MESSAGES", "64"), ("WSGUARD_SERVER__SEND_QUEUE_BYTES", "64KiB")]);
    let mut peer = world.join("ann");
    let said = json!({"type": "chat", "csrfToken": peer.csrf(), "payload": {"message": "x".repeat(200)}}).to_string();
    let tick = masked(0x81, said.as_bytes()).repeat(20);
    let began = Instant::now();
    // A hundred milliseconds each: ten times the quota.
    while stats(&world)["penalties"]["close"] == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", stats(&world));
        peer.send_bytes(&tick);
        thread::sleep(Duration::from_millis(100));
    }
    let closed = loop {
        let frame = peer.read_frame().expect("a close frame before the end of the stream");
        if frame.opcode == 8 {
            break frame.close_code();
        }
    };
    assert_eq!(closed, Some(4429));
    assert_eq!(stats(&world)["queueDrops"], 0);
}

#[test]
fn the_modes_of_a_measurement_refuse_nothing() {
    let world = World::dev(&[
        ("WSGUARD_RATE__MODE", "shadow"),
        ("WSGUARD_PENALTY__MODE", "shadow"),
        ("WSGUARD_ANOMALY__MODE", "shadow"),
        ("WSGUARD_SERVER__WORKERS", "1"),
    ]);
    let mut peer = world.join("ann");
    let message = json!({"type": "echo", "csrfToken": peer.csrf(), "payload": 1}).to_string();
    let bytes = masked(0x81, message.as_bytes()).repeat(100);
    for _ in 0..50 {
        peer.send_bytes(&bytes);
        for _ in 0..100 {
            assert_eq!(peer.expect("echo"), 1);
        }
    }
    let seen = stats(&world);
    let (total, shadowed) = (&seen["messages"]["echo"]["allow"], &seen["shadow"]["rate"]["messages_of_subject"]);
    assert_eq!(total, 5_000, "{seen}");
    assert!(shadowed.as_u64().unwrap() > 4_000, "{seen}");
    assert_eq!((&seen["refusals"]["rate"], &seen["penalties"]["warn"]), (&json!(0), &json!(0)));
}
