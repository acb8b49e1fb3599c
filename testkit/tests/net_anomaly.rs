//! The anomaly score on real sockets: many clients teach what is usual, one misbehaves, and the operator reads why.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use testkit::world::World;

#[test]
fn whoever_misbehaves_is_logged_with_the_parts_of_its_score() {
    // Nobody waits in this test: a first judgement comes after eight messages, and its points are few by design.
    let world = World::dev(&[
        ("WSGUARD_ANOMALY__ALERT_AT", "6"),
        ("WSGUARD_ANOMALY__CHARGE_AT", "101"),
        ("WSGUARD_RATE__HANDSHAKES", "1000"),
        ("WSGUARD_RATE__PREFIX_FACTOR", "100"),
    ]);
    for person in 0..150 {
        let mut peer = world.join(&format!("p{person}"));
        for line in 0..8 {
            peer.say("echo", line, &json!(format!("{line} of {person}")));
            let _ = peer.expect("ack");
        }
    }
    let mut eve = world.join("eve");
    for line in 0..9 {
        eve.send(&json!({"type": "chat", "csrfToken": eve.csrf(), "payload": {"massage": line}}));
        assert_eq!(eve.expect("error")["code"], "invalid_message");
    }
    let entry = world.logged("\"anomaly_detected\"");
    assert_eq!((&entry["user.name"], &entry["wsguard.control"]), (&json!("eve"), &json!("anomaly")), "{entry}");
    assert_eq!(entry["event.reason"], "errors", "{entry}");
    let parts = entry["message"].as_str().unwrap();
    assert!(parts.contains("errors ") && parts.contains("usual 0 %"), "{parts}");
    assert!(!world.log().contains("anomaly_in_shadow"));

    let stats: Value = world.ask_admin("/api/stats").json();
    assert_eq!((&stats["anomalies"]["alerts"]["errors"], &stats["anomalies"]["charged"]), (&json!(1), &json!(0)));
    let metrics = world.ask_admin("/metrics").body;
    assert!(metrics.contains("wsguard_anomaly_alerts_total{signal=\"errors\"} 1"), "{metrics}");
    assert!(metrics.contains("wsguard_anomaly_score_count"), "{metrics}");
    // She is told of, not closed: one more message is answered.
    eve.say("echo", "still", &json!("here"));
    assert_eq!(eve.expect("echo"), "here");
}
