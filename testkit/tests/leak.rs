//! A million keys that come once and never again leave nothing behind, and take nobody's quota.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests: an overflow would fail them")]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use wsguard_core::control::penalty::{Payer, Penalties, PenaltyPolicy, Weight};
use wsguard_core::control::rate::{Limiter, PrintKey, Quota, Quotas, RatePolicy};
use wsguard_core::control::session::{Seats, SessionPolicy};
use wsguard_core::time::{Millis, Now, Tick, UnixMs};
use wsguard_core::verdict::ControlId;

const KEYS: u64 = 1_000_000;

/// Keys after which every table has been used from end to end.
const WARM: u64 = 200_000;

/// What the process may grow by after that: the allocator's own play, and less than one byte for each key.
const GROWTH_MAX: u64 = 768 * 1_024;

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[test]
fn a_million_churned_keys_leave_no_memory_and_take_nobodys_quota() {
    let key = PrintKey::new([7; 16]);
    let policy =
        RatePolicy { table_keys: 4_096, server: Quota::new(100_000_000, 100_000_000), ..RatePolicy::default() };
    let limiter = Limiter::new(policy.table_keys, key);
    let quotas = Quotas::new(policy);
    let (ladder, penalties) = (PenaltyPolicy::default(), Penalties::new(4_096, key));
    let (seats, sessions) = (Arc::new(Seats::default()), SessionPolicy::default());
    let typed = Quota::new(5, 5);
    let mut before = 0;
    for number in 0..KEYS {
        if number == WARM {
            before = resident();
        }
        // Fifty new ones a millisecond, each from a prefix and with a name of its own.
        let now = Now { tick: Tick(1_000 + number / 50), unix: UnixMs(1_700_000_000_000 + number / 50) };
        let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(number) << 64) | 1));
        let name = format!("subject-{number}");
        let (prefixes, subject) = (limiter.prefixes_of(address), limiter.print_of(&name));
        let _ = limiter.handshake(&quotas, prefixes, now.tick);
        let _ = limiter.foreign(&quotas, prefixes, now.tick);
        let _ = limiter.message(&quotas, Some(subject), prefixes, now.tick, 200);
        let _ = limiter.typed(subject, 1, &typed, now.tick);
        for payer in [Payer::Prefix(prefixes.fine, address), Payer::Subject(subject, &name)] {
            let step =
                penalties.offend(&ladder, now, payer, None, Weight::of(ControlId::Credential), ControlId::Credential);
            assert!(step.step.kept_out().is_none(), "{name} has offended once");
        }
        assert!(seats.take(subject, &sessions).is_some(), "{name} is alone");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown <= GROWTH_MAX, "{grown} bytes more after {} further keys", KEYS - WARM);

    // A moment later, somebody who was not there has the whole quota and no more.
    let now = Tick(1_000 + KEYS / 50 + 10_000);
    let (prefixes, ann) = (limiter.prefixes_of("192.0.2.7".parse().unwrap()), limiter.print_of("ann"));
    for _ in 0..60 {
        assert_eq!(limiter.message(&quotas, Some(ann), prefixes, now, 10), Ok(()));
    }
    assert_eq!(limiter.message(&quotas, Some(ann), prefixes, now, 10), Err(("messages_of_subject", Millis(50))));
    assert_eq!(penalties.bans(Now { tick: now, unix: UnixMs(0) }), []);
}
