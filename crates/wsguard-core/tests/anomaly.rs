//! The score of a session as its guard keeps it: told, charged, shown, and not lost on the way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test fail it where something is not as it should be"
)]

mod peer;

use std::sync::Arc;

use peer::{Peer, admitted, at, context, request, token};
use wsguard_core::control::anomaly::Score;
use wsguard_core::control::rate::Mode;
use wsguard_core::effect::Effects;
use wsguard_core::guard::{Connection, Resumption};
use wsguard_core::handshake::{HandshakeRequest, Header, admit};
use wsguard_core::policy::{Context, Policy};
use wsguard_core::time::Now;
use wsguard_core::verdict::{ControlId, Verdict};

const DAY_MS: u64 = 24 * 3_600_000;

/// A guard that a hundred people have used: each wrote a line every twenty seconds or so.
fn used(change: impl FnOnce(&mut Policy)) -> Arc<Context> {
    let cx = context(|policy| {
        policy.rate.mode = Mode::Shadow;
        // A hundred sessions make nothing as rare as thousands do.
        (policy.anomaly.alert_at, policy.anomaly.charge_at) = (40, 50);
        change(policy);
    });
    for person in 0..100_u64 {
        let mut peer = Peer::with_token(&cx, &token(&format!("p{person}"), DAY_MS));
        for turn in 0..32 {
            let verdict = write(&mut peer, at(turn * 20_000 + (person * 7_919 + turn * 104_729) % 9_000), person, turn);
            assert_eq!(verdict, Verdict::Allow);
        }
        assert!(score(&peer, at(700_000)).score < 20, "{}", score(&peer, at(700_000)));
        assert!(peer.effects.records.iter().all(|record| record.control != Some(ControlId::Anomaly)));
    }
    cx
}

fn write(peer: &mut Peer, now: Now, person: u64, turn: u64) -> Verdict {
    let text = format!("line {turn} of {person}, {}", "and so on ".repeat(usize::try_from(turn % 4).unwrap()));
    peer.say(now, &format!(r#"{{"type":"chat","csrfToken":"CSRF","payload":{{"message":"{text}"}}}}"#))
}

/// What a program does with somebody's token, four times a second.
fn misbehave(peer: &mut Peer, ms: u64) -> Verdict {
    let kind = if ms.is_multiple_of(500) { "echo" } else { "join" };
    let filler = "x".repeat(3_000);
    let payload = if kind == "echo" { format!(r#"{{"take":"{filler}"}}"#) } else { r#"{"room":"a"}"#.to_owned() };
    peer.say(at(ms), &format!(r#"{{"type":"{kind}","csrfToken":"CSRF","payload":{payload}}}"#))
}

fn score(peer: &Peer, now: Now) -> Score {
    peer.connection.snapshot(now).unwrap().anomaly
}

fn told(peer: &Peer, action: &str) -> Vec<(&'static str, String)> {
    let records = peer.effects.records.iter().filter(|record| record.action == action);
    records
        .map(|record| {
            assert_eq!(record.control, Some(ControlId::Anomaly));
            let note = record.note.clone().unwrap();
            (note.word, note.detail.unwrap().into_string())
        })
        .collect()
}

#[test]
fn a_program_in_somebodys_session_is_told_with_its_parts_and_closed() {
    let cx = used(|_| {});
    let mut eve = Peer::with_token(&cx, &token("eve", DAY_MS));
    let closed = (0..120_000).step_by(250).find(|ms| matches!(misbehave(&mut eve, *ms), Verdict::Close(_)));
    let closed = closed.expect("closed within two minutes");
    assert!(closed > 10_000, "a moment of it is not enough: {closed}");
    assert!(eve.frames().iter().any(|frame| frame["close"] == 4429));

    let told = told(&eve, "anomaly_detected");
    let (word, parts) = told.first().unwrap();
    assert!(parts.starts_with(char::is_numeric) && parts.contains(&format!(": {word} ")), "{parts}");
    for signal in ["transitions", "rate", "repetition"] {
        assert!(parts.contains(signal), "{signal}: {parts}");
    }
    let why = eve.effects.records.iter().filter(|record| record.action == "penalty_step");
    assert!(why.clone().count() >= 3);
    assert!(why.into_iter().all(|record| record.note.as_ref().unwrap().detail.as_ref().unwrap().ends_with("anomaly")));
    assert_eq!(cx.penalties().bans(at(closed)).len(), 1, "and kept out for a while");
    let alerts: u64 = cx.anomalies().alerts().map(|(_, count)| count).sum();
    assert!(alerts >= 1 && cx.anomalies().charged() >= 3);

    // The person behind the next socket is not concerned.
    let mut ann = Peer::with_token(&cx, &token("ann", DAY_MS));
    for turn in 0..40 {
        assert_eq!(write(&mut ann, at(turn * 20_000), 7, turn), Verdict::Allow);
    }
}

#[test]
fn in_shadow_it_is_counted_and_told_and_nothing_comes_of_it() {
    let cx = used(|policy| policy.anomaly.mode = Mode::Shadow);
    let mut eve = Peer::with_token(&cx, &token("eve", DAY_MS));
    for ms in (0..300_000).step_by(250) {
        assert_eq!(misbehave(&mut eve, ms), Verdict::Allow, "{ms}");
    }
    let told = told(&eve, "anomaly_in_shadow");
    assert!((4..=5).contains(&told.len()), "once a minute: {}", told.len());
    let shadow: Vec<_> = cx.shadow().seen().filter(|(control, ..)| *control == ControlId::Anomaly).collect();
    assert!(matches!(shadow[..], [(_, "score_high", 40..)]), "{shadow:?}");
    assert!(cx.penalties().counts().iter().all(|(_, enforced, shadowed)| enforced + shadowed == 0));
    let score = score(&eve, at(300_000));
    assert!(score.score >= cx.policy().anomaly.charge_at, "{score}");
    assert_eq!(score.parts.iter().map(|part| u32::from(part.points)).sum::<u32>(), u32::from(score.score));
    let json: serde_json::Value = serde_json::from_str(&score.to_json()).unwrap();
    assert_eq!(json["parts"][0]["signal"], score.parts[0].signal);
}

#[test]
fn a_score_survives_a_resume_and_a_reconnect() {
    let cx = used(|policy| policy.penalty.mode = Mode::Shadow);
    let eve = token("eve", DAY_MS);
    let open = |more: &str, now| {
        let protocols = format!("wsguard.v1, wsguard.bearer.{eve}{more}");
        let request = HandshakeRequest { protocols: Header::One(&protocols), ..request() };
        admitted(admit(&cx, now, &request))
    };
    let mut effects = Effects::default();
    let (connection, _) = Connection::open(Arc::clone(&cx), at(0), open(", wsguard.resume", at(0)), &mut effects);
    let mut first = Peer { connection, effects, csrf: String::new(), said: String::new() };
    let welcome = first.frames().remove(0);
    welcome["payload"]["csrfToken"].as_str().unwrap().clone_into(&mut first.csrf);
    for ms in (0..60_000).step_by(250) {
        assert_eq!(misbehave(&mut first, ms), Verdict::Allow);
    }
    let before = score(&first, at(60_000));
    assert!(before.score >= 50, "{before}");
    first.connection.on_lost(&mut first.effects);
    let suspended = first.connection.take_suspended();

    let entry = format!(", wsguard.resume.{}.0", welcome["payload"]["resumeToken"].as_str().unwrap());
    let mut second = Peer::open(&cx, at(61_000), open(&entry, at(61_000)));
    assert!(second.connection.wanted().is_some());
    let outcome = second.connection.resume(at(61_000), suspended, &mut second.effects);
    assert!(matches!(outcome, Some(Resumption::Resumed { .. })), "{outcome:?}");
    let after = score(&second, at(61_000));
    assert!(after.score + 5 >= before.score, "{before} then {after}");
    let names = |score: &Score| score.parts.iter().map(|part| part.signal).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));

    // A new session of the same subject begins with a part of it; another subject with nothing.
    let anew = Peer::with_token(&cx, &eve);
    let begun = score(&anew, at(61_000));
    assert_eq!(begun.parts.len(), 1, "{begun}");
    assert!(begun.parts[0].signal == "subject" && begun.score >= 15, "{begun}");
    assert_eq!(score(&Peer::with_token(&cx, &token("bob", DAY_MS)), at(61_000)).score, 0);
}
