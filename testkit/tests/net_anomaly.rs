//! The anomaly score on real sockets: many clients teach what is usual, one misbehaves, and the operator reads why.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use testkit::world::World;

#[test]
fn whoever_misbehaves_is_logged_with_the_parts_of_its_score() {
    // Nobody waits in this test: a first judgement comes after eight messages, and its points are few by design.
    let world = World::dev(&[
        ("WSGUARD_ANOMALY__ALERT_AT", "3"),
        ("WSGUARD_ANOMALY__CHARGE_AT", "101"),
        ("WSGUARD_RATE__HANDSHAKES", "1000"),
        ("WSGUARD_RATE__PREFIX_FACTOR", "100"),
    ]);
    for person in 0..150 {
        let mut peer = world.join(&format!("p{person}"));
        for line in 0..8 {
            peer.say("echo", line, &json!(format!("{line} of {person}")));
            assert_eq!(peer.expect("echo"), format!("{line} of {person}"));
            let _ = peer.expect("ack");
        }
    }
    let mut eve = world.join("eve");
    for turn in 0..8 {
        // Steps between types that nobody took.
        let (kind, payload) =
            if turn % 2 == 0 { ("join", json!({"room": "a"})) } else { ("leave", json!({"room": "a"})) };
        eve.say(kind, turn, &payload);
        let _ = eve.expect("ack");
    }
    let entry = world.logged_with(&["\"anomaly_detected\"", "\"eve\""]);
    assert_eq!(entry["wsguard.control"], "anomaly", "{entry}");
    let parts = entry["message"].as_str().unwrap();
    assert!(parts.contains("transitions ") && parts.contains("usual 0 %"), "{parts}");
    assert!(!world.log().contains("anomaly_in_shadow"));

    let stats: Value = world.ask_admin("/api/stats").json();
    let alerts = stats["anomalies"]["alerts"].as_object().unwrap();
    assert!(alerts.values().any(|count| count.as_u64().unwrap() > 0), "{stats}");
    assert_eq!(stats["anomalies"]["charged"], 0, "{stats}");
    let metrics = world.ask_admin("/metrics").body;
    for name in ["wsguard_anomaly_alerts_total{signal=\"transitions\"}", "wsguard_anomaly_score_count"] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    // She is told of, not closed: one more message is answered.
    eve.say("echo", "still", &json!("here"));
    assert_eq!(eve.expect("echo"), "here");
}
