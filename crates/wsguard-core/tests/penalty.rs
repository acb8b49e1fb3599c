//! The ladder on connections in virtual time, and its properties: it never climbs without weight, never keeps anybody out past its time, is fair to whoever
//! shares its tables, and no sequence of reconnects gives more than the quota.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "tests: an overflow would fail them"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use wsguard_core::control::host::HostPattern;
use wsguard_core::control::penalty::{Payer, Penalties, PenaltyPolicy, Rung, Standing, Step, Weight};
use wsguard_core::control::rate::{Prefixes, PrintKey, Quota};
use wsguard_core::effect::Effects;
use wsguard_core::guard::Connection;
use wsguard_core::handshake::{self, HandshakeRequest, Header, admit};
use wsguard_core::policy::{Context, Policy, Random, Secrets, StaticToken, built_in_messages};
use wsguard_core::probe::NoProbe;
use wsguard_core::time::{Millis, Now, Tick, UnixMs};
use wsguard_core::token::KeyRing;
use wsguard_core::verdict::{ControlId, Verdict};

fn at(ms: u64) -> Now {
    Now { tick: Tick(1_000_000 + ms), unix: UnixMs(1_700_000_000_000 + ms) }
}

fn policies() -> impl Strategy<Value = PenaltyPolicy> {
    (1_u32..50, 1_u32..100, 0_u32..100, 0_u32..100, 0_u64..3_000, 1_u32..20).prop_map(
        |(decay, slow, drop, close, dwell, factor)| PenaltyPolicy {
            decay_per_second: decay,
            slow_at: slow,
            drop_at: slow + drop,
            close_at: slow + drop + close,
            dwell: Millis(dwell),
            prefix_factor: factor,
            ..PenaltyPolicy::default()
        },
    )
}

/// Gaps in milliseconds and points: floods at one instant, trickles, long silences, charges of nothing.
fn charges() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![4 => Just(0_u64), 4 => 0_u64..400, 1 => 0_u64..100_000];
    let points = prop_oneof![1 => Just(0_u32), 4 => 1_u32..5, 2 => 1_u32..300];
    vec((gap, points), 1..300)
}

proptest! {
    #[test]
    fn nothing_climbs_without_weight_or_before_its_time(policy in policies(), charges in charges()) {
        let mut standing = Standing::default();
        let (mut now, mut paid, mut climbed_at) = (0, 0_u64, 0);
        for (gap, points) in charges {
            now += gap;
            let before = standing.rung();
            standing.settle(&policy, 1, Tick(now));
            prop_assert!(standing.rung() <= before, "time alone never climbs");
            let settled = standing.rung();
            let judged = standing.charge(&policy, 1, Tick(now), Weight::points(points));
            paid += u64::from(points);
            prop_assert_eq!(judged.climbed, judged.rung > settled);
            if points == 0 {
                prop_assert!(!judged.climbed, "nothing paid, nothing climbed");
            }
            if judged.climbed && judged.rung > Rung::Slow {
                prop_assert!(settled >= Rung::Slow || policy.dwell.0 == 0 , "one rung at a time: {:?} {:?}", settled, judged);
                prop_assert!(now >= climbed_at + policy.dwell.0, "each has had its time");
            }
            if judged.climbed {
                climbed_at = now;
            }
            if judged.rung == Rung::Close {
                prop_assert!(paid >= u64::from(policy.close_at), "{} paid for {}", paid, policy.close_at);
                paid = 0;
                prop_assert_eq!((standing.rung(), standing.weight()), (Rung::Calm, Weight::ZERO), "paid off");
            }
        }
        // Everything is forgotten at last.
        standing.settle(&policy, 1, Tick(now + 3_600_000 * 301 + 600_000 * 301));
        prop_assert_eq!((standing.weight(), standing.offences()), (Weight::ZERO, 0));
    }

    #[test]
    fn nobody_is_kept_out_past_its_time(policy in policies(), charges in charges()) {
        let key = PrintKey::new([5; 16]);
        let penalties = Penalties::new(64, key);
        let print = key.print(b's', b"ann");
        let (mut now, mut ends) = (0_u64, 0_u64);
        for (gap, points) in charges {
            now += gap;
            let payer = Payer::Subject(print, "ann");
            let answer = penalties.offend(&policy, at(now), payer, None, Weight::points(points), ControlId::Rate);
            if let Some(length) = answer.step.kept_out() {
                prop_assert!(length >= policy.close_for && length <= policy.ban_max.max(policy.close_for));
                ends = ends.max(now + length.0);
            }
            let left = penalties.banned(print, at(now).tick);
            prop_assert_eq!(left.map_or(now, |left| now + left.0), ends.max(now));
            prop_assert_eq!(penalties.bans(at(now)).len(), usize::from(ends > now));
        }
        prop_assert_eq!(penalties.banned(print, at(ends).tick), None, "not a moment longer");
        prop_assert_eq!(penalties.bans(at(ends)), []);
    }

    #[test]
    fn churn_hides_no_offender_and_hurts_no_bystander(seed in any::<u64>(), spread in 20_u64..2_000) {
        let policy = PenaltyPolicy::default();
        let key = PrintKey::new(u128::from(seed).to_le_bytes());
        // Sixty-four places for thousands of keys.
        let penalties = Penalties::new(64, key);
        let offend = |address: IpAddr, ms: u64, weight: Weight| {
            let payer = Payer::Prefix(Prefixes::of(&key, address).fine, address);
            penalties.offend(&policy, at(ms), payer, None, weight, ControlId::Credential).step
        };
        let offender: IpAddr = "192.0.2.1".parse().unwrap();
        let mut out = None;
        for round in 0..spread * 20 {
            let ms = round * 10;
            let [_, _, _, _, _, b, c, d] = round.to_be_bytes();
            let step = offend(IpAddr::from([198, b, c, d]), ms, Weight::of(ControlId::Credential));
            prop_assert!(matches!(step, Step::None | Step::Warn), "a bystander: {:?}", step);
            // Twenty times the points of the spray, from one address.
            if offend(offender, ms, Weight::points(200)).kept_out().is_some() {
                out = Some(round);
                break;
            }
        }
        prop_assert!(out.is_some(), "never found in {} rounds", spread * 20);
    }

    #[test]
    fn no_sequence_of_reconnects_gives_more_than_the_quota(
        actions in vec((0_u64..700, 0_u32..40, any::<bool>()), 1..60), per_second in 1_u32..30, burst in 1_u32..60
    ) {
        let cx = context(per_second, burst);
        let mut peer: Option<Peer> = None;
        let (mut now, mut passed) = (0, Vec::new());
        for (gap, messages, reconnect) in actions {
            now += gap;
            if reconnect || peer.is_none() {
                peer = Peer::open(&cx, at(now));
            }
            for _ in 0..messages {
                let Some(open) = &mut peer else { break };
                match open.say(at(now)) {
                    Verdict::Allow => passed.push(now),
                    Verdict::Close(_) => peer = None,
                    Verdict::Refuse(_) | Verdict::Answered => {}
                }
            }
        }
        for (first, begin) in passed.iter().enumerate() {
            for (count, end) in passed.iter().skip(first).enumerate() {
                let most = u64::from(burst) * 1_000 + u64::from(per_second) * (end - begin);
                prop_assert!((count as u64 + 1) * 1_000 <= most + 1_000, "{} between {} and {}", count + 1, begin, end);
            }
        }
    }
}

/// The payload of the `error` frames in `out`, and the close code.
fn told(out: &[u8]) -> (Vec<serde_json::Value>, Option<u16>) {
    let (mut errors, mut rest) = (Vec::new(), out);
    while let [opcode, length, tail @ ..] = rest {
        let (length, tail) = match (length, tail) {
            (126, [high, low, tail @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), tail),
            (length, tail) => (usize::from(*length), tail),
        };
        let (payload, after) = tail.split_at(length);
        if *opcode == 0x88 {
            return (errors, payload.first_chunk().map(|code| u16::from_be_bytes(*code)));
        }
        let mut frame: serde_json::Value = serde_json::from_slice(payload).unwrap();
        if frame["type"] == "error" {
            errors.push(frame["payload"].take());
        }
        rest = after;
    }
    (errors, None)
}

#[test]
fn a_flood_is_warned_slowed_discarded_and_closed() {
    let cx = context(20, 60);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    // Two hundred messages a second, as a driver sees them: not while it is asked to pause.
    let (mut errors, mut pauses, mut paused_until, mut waiting) = (Vec::new(), Vec::new(), 0, 0);
    let closed = (0..10_000).step_by(5).find(|ms| {
        waiting += 1;
        if *ms < paused_until {
            return false;
        }
        for _ in 0..std::mem::take(&mut waiting) {
            let verdict = peer.say(at(*ms));
            let (told, code) = told(&peer.effects.out);
            errors.extend(told.into_iter().map(|error| (*ms, error)));
            if code.is_some() {
                assert_eq!(code, Some(4429));
                assert!(matches!(verdict, Verdict::Close(_)));
                return true;
            }
        }
        if let Some(pause) = peer.effects.pause.take() {
            assert!((250..=2_000).contains(&pause.0), "{pause}");
            pauses.push(pause.0);
            paused_until = ms + pause.0;
        }
        false
    });
    assert!(closed.is_some_and(|ms| ms < 6_000), "{closed:?}");
    assert!(!pauses.is_empty());
    let times: Vec<u64> = errors.iter().map(|(ms, _)| *ms).collect();
    let (last, before) = times.split_last().unwrap();
    assert!(before.windows(2).all(|pair| matches!(pair, [a, b] if b - a >= 250)), "{times:?}");
    assert_eq!(*last, closed.unwrap());
    assert!(errors.iter().all(|(_, error)| error["retryAfterMs"].as_u64().unwrap() > 0), "{errors:?}");
    assert_eq!(errors.last().unwrap().1["retryAfterMs"], 15_000);
    let mut steps: Vec<_> = peer
        .effects
        .records
        .iter()
        .filter(|record| record.action == "penalty_step")
        .map(|record| record.note.as_ref().unwrap().word)
        .collect();
    // Slow may come twice: the pause drained what led there.
    steps.dedup();
    assert_eq!(steps, ["slow", "drop", "close"]);
    assert!(!peer.effects.untold.is_empty());
    let mut counted =
        peer.effects.records.iter().filter_map(|record| record.refusal.as_ref()?.reason.detail.as_deref());
    assert!(
        counted.any(|detail| detail.ends_with("refusals of limits before it were not told")),
        "the others are counted"
    );
}

/// What the operator reads of refusals that were not told: behind the next one of any kind, or at the end.
#[test]
fn what_was_not_told_is_counted_whatever_comes_next() {
    let cx = context(5, 5);
    for is_left in [false, true] {
        let mut peer = Peer::open(&cx, at(0)).unwrap();
        while peer.effects.untold.len() < 3 {
            assert!(matches!(peer.say(at(1)), Verdict::Refuse(_) | Verdict::Allow));
        }
        peer.effects.records.clear();
        if is_left {
            peer.connection.on_peer_close(Some(1000), &mut peer.effects);
        } else {
            let _ = peer.connection.on_message(at(2_000), "{", &mut peer.effects, &mut NoProbe);
        }
        let said = peer.effects.records.iter().find_map(|record| {
            let reason = record.refusal.as_ref().map(|refusal| &refusal.reason).or(record.note.as_ref());
            reason?.detail.as_deref()?.contains("3 refusals of limits before it were not told").then_some(record.action)
        });
        assert_eq!(said, Some(if is_left { "connection_closed_by_peer" } else { "message_refused" }));
    }
}

/// When a peer that sends `per_second` messages evenly is closed, in milliseconds; its quota is 20 a second.
fn closed_after(per_second: u64, patience_ms: u64) -> Option<u64> {
    let cx = context(20, 60);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    let (mut paused_until, mut sent) = (0, 0);
    (0..patience_ms).step_by(5).find(|ms| {
        let due = ms * per_second / 1_000;
        // What was sent during a pause waits in TCP.
        while *ms >= paused_until && sent < due {
            sent += 1;
            peer.effects.records.clear();
            if matches!(peer.say(at(*ms)), Verdict::Close(_)) {
                return true;
            }
            if sent == due
                && let Some(pause) = peer.effects.pause.take()
            {
                paused_until = ms + pause.0;
            }
        }
        false
    })
}

#[test]
fn the_excess_decides_how_soon_it_ends() {
    for (name, per_second, want) in [
        ("its quota", 20, None),
        ("a quarter more", 25, None),
        ("twice", 40, Some(15_000..30_000)),
        ("five times", 100, Some(3_000..9_000)),
        ("ten times", 200, Some(2_000..6_000)),
        ("a hundred times", 2_000, Some(2_000..6_000)),
    ] {
        let closed = closed_after(per_second, 120_000);
        match want {
            None => assert_eq!(closed, None, "{name}"),
            Some(range) => assert!(closed.is_some_and(|ms| range.contains(&ms)), "{name}: {closed:?}"),
        }
    }
}

#[test]
fn a_burst_however_large_closes_nothing() {
    let cx = context(20, 60);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    for _ in 0..100_000 {
        assert!(!matches!(peer.say(at(0)), Verdict::Close(_)));
    }
    assert_eq!(peer.connection.snapshot(at(0)).unwrap().ladder.rung, "slow");
    // It listened: after its pauses everything is as before.
    assert_eq!(peer.say(at(2_000)), Verdict::Allow);
    let after = peer.connection.snapshot(at(25_000)).unwrap().ladder;
    assert_eq!((after.rung, after.weight, after.offences, after.begins_at), ("calm", 0, 0, [60, 120, 180]));
}

#[test]
fn a_new_connection_begins_where_the_subject_stands() {
    let cx = context(20, 60);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    for ms in [0, 1_500] {
        for _ in 0..1_000 {
            let _ = peer.say(at(ms));
        }
    }
    assert_eq!(peer.connection.snapshot(at(1_500)).unwrap().ladder.rung, "drop");
    let mut next = Peer::open(&cx, at(3_000)).unwrap();
    let Verdict::Refuse(refusal) = next.say(at(3_000)) else { panic!("it is within the quota, but discarded") };
    assert_eq!((refusal.control, refusal.reason.word), (ControlId::Penalty, "discarded"));
    let wait = refusal.retry_after.unwrap();
    assert_eq!(next.say(at(3_000 + wait.0 - 1)), Verdict::Refuse(refusal.retry_after(Millis(1))), "until then");
    assert_eq!(next.say(at(3_000 + wait.0)), Verdict::Allow);
}

#[test]
fn conduct_climbs_the_same_ladder() {
    let cx = context(20, 60);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    peer.effects.out.clear();
    let closed = (0..10_u64).find(|second| {
        let now = at(second * 1_000);
        let verdict = peer.connection.charge_conduct(now, Weight::points(100), ControlId::Schema, &mut peer.effects);
        matches!(verdict, Verdict::Close(_))
    });
    assert_eq!(closed, Some(2), "slow, drop, close");
    let (errors, code) = told(&peer.effects.out);
    assert_eq!((errors.len(), code), (1, Some(4429)));
    assert!(Peer::open(&cx, at(16_999)).is_none(), "kept out");
    assert!(Peer::open(&cx, at(17_000)).is_some(), "and in again");
}

#[test]
fn what_is_never_limited_is_handled_above_every_quota() {
    let cx = context(1, 1);
    let mut peer = Peer::open(&cx, at(0)).unwrap();
    assert_eq!(peer.say(at(0)), Verdict::Allow);
    let leave = peer.message.replace("echo", "leave").replace('}', r#","payload":{"room":"r"}}"#);
    let large = leave.replace(r#""r""#, &format!(r#""{}""#, "r".repeat(2_000)));
    let ack = r#"{"type":"ack","payload":{"seq":1}}"#.to_owned();
    for (name, text, want) in [
        ("echo", peer.message.clone(), "refuse"),
        ("leave", leave, "allow"),
        ("ack", ack, "allow"),
        ("a leave that is no leave", large, "refuse"),
    ] {
        peer.effects.pause = None;
        peer.message = text;
        assert_eq!(peer.say(at(0)).as_str(), want, "{name}");
        assert_eq!(peer.effects.pause.is_some(), want == "allow", "{name}: read more slowly instead");
    }
}

struct Peer {
    connection: Connection,
    effects: Effects,
    message: String,
}

impl Peer {
    fn open(cx: &Arc<Context>, now: Now) -> Option<Self> {
        let mut request = HandshakeRequest::new("192.0.2.1".parse().unwrap());
        request.host = Header::One("localhost");
        request.authorization = Header::One("Bearer test_token");
        let handshake::Step::Admit(admission) = admit(cx, now, &request) else {
            return None;
        };
        let mut effects = Effects::default();
        let (connection, _) = Connection::open(Arc::clone(cx), now, admission, &mut effects);
        let welcome = String::from_utf8_lossy(&effects.out).into_owned();
        let csrf = welcome.split(r#""csrfToken":""#).nth(1)?.split('"').next()?;
        let message = format!(r#"{{"type":"echo","csrfToken":"{csrf}"}}"#);
        Some(Self { connection, effects, message })
    }

    fn say(&mut self, now: Now) -> Verdict {
        self.effects.out.clear();
        self.connection.on_message(now, &self.message, &mut self.effects, &mut NoProbe)
    }
}

/// Counts up: every id differs, and every run is the same.
#[derive(Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.iter_mut().zip(next).for_each(|(byte, next)| *byte = next);
        }
    }
}

fn context(per_second: u32, burst: u32) -> Arc<Context> {
    let mut policy = Policy::new(KeyRing::default());
    policy.hosts = vec![HostPattern::parse("localhost").unwrap()];
    policy.static_token = Some(StaticToken { token: "test_token".into(), subject: "dev".into() });
    policy.rate.messages = Quota::new(per_second, burst);
    policy.rate.handshakes = Quota::new(1_000, 1_000);
    for message in built_in_messages().unwrap() {
        policy.declare(message).unwrap();
    }
    Arc::new(Context::new(policy, &Secrets { csrf: [1; 32], prints: [2; 16] }, Box::<Counting>::default()))
}
