//! Tokens whose signature was checked before, so that a storm of reconnects does not check 10,000 of them again.
//!
//! The cache only ever says yes. A token that is not in it, whose times no longer hold, or whose keys changed takes the
//! whole way of [`super::verify`], which finds the cause: so a refusal takes as long as without a cache and tells
//! nobody that a token was good once.
//!
//! Attacks: a token that stays good because it was (every hit compares the times; the generation of the keys and the
//! issuer and audience that were asked for are part of the match; revocation is asked behind the cache); memory that strangers fill (only verified tokens enter; shards
//! and ways are fixed and long tokens stay outside); a cache that gives tokens away (it holds SHA-256 hashes); two
//! tokens taken for one (the whole hash is compared, and nobody finds a second text for a SHA-256).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;

use super::claims::Claims;
use super::verify::{Leeway, TokenPolicy};
use crate::time::UnixMs;

/// Shards, each with a lock of its own, held for some ten nanoseconds.
const SHARDS: usize = 256;

/// Entries of a shard. A hit compares their hashes one after the other.
const WAYS: usize = 64;

/// Most tokens that are remembered. With 10,000 subjects who come back at once, one in ten thousand shares a full shard.
pub const VERIFIED_MAX: usize = SHARDS * WAYS;

/// Longest token that is remembered, in bytes: usual ones have 200 to 1,200. It bounds what the claims of a full cache
/// can take to about 32 MiB, all of it by tokens that the issuer signed.
pub const CACHED_TOKEN_BYTES_MAX: usize = 2_048;

/// Claims of verified tokens, by a hash of the token and of what was asked of it.
///
/// ```
/// use std::sync::Arc;
/// use wsguard_core::time::UnixMs;
/// use wsguard_core::token::{Key, KeyRing, MintClaims, SigningKey, TokenPolicy, Verified, mint, verify};
///
/// let file = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// let (now, end) = (UnixMs(1_700_000_000_000), UnixMs(1_700_000_060_000));
/// let token = mint(&SigningKey::parse("demo", file)?, &MintClaims::new("ann", end))?;
/// let ring = KeyRing::new(vec![Key::parse("demo", file)?])?;
/// let policy = TokenPolicy::default();
///
/// let cache = Verified::default();
/// let print = Verified::print(&policy, &token);
/// let claims = Arc::new(verify(&ring, &policy, now, &token)?);
/// cache.remember(&print, 1, Arc::clone(&claims));
/// assert_eq!(cache.recall(&print, 1, now, policy.leeway), Some(claims));
/// assert_eq!(cache.recall(&print, 2, now, policy.leeway), None, "the keys changed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Verified {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Default)]
struct Shard {
    /// INVARIANT: at most [`WAYS`]; memory comes with the first entries.
    entries: Vec<Entry>,
    /// Grows with each hit and entry.
    clock: u64,
}

struct Entry {
    print: [u8; 32],
    generation: u64,
    used: u64,
    claims: Arc<Claims>,
}

impl Default for Verified {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Verified {
    /// The SHA-256 of `token` and of what `policy` asks beyond its times: a verdict under one issuer and audience is none
    /// under another.
    pub fn print(policy: &TokenPolicy, token: &str) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [&policy.issuer, &policy.audience] {
            // The length, or one that no text has: no two policies write the same bytes.
            let length = part.as_ref().map_or(u64::MAX, |part| u64::try_from(part.len()).unwrap_or(u64::MAX));
            hash.update(&length.to_le_bytes());
            hash.update(part.as_deref().unwrap_or_default().as_bytes());
        }
        hash.update(token.as_bytes());
        let mut out = [0; 32];
        // SHA-256 is 32 bytes long, so the zip covers all of both.
        for (to, from) in out.iter_mut().zip(hash.finish().as_ref()) {
            *to = *from;
        }
        out
    }

    /// The claims of the token with this print, if it was verified under the keys of `generation` and its times hold
    /// at `now`. One that has ended, or is of another generation, is forgotten.
    ///
    /// `generation`: grows whenever the keys change.
    pub fn recall(&self, print: &[u8; 32], generation: u64, now: UnixMs, leeway: Leeway) -> Option<Arc<Claims>> {
        self.shard(print, |shard| {
            let place = shard.entries.iter().position(|entry| entry.print == *print)?;
            let stamp = shard.tick();
            let entry = shard.entries.get_mut(place)?;
            if entry.generation == generation && entry.claims.times(now, leeway).is_ok() {
                entry.used = stamp;
                return Some(Arc::clone(&entry.claims));
            }
            shard.entries.swap_remove(place);
            None
        })
    }

    /// Remembers that the token with this print says `claims`, by the keys of `generation`. In a full shard what is of
    /// an older generation goes first, then what was not used for longest.
    pub fn remember(&self, print: &[u8; 32], generation: u64, claims: Arc<Claims>) {
        self.shard(print, |shard| {
            let entry = Entry { print: *print, generation, used: shard.tick(), claims };
            let same = shard.entries.iter().position(|known| known.print == *print);
            let place = same.or_else(|| {
                let full = shard.entries.len() >= WAYS;
                let oldest =
                    || shard.entries.iter().enumerate().min_by_key(|(_, known)| (known.generation, known.used));
                full.then(oldest).flatten().map(|(place, _)| place)
            });
            match place.and_then(|place| shard.entries.get_mut(place)) {
                // A slower handshake that still saw the older keys does not push the newer verdict out.
                Some(known) if same.is_some() && known.generation > generation => {}
                Some(known) => *known = entry,
                None => shard.entries.push(entry),
            }
        });
    }

    /// Forgets every token and gives the memory back. A change of generation alone makes them unreachable; this makes
    /// them gone.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    /// How many tokens are remembered, [`VERIFIED_MAX`] at most.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).entries.len();
        self.shards.iter().map(count).fold(0, usize::saturating_add)
    }

    /// Whether [`Self::len`] is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard<T>(&self, print: &[u8; 32], act: impl FnOnce(&mut Shard) -> T) -> T {
        let [first, ..] = print;
        match self.shards.get(usize::from(*first)) {
            Some(shard) => act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)),
            None => act(&mut Shard::default()),
        }
    }
}

impl Shard {
    fn tick(&mut self) -> u64 {
        self.clock = self.clock.wrapping_add(1);
        self.clock
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Millis;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn claims(subject: &str, not_before: u64, issued_at: u64, expires_at: u64) -> Arc<Claims> {
        let mut claims = Claims::development(subject, UnixMs(expires_at));
        claims.not_before = Some(UnixMs(not_before));
        claims.issued_at = Some(UnixMs(issued_at));
        Arc::new(claims)
    }

    /// A hash that falls into shard `shard`.
    fn print(shard: u8, number: u64) -> [u8; 32] {
        let mut print = [0; 32];
        print[0] = shard;
        print[8..16].copy_from_slice(&number.to_be_bytes());
        print
    }

    #[test]
    fn every_hit_is_judged_anew() {
        let (from, end) = (NOW.0 + 1_000, NOW.0 + 60_000);
        for (name, generation, at, leeway_ms, hit) in [
            ("good", 3, NOW.0 + 30_000, 0, true),
            ("one ms before the end", 3, end - 1, 0, true),
            ("ended", 3, end, 0, false),
            ("ended within the leeway", 3, end + 4_999, 5_000, true),
            ("ended beyond the leeway", 3, end + 5_000, 5_000, false),
            ("not yet good", 3, NOW.0, 0, false),
            ("not yet good, within the leeway", 3, NOW.0, 1_000, true),
            ("the keys changed", 4, NOW.0 + 30_000, 0, false),
            ("keys of before", 2, NOW.0 + 30_000, 0, false),
        ] {
            let cache = Verified::default();
            let known = claims("ann", from, NOW.0, end);
            cache.remember(&print(1, 1), 3, Arc::clone(&known));
            let leeway = Leeway::new(Millis(leeway_ms)).unwrap();
            let got = cache.recall(&print(1, 1), generation, UnixMs(at), leeway);
            assert_eq!(got, hit.then_some(known), "{name}");
            assert_eq!(cache.len(), usize::from(hit), "{name}: what is no longer good is forgotten");
        }
    }

    #[test]
    fn the_clock_that_goes_back_is_no_door() {
        let cache = Verified::default();
        cache.remember(&print(1, 1), 1, claims("ann", 0, NOW.0, NOW.0 + 60_000));
        let before = UnixMs(NOW.0 - 1);
        assert_eq!(cache.recall(&print(1, 1), 1, before, Leeway::NONE), None, "issued in the future");
    }

    #[test]
    fn a_full_shard_keeps_what_is_used() {
        let cache = Verified::default();
        let good = claims("ann", 0, 0, u64::MAX);
        let ways = u64::try_from(WAYS).unwrap();
        for number in 0..ways {
            cache.remember(&print(7, number), 1, Arc::clone(&good));
        }
        let known = |number| cache.recall(&print(7, number), 1, NOW, Leeway::NONE).is_some();
        assert!(known(0), "used again");
        cache.remember(&print(7, ways), 1, Arc::clone(&good));
        assert!(known(0) && known(ways) && !known(1), "the one not used for longest went");
        assert_eq!(cache.len(), WAYS);
        // Of another generation, it goes before all that are younger, however recently it was used.
        cache.remember(&print(7, 2), 2, Arc::clone(&good));
        for number in 100..100 + ways - 1 {
            cache.remember(&print(7, number), 2, Arc::clone(&good));
        }
        assert!(cache.recall(&print(7, 2), 2, NOW, Leeway::NONE).is_some());
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn a_late_verdict_of_older_keys_replaces_no_newer_one() {
        let cache = Verified::default();
        let (newer, older) = (claims("new", 0, 0, u64::MAX), claims("old", 0, 0, u64::MAX));
        cache.remember(&print(1, 1), 2, Arc::clone(&newer));
        cache.remember(&print(1, 1), 1, older);
        assert_eq!(cache.recall(&print(1, 1), 2, NOW, Leeway::NONE), Some(newer));
    }

    #[test]
    fn ten_thousand_subjects_have_room() {
        let cache = Verified::default();
        let good = claims("ann", 0, 0, u64::MAX);
        let prints: Vec<[u8; 32]> = (0..10_000).map(|n| super::super::fingerprint(&format!("token {n}"))).collect();
        for print in &prints {
            cache.remember(print, 1, Arc::clone(&good));
        }
        let hits = prints.iter().filter(|print| cache.recall(print, 1, NOW, Leeway::NONE).is_some()).count();
        assert!(hits >= 9_990, "{hits}");
    }

    #[test]
    fn what_was_asked_is_part_of_the_print() {
        let policy = |issuer: Option<&str>, audience: Option<&str>| TokenPolicy {
            issuer: issuer.map(Box::from),
            audience: audience.map(Box::from),
            ..TokenPolicy::default()
        };
        let prints: std::collections::BTreeSet<_> = [
            (policy(None, None), "abc"),
            (policy(Some(""), None), "abc"),
            (policy(None, Some("")), "abc"),
            (policy(Some("a"), None), "bc"),
            (policy(Some("ab"), None), "c"),
            (policy(None, Some("a")), "bc"),
            (policy(Some("a"), Some("b")), "c"),
            (policy(Some("b"), Some("a")), "c"),
            (policy(None, None), "abcd"),
        ]
        .iter()
        .map(|(policy, token)| Verified::print(policy, token))
        .collect();
        assert_eq!(prints.len(), 9);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Remember(u64, u64, u64),
        Recall(u64, u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Two shards, few generations and times: collisions of everything with everything.
        let fields = || (0..200_u64, 1..4_u64, 0..50_u64);
        prop_oneof![
            fields().prop_map(|(n, generation, end)| Step::Remember(n, generation, end)),
            fields().prop_map(|(n, generation, now)| Step::Recall(n, generation, now)),
        ]
    }

    proptest! {
        /// Whatever was done before: a hit is what was last remembered for that token and generation, and still good.
        #[test]
        fn a_hit_is_never_a_guess(steps in proptest::collection::vec(step(), 0..600)) {
            let cache = Verified::default();
            let mut model = std::collections::HashMap::new();
            for step in steps {
                match step {
                    Step::Remember(n, generation, end) => {
                        let said = claims(&format!("{n}.{generation}.{end}"), 0, 0, end);
                        cache.remember(&print((n % 2) as u8, n), generation, Arc::clone(&said));
                        model.insert((n, generation), said);
                    }
                    Step::Recall(n, generation, now) => {
                        let got = cache.recall(&print((n % 2) as u8, n), generation, UnixMs(now), Leeway::NONE);
                        if let Some(got) = got {
                            prop_assert_eq!(Some(&got), model.get(&(n, generation)));
                            prop_assert!(UnixMs(now) < got.expires_at);
                        }
                    }
                }
                prop_assert!(cache.len() <= VERIFIED_MAX);
                for shard in &cache.shards {
                    prop_assert!(shard.lock().unwrap().entries.len() <= WAYS);
                }
            }
        }
    }
}
