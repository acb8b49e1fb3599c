#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use super::*;
use crate::control::rate::PrintKey;

/// Sessions of one role, and the tables they share.
struct World {
    all: Anomalies,
    policy: AnomalyPolicy,
    key: PrintKey,
    now: Tick,
    next: u64,
}

impl World {
    /// Nobody was here yet.
    fn new() -> Self {
        let key = PrintKey::new([9; 16]);
        Self { all: Anomalies::new(256), policy: AnomalyPolicy::default(), key, now: Tick(1_000_000), next: 0 }
    }

    /// A role that is known: people who write every ten to thirty seconds, never the same twice, and are refused once in
    /// fifty.
    fn learnt() -> Self {
        let mut world = Self::new();
        for number in 0..300_u64 {
            let mut person = world.session(&format!("p{number}"), 1);
            for turn in 0..40_u64 {
                world.next = world.next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let chance = world.next >> 33;
                world.pass(10_000 + chance % 20_000);
                if chance.is_multiple_of(50) {
                    person.conduct.refused(world.now, 150);
                    world.judge(&mut person);
                } else {
                    let kind = u16::from(turn % 5 == 0);
                    world.say(&mut person, kind, 120 + usize::try_from(chance % 80).unwrap(), &chance.to_le_bytes());
                }
                person.conduct.sent(300);
            }
        }
        world
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Millis(ms));
    }

    fn session(&mut self, subject: &str, network: u8) -> Session {
        self.next += 1;
        let subject = self.key.print(b's', subject.as_bytes());
        let prefixes = Prefixes::of(&self.key, [10, network, 0, 1].into());
        let role = self.key.print(b'o', b"user");
        Session { subject, conduct: self.all.begin(self.now, subject, role, prefixes, self.next) }
    }

    fn judge(&self, session: &mut Session) -> Option<Judged> {
        self.all.judge(&self.policy, self.now, session.subject, &mut session.conduct)
    }

    fn say(&self, session: &mut Session, kind: u16, bytes: usize, payload: &[u8]) -> Option<Judged> {
        self.all.passed(self.now, &mut session.conduct, kind, bytes, payload);
        self.judge(session)
    }

    fn score(&self, session: &Session) -> Score {
        self.all.explain(self.now, &session.conduct)
    }

    fn points(&self, session: &Session, signal: Signal) -> u8 {
        let score = self.score(session);
        score.parts.iter().find(|part| part.signal == signal.as_str()).map_or(0, |part| part.points)
    }
}

struct Session {
    subject: Print,
    conduct: Conduct,
}

#[test]
fn a_session_keeps_two_hundred_bytes_at_most() {
    assert!(size_of::<Conduct>() <= 200, "{}", size_of::<Conduct>());
}

/// What a session does, as the world goes on around it.
type Act = fn(&mut World, &mut Session, u64);

#[test]
fn each_signal_sees_what_it_is_for() {
    let cases: [(Signal, u64, Act); 7] = [
        (Signal::Rate, 200, |world, session, turn| {
            world.pass(200 + turn * 37 % 300);
            let _ = world.say(session, 0, 150, &turn.to_le_bytes());
        }),
        (Signal::Size, 40, |world, session, turn| {
            world.pass(10_000 + turn * 7_919 % 20_000);
            let _ = world.say(session, 0, 40_000, &turn.to_le_bytes());
        }),
        (Signal::Regularity, 60, |world, session, turn| {
            world.pass(20_000);
            let _ = world.say(session, 0, 150, &turn.to_le_bytes());
        }),
        (Signal::Repetition, 60, |world, session, turn| {
            world.pass(10_000 + turn * 7_919 % 20_000);
            let _ = world.say(session, 0, 150, b"buy");
        }),
        (Signal::Transitions, 40, |world, session, turn| {
            world.pass(10_000 + turn * 7_919 % 20_000);
            let _ = world.say(session, u16::try_from(turn % 100).unwrap(), 150, &turn.to_le_bytes());
        }),
        (Signal::Errors, 40, |world, session, turn| {
            world.pass(10_000 + turn * 7_919 % 20_000);
            session.conduct.refused(world.now, 150);
            let _ = world.judge(session);
        }),
        (Signal::Asymmetry, 40, |world, session, turn| {
            world.pass(10_000 + turn * 7_919 % 20_000);
            session.conduct.sent(500_000);
            let _ = world.say(session, 0, 150, &turn.to_le_bytes());
        }),
    ];
    for (signal, turns, act) in cases {
        let mut world = World::learnt();
        let mut session = world.session("eve", 1);
        for turn in 1..=turns {
            act(&mut world, &mut session, turn);
        }
        let score = world.score(&session);
        let points = world.points(&session, signal);
        assert!(u32::from(points) * 5 >= u32::from(signal.most()) * 2, "{signal:?}: {score}");
        assert!(points <= signal.most(), "{signal:?}: {score}");
        let part = score.parts.iter().find(|part| part.signal == signal.as_str()).unwrap();
        assert!(!part.seen.is_empty() && part.usual != "unknown", "{part:?}");
    }
}

#[test]
fn a_token_in_many_networks_shows() {
    let mut world = World::learnt();
    for network in 2..30 {
        let _ = world.session("eve", network);
    }
    let mut session = world.session("eve", 30);
    for turn in 0..20_u64 {
        world.pass(11_000 + turn * 7_919 % 20_000);
        let _ = world.say(&mut session, 0, 150, &turn.to_le_bytes());
    }
    let score = world.score(&session);
    assert_eq!(score.parts[0].signal, "prefixes", "{score}");
    let seen: u32 = score.parts[0].seen.parse().unwrap();
    assert!((24..=36).contains(&seen) && score.parts[0].usual == "1", "{score}");
}

#[test]
fn refused_credentials_and_a_bad_past_go_before_a_session() {
    let mut world = World::learnt();
    let prefixes = Prefixes::of(&world.key, [10, 7, 0, 9].into());
    for _ in 0..60 {
        world.all.credential_refused(world.now, prefixes);
    }
    let mut session = world.session("eve", 7);
    assert_eq!(world.points(&session, Signal::Credentials), 30, "before it says a word");
    for turn in 0..20_u64 {
        world.pass(20_000);
        let _ = world.say(&mut session, 0, 150, &turn.to_le_bytes());
    }
    assert!(world.points(&session, Signal::Credentials) <= 3, "{}", world.score(&session));
    let mut elsewhere = world.session("bob", 8);
    world.pass(6_000);
    let _ = world.say(&mut elsewhere, 0, 150, b"1");
    assert_eq!(world.points(&elsewhere, Signal::Credentials), 0);

    world.all.subjects().remember(world.now, session.subject, 80);
    let again = world.session("eve", 1);
    assert_eq!(world.points(&again, Signal::Subject), 32, "a reconnect does not wash it off");
}

#[test]
fn nothing_is_unusual_where_nothing_is_known() {
    let mut world = World::new();
    let mut session = world.session("eve", 1);
    for turn in 0..1_000_u64 {
        world.pass(30);
        let _ = world.say(&mut session, u16::try_from(turn % 128).unwrap(), 40_000, b"same");
        session.conduct.sent(1_000_000);
    }
    assert_eq!(world.score(&session).score, 0);
}

#[test]
fn people_like_those_before_score_low() {
    let mut world = World::learnt();
    let mut most = 0;
    for number in 0..200_u64 {
        let mut person = world.session(&format!("q{number}"), 1);
        for turn in 0..60_u64 {
            let chance = number.wrapping_mul(1_000_003).wrapping_add(turn.wrapping_mul(777_767_777)) >> 3;
            world.pass(10_000 + chance % 20_000);
            let judged = world.say(
                &mut person,
                u16::from(turn % 5 == 0),
                120 + usize::try_from(chance % 80).unwrap(),
                &chance.to_le_bytes(),
            );
            person.conduct.sent(300);
            most = most.max(judged.map_or(0, |judged| judged.score));
        }
    }
    assert!(most < world.policy.alert_at, "{most}");
}

#[test]
fn a_score_is_the_sum_of_its_parts_and_fades() {
    let mut world = World::learnt();
    let mut session = world.session("eve", 1);
    for turn in 0..400_u64 {
        world.pass(300);
        let kind = u16::try_from(turn % 90).unwrap();
        let _ = world.say(&mut session, kind, 30_000, b"same");
        session.conduct.refused(world.now, 30_000);
        let score = world.score(&session);
        let sum: u32 = score.parts.iter().map(|part| u32::from(part.points)).sum();
        assert!(u32::from(score.score) == sum && score.score <= 100, "{score}");
        assert!(score.parts.is_sorted_by(|left, right| left.points >= right.points), "{score}");
    }
    let high = world.score(&session);
    assert!(high.score >= 90 && high.parts.len() >= 4, "{high}");
    let mut last = high.score;
    for _ in 0..20 {
        world.pass(300_000);
        let now = world.score(&session).score;
        assert!(now <= last, "{now} after {last}");
        last = now;
    }
    assert!(last < 10, "{last}");
    assert_eq!(world.score(&session).to_json(), serde_json::to_string(&world.score(&session)).unwrap());
}

#[test]
fn the_same_events_give_the_same_score() {
    let run = || {
        let mut world = World::learnt();
        let mut session = world.session("eve", 1);
        let mut scores = Vec::new();
        for turn in 0..200_u64 {
            world.pass(700 + turn % 13);
            let judged = world.say(&mut session, u16::try_from(turn % 3).unwrap(), 200, &(turn / 3).to_le_bytes());
            scores.push((judged, world.score(&session)));
        }
        scores
    };
    assert_eq!(run(), run());
}

#[test]
fn a_high_score_is_told_once_a_minute_and_charged_by_time() {
    let mut world = World::learnt();
    let mut session = world.session("eve", 1);
    let (mut told, mut charged_ms) = (Vec::new(), 0_u64);
    let began = world.now;
    for turn in 0..6_000_u64 {
        world.pass(100);
        let judged = world.say(&mut session, u16::try_from(turn % 90).unwrap(), 30_000, b"same");
        if let Some(judged) = judged {
            if judged.tell {
                told.push(world.now.since(began).0);
            }
            charged_ms += u64::from(judged.charged_ms);
            assert!(judged.charged_ms == 0 || judged.score >= world.policy.charge_at);
        }
    }
    assert!((9..=10).contains(&told.len()), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= TOLD_EVERY.0), "{told:?}");
    assert!((450_000..=600_000).contains(&charged_ms), "{charged_ms}");
}

#[test]
fn roles_do_not_teach_each_other_and_are_bounded() {
    let profiles = Profiles::default();
    let key = PrintKey::new([1; 16]);
    let numbers: Vec<u8> = (0..100_u8).map(|role| profiles.enter(key.print(b'o', &[role]))).collect();
    let mut first = numbers[..31].to_vec();
    first.dedup();
    assert_eq!(first.len(), 31, "each its own");
    assert!(numbers[31..].iter().all(|number| *number == 31), "the others share the last");
    assert_eq!(profiles.enter(key.print(b'o', &[3])), numbers[3], "known again");
}
