//! The security log as an auditor sees it: written by a real server that is killed, read back by `wsguard log verify`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::world::{PATIENCE, Scratch, World, run};

/// `wsguard log verify` of everything that is called `security.jsonl…` in `directory`.
fn verify(directory: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("security.jsonl"))
        .collect();
    files.sort();
    let mut arguments = vec!["log", "verify", "--json", "--key", "security.key.pub"];
    arguments.extend(files.iter().map(String::as_str));
    arguments.extend(more);
    let output = run(directory, &arguments, &[]);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

fn lines_until(path: &Path, good: impl Fn(&str) -> bool) {
    let began = Instant::now();
    while !good(&fs::read_to_string(path).unwrap_or_default()) {
        assert!(began.elapsed() < PATIENCE, "{}", fs::read_to_string(path).unwrap_or_default());
        thread::yield_now();
    }
}

#[test]
fn a_killed_server_leaves_a_log_that_verifies_and_tampering_shows() {
    let directory = Scratch::new();
    let log = directory.path().join("security.jsonl");
    let shipped = directory.path().join("shipped.jsonl");
    let settings =
        [("WSGUARD_LOG__SECURITY", log.to_str().unwrap()), ("WSGUARD_LOG__CHECKPOINTS", shipped.to_str().unwrap())];
    for round in 1..=2 {
        let world = World::dev(&settings);
        let mut peer = world.join("ann");
        peer.send(&json!({"type": "chat", "csrfToken": "wrong", "payload": {"message": "hi"}}));
        let reference = peer.expect("error")["ref"].as_str().unwrap().to_owned();
        lines_until(&log, |text| text.contains(&reference));
        // Killed, as by a crash.
        drop(world);
        if round == 1 {
            let mut torn = fs::read(&log).unwrap();
            torn.extend_from_slice(b"{\"@timestamp\":\"2026-01-");
            fs::write(&log, torn).unwrap();
        }
    }
    let (code, report) = verify(directory.path(), &["--checkpoints", "shipped.jsonl"]);
    assert_eq!((code, &report["fault"]), (Some(0), &Value::Null), "{report}");
    assert_eq!(report["torn"].as_array().unwrap().len(), 1, "the torn line of the crash is named");
    assert!(report["checkpoints"].as_u64().unwrap() >= 2 && report["shipped"] == report["checkpoints"], "{report}");

    let whole = fs::read_to_string(&log).unwrap();
    assert!(!whole.contains("test_token"), "no secret is logged");
    let refused = whole.lines().position(|line| line.contains("csrf_wrong")).unwrap();
    let without: Vec<_> = whole.lines().enumerate().filter(|(at, _)| *at != refused).map(|(_, line)| line).collect();
    fs::write(&log, without.join("\n") + "\n").unwrap();
    let (code, report) = verify(directory.path(), &[]);
    assert_eq!((code, &report["fault"]["kind"]), (Some(1), &json!("missing")), "{report}");
    // The checkpoint of the second run vouches for all the others.
    let gone = serde_json::from_str::<Value>(whole.lines().nth(refused).unwrap()).unwrap();
    let gone = gone["wsguard.log.seq"].as_u64().unwrap();
    assert_eq!(report["fault"]["from"], json!(gone), "{report}");
    assert_eq!(report["fault"]["to"], json!(gone.saturating_add(1)), "{report}");

    let cut: Vec<_> = whole.lines().take(1).collect();
    fs::write(&log, cut.join("\n") + "\n").unwrap();
    let (code, report) = verify(directory.path(), &["--checkpoints", "shipped.jsonl"]);
    assert_eq!((code, &report["fault"]["kind"]), (Some(1), &json!("shippedCheckpointDisagrees")), "{report}");
}

#[test]
fn the_reference_of_an_error_finds_its_event_at_the_admin_listener() {
    let world = World::dev(&[]);
    let mut peer = world.join("ann");
    peer.send(&json!({"type": "chat", "csrfToken": "wrong", "payload": {"message": "hi"}}));
    let reference = peer.expect("error")["ref"].as_str().unwrap().to_owned();
    // The log's line comes after the event is remembered, at the latest.
    let _ = world.logged(&reference);
    let began = Instant::now();
    let events = loop {
        let events = world.ask_admin(&format!("/api/events?ref={reference}")).json();
        if events["events"] != json!([]) || began.elapsed() > PATIENCE {
            break events;
        }
    };
    assert_eq!(events["events"].as_array().unwrap().len(), 1, "{events}");
    assert_eq!(events["events"][0]["event.reason"], "csrf_wrong");
    assert_eq!(events["events"][0]["user.name"], "ann");
    let none = world.ask_admin("/api/events?control=csrf&subject=bob").json();
    assert_eq!(none, json!({"events": []}));
    assert_eq!(world.ask_admin("/api/events?limit=1").json()["events"].as_array().unwrap().len(), 1);
    let wrong = world.ask_admin("/api/events?sujbect=ann");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("sujbect"), "{}", wrong.body);
}
