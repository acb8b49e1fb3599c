//! What an operator sees of the open connections.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::peer::Peer;
use testkit::world::{World, run};

fn connections(world: &World, query: &str) -> Value {
    let answer = world.ask_admin(&format!("/api/connections{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn of<'a>(page: &'a Value, subject: &str) -> Option<&'a Value> {
    page["connections"].as_array().unwrap().iter().find(|one| one["subject"] == subject)
}

/// Answers the server's pings until it knows the way there and back.
fn answer_pings(peer: &mut Peer) {
    let frame = peer.read_frame().unwrap();
    assert_eq!(frame.opcode, 9, "a ping");
    peer.send_bytes(&testkit::peer::masked(0x8a, &frame.payload));
}

#[test]
fn a_connection_says_how_it_stands() {
    let world = World::dev(&[("WSGUARD_HEARTBEAT__INTERVAL", "1s")]);
    let mut ann = world.join("ann");
    let before = connections(&world, "");
    let row = of(&before, "ann").unwrap();
    assert_eq!(row["prefix"], "127.0.0.1/32");
    assert_eq!(row["state"]["rttMs"], Value::Null, "no ping was answered yet");
    assert_eq!(row["state"]["messages"], 0);
    assert_eq!(row["state"]["refusals"], json!({}));
    assert_eq!(row["state"]["ladder"]["rung"], "calm");
    assert_eq!(row["state"]["framesKept"], Value::Null, "no resume was announced");

    answer_pings(&mut ann);
    ann.say("echo", 1, &json!("hello"));
    let _ = (ann.expect("echo"), ann.expect("ack"));
    for payload in [json!({"message": 7}), json!({"message": ""})] {
        ann.say("chat", 2, &payload);
        assert_eq!(ann.expect("error")["code"], "invalid_message");
    }
    ann.send(&json!({"type": "chat", "csrfToken": "wrong", "payload": {"message": "hi"}}));
    assert_eq!(ann.expect("error")["code"], "csrf_invalid");
    let after = connections(&world, "");
    let state = &of(&after, "ann").unwrap()["state"];
    assert!(state["rttMs"].is_u64(), "{state}");
    assert_eq!(state["messages"], 4);
    assert_eq!(state["refusals"], json!({"schema": 2, "csrf": 1}));
    assert_eq!(state["framesSent"], 1, "the echo");
    assert_eq!(state["anomaly"], json!({"score": 0, "parts": []}), "nothing is usual yet, so nothing is unusual");
    assert_eq!(state["ladder"]["rung"], "warn", "refusals weigh: {state}");
    assert!(state["ladder"]["weight"].as_u64().unwrap() > 0, "{state}");
}

#[test]
fn connections_are_shown_page_by_page_and_by_subject() {
    let world = World::dev(&[]);
    let peers: Vec<Peer> = (0..7).map(|number| world.join(if number < 3 { "ann" } else { "bob" })).collect();
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = connections(&world, &query);
        assert_eq!(page["open"], peers.len());
        let rows = page["connections"].as_array().unwrap();
        assert!(rows.len() <= 2, "{page}");
        seen.extend(rows.iter().map(|one| one["session"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (peers.len(), &sorted), "each once, in order");
    let anns = connections(&world, "?subject=ann");
    assert_eq!(anns["connections"].as_array().unwrap().len(), 3);
    assert_eq!(connections(&world, "?subject=carol")["connections"], json!([]));

    let admin = format!("http://{}", world.admin);
    let listed = run(world.path(), &["connections", "list", "--admin", &admin, "--subject", "bob"], &[]);
    let table = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(table.lines().count(), 5, "a head and four lines:\n{table}");
    assert!(table.contains("calm 0"), "{table}");
}

#[test]
fn a_session_that_waits_for_its_client_is_no_connection() {
    let world = World::dev(&[]);
    let _ann = world.join("ann");
    let announced = world.upgrade().set("Sec-WebSocket-Protocol", "wsguard.v1, wsguard.resume");
    let mut gone = announced.bearer(&world.token("gone", "15m")).open();
    let _ = gone.welcomed();
    assert_eq!(of(&connections(&world, ""), "gone").unwrap()["state"]["framesKept"], 0, "a resume was announced");
    drop(gone);
    let _ = world.logged("session_detached");
    // The quickest of five: whoever was waited for would cost a second each time, a busy machine does not.
    let timed = || {
        let asked = Instant::now();
        (connections(&world, ""), asked.elapsed())
    };
    let (page, took) = (0..5).map(|_| timed()).min_by_key(|(_, took)| *took).unwrap();
    assert!(took < Duration::from_millis(900), "nobody is waited for: {took:?}");
    assert!(of(&page, "ann").unwrap()["state"].is_object(), "{page}");
    assert!(of(&page, "gone").is_none(), "{page}");
    let sessions = world.ask_admin("/api/sessions").json();
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "{sessions}");
}
