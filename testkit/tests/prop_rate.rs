//! Property: whatever the pattern of arrivals, no window sees more than its burst and what refilled in it.
#![allow(clippy::arithmetic_side_effects, reason = "tests: an overflow would fail them")]

use proptest::collection::vec;
use proptest::prelude::*;
use wsguard_core::control::rate::{Bucket, Charge, PrintKey, Quota, RateTable};
use wsguard_core::time::Tick;

/// Gaps in milliseconds and sizes: bursts at one instant, trickles, long silences.
fn arrivals() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![4 => Just(0_u64), 4 => 0_u64..80, 1 => 0_u64..5_000];
    vec((gap, 1_u32..50), 1..300)
}

/// In every window that begins and ends with an arrival: taken <= burst + rate * time, in exact arithmetic.
fn within(taken: &[(u64, u64)], per_second: u32, burst: u32) -> Result<(), TestCaseError> {
    for (first, (begin, _)) in taken.iter().enumerate() {
        let mut sum = 0_u64;
        for (end, units) in taken.iter().skip(first) {
            sum += units;
            let most = u64::from(burst) * 1_000_000 + u64::from(per_second) * (end - begin) * 1_000;
            // The price of a unit is a whole number of nanoseconds, so a rate may be above its name by one part in
            // the price: the allowance is that part, and never a whole unit.
            let price = 1_000_000_000 / u64::from(per_second);
            let rounding = u64::from(per_second) * (end - begin) * 1_000 / price;
            prop_assert!(sum * 1_000_000 <= most + rounding, "{sum} units between {begin} and {end} ms");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_bucket_never_gives_more_than_its_quota(
        per_second in 1_u32..1_000, burst in 1_u32..200, start in 0_u64..1_000_000, arrivals in arrivals()
    ) {
        let (quota, mut bucket) = (Quota::new(per_second, burst), Bucket::default());
        let (mut now, mut taken) = (start, Vec::new());
        for (gap, units) in arrivals {
            now += gap;
            let before = bucket;
            match quota.charge(&mut bucket, Tick(now), units) {
                Ok(()) => taken.push((now, u64::from(units))),
                Err(wait) => {
                    prop_assert_eq!(bucket, before, "a refused charge takes nothing");
                    if units <= burst {
                        let mut later = bucket;
                        prop_assert!(quota.charge(&mut later, Tick(now + wait.0), units).is_ok(), "the wait is enough");
                        let mut early = bucket;
                        let just_before = Tick(now + wait.0.saturating_sub(1));
                        prop_assert!(quota.charge(&mut early, just_before, units).is_err(), "and no longer than needed");
                    }
                }
            }
        }
        within(&taken, per_second, burst)?;
    }

    #[test]
    fn a_table_gives_no_key_more_than_its_quota(
        per_second in 1_u32..200, burst in 1_u32..50, size in 1_u32..5_000, keys in 1_usize..40, arrivals in arrivals()
    ) {
        // Eight slots for up to forty keys: slots change hands all the time.
        let table = RateTable::new(8);
        let prints = PrintKey::new([7; 16]);
        let (count, bytes) = (Quota::new(per_second, burst), Quota::new(size, size));
        let mut now = 0;
        let mut taken = vec![(Vec::new(), Vec::new()); keys];
        for (gap, choice) in arrivals {
            now += gap;
            let key = choice as usize % keys;
            let print = prints.print(0, &key.to_be_bytes());
            match table.charge(print, Tick(now), &count, Some((&bytes, choice))) {
                Charge::Taken => {
                    if let Some((counted, sized)) = taken.get_mut(key) {
                        counted.push((now, 1));
                        sized.push((now, u64::from(choice)));
                    }
                }
                Charge::Over(wait) => prop_assert!(wait.0 > 0),
                Charge::NoSlot => prop_assert!(keys > 8, "eight keys have eight slots"),
            }
        }
        for (counted, sized) in taken {
            within(&counted, per_second, burst)?;
            within(&sized, size, size)?;
        }
    }
}
