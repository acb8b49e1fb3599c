#![allow(clippy::arithmetic_side_effects, clippy::panic, reason = "tests: an overflow would fail them")]

use super::*;
use crate::control::session::SessionId;
use crate::time::UnixMs;

const UNIX: u64 = 1_700_000_000_000;

fn at(ms: u64) -> Now {
    Now { tick: Tick(1_000_000 + ms), unix: UnixMs(UNIX + ms) }
}

fn key() -> PrintKey {
    PrintKey::new([3; 16])
}

fn penalties() -> Penalties {
    Penalties::new(64, key())
}

fn offend(penalties: &Penalties, policy: &PenaltyPolicy, ms: u64, subject: &str, points: u32) -> Answer {
    let print = key().print(b's', subject.as_bytes());
    let payer = Payer::Subject(print, subject);
    penalties.offend(policy, at(ms), payer, None, Weight::points(points), ControlId::Rate)
}

#[test]
fn every_quota_weighs_the_same_a_second() {
    for (name, quota, units_a_second) in [
        ("20 a second", Quota::new(20, 60), 20),
        ("one a second", Quota::new(1, 1), 1),
        ("a million a second", Quota::new(1_000_000, 1), 1_000_000),
        ("256 KiB a second", Quota::new(262_144, 262_144), 262_144),
        ("30 per 10 s", Quota::per(30, Millis(10_000), 30), 3),
    ] {
        let weight = Weight::of_excess(&quota, units_a_second);
        assert!((19_900_000..=20_100_000).contains(&weight.0), "{name}: {weight:?}");
        assert!(Weight::of_excess(&quota, 1) > Weight::ZERO, "{name}");
    }
}

#[test]
fn what_others_can_provoke_weighs_nothing() {
    for control in [ControlId::Upgrade, ControlId::Host, ControlId::Origin, ControlId::Heartbeat, ControlId::Liveness] {
        assert_eq!(Weight::of(control), Weight::ZERO, "{}", control.as_str());
    }
    for control in [ControlId::Credential, ControlId::Rate, ControlId::Scan, ControlId::Csrf, ControlId::Frame] {
        assert!(Weight::of(control) > Weight::ZERO, "{}", control.as_str());
    }
}

#[test]
fn the_ladder_is_climbed_rung_by_rung() {
    let (penalties, policy) = (penalties(), PenaltyPolicy::default());
    for (name, ms, points, want) in [
        ("the first refusal", 0, 1, Step::Warn),
        ("a burst as large as any", 0, 4_000, Step::Slow(Millis(2_000))),
        ("more of the same burst", 10, 4_000, Step::Slow(Millis(2_000))),
        ("after its time", 1_000, 10, Step::Drop(Tick(1_013_000), Millis(2_000))),
        ("not before the next is due", 1_999, 100, Step::Drop(Tick(1_013_999), Millis(2_000))),
        ("and out", 2_000, 10, Step::Close(Millis(15_000))),
    ] {
        assert_eq!(offend(&penalties, &policy, ms, "ann", points).step, want, "{name}");
    }
    let print = key().print(b's', b"ann");
    assert_eq!(penalties.banned(print, at(2_000).tick), Some(Millis(15_000)));
    assert_eq!(penalties.banned(print, at(16_999).tick), Some(Millis(1)));
    assert_eq!(penalties.banned(print, at(17_000).tick), None, "not a moment longer");
    assert_eq!(offend(&penalties, &policy, 17_000, "ann", 1).step, Step::Warn, "the ban paid the weight off");
    assert_eq!(offend(&penalties, &policy, 17_000, "bob", 1).step, Step::Warn, "another is not concerned");
}

/// Offends until it is kept out; the step and when.
fn until_out(penalties: &Penalties, policy: &PenaltyPolicy, mut ms: u64) -> (Step, u64) {
    for _ in 0..100 {
        ms += 1_000;
        let step = offend(penalties, policy, ms, "ann", 240).step;
        if step.kept_out().is_some() {
            return (step, ms);
        }
    }
    panic!("never kept out");
}

#[test]
fn bans_grow_and_are_forgotten() {
    let (penalties, policy) = (penalties(), PenaltyPolicy::default());
    let mut ms = 0;
    for want in [Step::Close(Millis(15_000))]
        .into_iter()
        .chain([60, 120, 240, 480, 960, 1_920, 3_600, 3_600].map(|seconds| Step::Ban(Millis::from_secs(seconds))))
    {
        let (step, when) = until_out(&penalties, &policy, ms);
        assert_eq!(step, want);
        ms = when + step.kept_out().unwrap().0;
    }
    // Nine offences, one forgotten every ten minutes.
    assert_eq!(until_out(&penalties, &policy, ms + 9 * 600_000 + 1).0, Step::Close(Millis(15_000)));
}

#[test]
fn a_prefix_has_sixteen_times_the_patience() {
    let (penalties, policy) = (penalties(), PenaltyPolicy::default());
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    let print = Prefixes::of(&key(), address).fine;
    let guess = |ms| {
        let payer = Payer::Prefix(print, address);
        penalties.offend(&policy, at(ms), payer, None, Weight::of(ControlId::Credential), ControlId::Credential).step
    };
    // A guess every third of a second, which is all that the quota of handshakes lets through.
    let banned = (0..10_000).find(|n| guess(n * 333).kept_out().is_some()).unwrap();
    assert!((100..200).contains(&(banned / 3)), "{} s", banned / 3);
    assert_eq!(penalties.bans(at(banned * 333)).first().unwrap().key.to_string(), "prefix:192.0.2.7/32");
}

#[test]
fn shadow_counts_and_bans_nobody() {
    let (penalties, policy) = (penalties(), PenaltyPolicy { mode: Mode::Shadow, ..PenaltyPolicy::default() });
    let (step, _) = until_out(&penalties, &policy, 0);
    assert_eq!(step, Step::Close(Millis(15_000)), "what it would have done");
    assert_eq!(penalties.bans(at(3_000)), []);
    assert_eq!(penalties.take_news(), []);
    assert_eq!(penalties.counts(), [("warn", 0, 0), ("slow", 0, 1), ("drop", 0, 1), ("close", 0, 1), ("ban", 0, 0)]);
}

#[test]
fn a_million_keys_leave_nothing_and_hide_nobody() {
    let policy = PenaltyPolicy::default();
    let penalties = Penalties::new(4_096, key());
    let capacity = penalties.prefixes.capacity();
    let flood = |ms| {
        let address: IpAddr = "2001:db8:ffff::1".parse().unwrap();
        let payer = Payer::Prefix(Prefixes::of(&key(), address).fine, address);
        penalties.offend(&policy, at(ms), payer, None, Weight::points(400), ControlId::HandshakeRate).step
    };
    let mut out = None;
    for number in 0..1_000_000_u64 {
        let ms = number / 50;
        let [.., a, b, c] = number.to_be_bytes();
        let address = IpAddr::from([0x2001, 0xdb8, u16::from(a), u16::from_be_bytes([b, c]), 0, 0, 0, 1]);
        let payer = Payer::Prefix(Prefixes::of(&key(), address).fine, address);
        let step = penalties
            .offend(&policy, at(ms), payer, None, Weight::of(ControlId::Credential), ControlId::Credential)
            .step;
        assert!(matches!(step, Step::None | Step::Warn), "one offence each: {step:?}");
        if number % 5_000 == 0 && flood(ms).kept_out().is_some() {
            out.get_or_insert(ms);
        }
    }
    assert!(out.is_some_and(|ms| ms < 10_000), "whoever goes on is found in the churn: {out:?}");
    assert!(penalties.kept(&policy, at(20_000).tick).1 <= capacity);
    assert_eq!(penalties.prefixes.capacity(), capacity, "a table of fixed size");
    assert!(penalties.bans(at(20_000)).len() <= 2, "nobody else is banned");
    let later = at(20_000 + 3_600_000 + 10 * 600_000);
    penalties.sweep(later);
    assert_eq!(penalties.kept(&policy, later.tick), (0, 0), "time frees every slot");
    assert_eq!(penalties.bans(later), []);
}

#[test]
fn bans_are_bounded_and_the_longest_stay() {
    let penalties = penalties();
    let subject = |number: usize| BanKey::Subject(format!("s{number}").into());
    penalties.ban(at(0), subject(BANS_MAX + 1), Millis(1_000_000), "operator");
    for number in 0..=BANS_MAX {
        penalties.ban(at(0), subject(number), Millis(1_000 + number as u64), "operator");
    }
    let bans = penalties.bans(at(0));
    assert_eq!(bans.len(), BANS_MAX);
    assert_eq!(bans.first().unwrap().key, subject(BANS_MAX + 1));
    assert!(!bans.iter().any(|ban| ban.key == subject(0)), "the shortest made place");
}

#[test]
fn bans_are_listed_lifted_exported_and_imported() {
    let (penalties, policy) = (penalties(), PenaltyPolicy::default());
    let (_, when) = until_out(&penalties, &policy, 0);
    let session = BanKey::Session(SessionId([7; 16]));
    penalties.ban(at(when), session.clone(), Millis(30_000), "operator");
    penalties.ban(at(when), BanKey::prefix_of("2001:db8:1:2:3::9".parse().unwrap()), Millis(1), "operator");
    let bans = penalties.bans(at(when));
    let names: Vec<_> = bans.iter().map(|ban| ban.key.to_string()).collect();
    assert_eq!(names, ["session:07070707070707070707070707070707", "subject:ann", "prefix:2001:db8:1:2::/64"]);
    assert_eq!(penalties.in_force(at(when).tick), [("session", 1), ("subject", 1), ("prefix", 1)]);
    assert_eq!(penalties.take_news().len(), 3);

    // Another run: other prints, another tick, the same wall clock.
    let next = Penalties::new(64, PrintKey::new([9; 16]));
    let now = Now { tick: Tick(5), unix: UnixMs(UNIX + when + 5_000) };
    assert_eq!(next.import(bans, now), 2, "one is over");
    assert_eq!(next.take_news(), []);
    let ann = PrintKey::new([9; 16]).print(b's', b"ann");
    assert_eq!(next.banned(ann, now.tick), Some(Millis(10_000)));
    assert_eq!(next.session_banned(SessionId([7; 16]), now.tick), Some(Millis(25_000)));
    assert!(next.lift(now, &BanKey::Subject("ann".into())));
    assert!(!next.lift(now, &BanKey::Subject("ann".into())), "only once");
    assert_eq!(next.banned(ann, now.tick), None);
    let after = Now { tick: Tick(60_000), unix: UnixMs(UNIX + when + 65_000) };
    next.sweep(after);
    let news = next.take_news();
    assert!(matches!(news.as_slice(), [News::Lifted(_), News::Ended(ended)] if ended.key == session), "{news:?}");
}

#[test]
fn keys_are_read_as_they_are_written() {
    for (text, want) in [
        ("subject:ann", Some("subject:ann")),
        ("subject:a:b", Some("subject:a:b")),
        ("prefix:192.0.2.7", Some("prefix:192.0.2.7/32")),
        ("prefix:192.0.2.7/32", Some("prefix:192.0.2.7/32")),
        ("prefix:::ffff:192.0.2.7", Some("prefix:192.0.2.7/32")),
        ("prefix:2001:db8:1:2:3::9/64", Some("prefix:2001:db8:1:2::/64")),
        ("session:000102030405060708090a0b0c0d0eff", Some("session:000102030405060708090a0b0c0d0eff")),
        ("prefix:192.0.2.0/24", None),
        ("prefix:2001:db8::/32", None),
        ("subject:", None),
        ("session:12", None),
        ("ann", None),
    ] {
        assert_eq!(text.parse::<BanKey>().ok().map(|key| key.to_string()).as_deref(), want, "{text}");
    }
}
