//! Which keys are trusted now: a ring that is swapped in one step, and what was verified with it.
//!
//! Attacks: a key that was withdrawn and still opens doors (CWE-324, CWE-613: the swap empties the cache of verified
//! tokens, and open sockets ask [`Context::key_is_known`]); a key that took over the name of another (sockets are asked
//! for the key's thumbprint, not for its `kid`); a change that half of a handshake sees (ring and generation are read
//! together, once).
//!
//! # Specification
//! OWASP ASVS 5.0 9.1.3, 11.1.2, 7.4.1

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::policy::{Context, Identity};
use crate::time::UnixMs;
use crate::token::{self, Claims, KeyRing, TokenError, TokenPolicy, Verified};

/// Learns that a token named a key that nobody here knows: its issuer may have a new one.
pub trait KeyWatch: Send + Sync {
    /// A token with an unknown `kid` was refused. Strangers can provoke this at any rate, and it is called on the
    /// handshake's path: count, wake, return.
    fn unknown_key(&self);
}

/// The keys in force and their consequences.
pub(crate) struct Trust {
    current: ArcSwap<Current>,
    verified: Verified,
    watch: OnceLock<Box<dyn KeyWatch>>,
}

struct Current {
    ring: KeyRing,
    /// Grows with each change; part of every entry of the cache.
    generation: u64,
}

impl Trust {
    pub(crate) fn new(ring: KeyRing) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current { ring, generation: 0 }),
            verified: Verified::default(),
            watch: OnceLock::new(),
        }
    }

    /// Verifies `token`, or remembers that it was verified.
    pub(crate) fn verify(&self, policy: &TokenPolicy, now: UnixMs, token: &str) -> Result<Arc<Claims>, TokenError> {
        let current = self.current.load();
        // What is too long for the cache is not even hashed; nothing of it depends on what the token says.
        let fits = token.len() <= token::CACHED_TOKEN_BYTES_MAX.min(policy.token_bytes_max);
        let print = fits.then(|| Verified::print(policy, token));
        if let Some(print) = &print
            && let Some(claims) = self.verified.recall(print, current.generation, now, policy.leeway)
        {
            return Ok(claims);
        }
        match token::verify(&current.ring, policy, now, token) {
            Ok(claims) => {
                let claims = Arc::new(claims);
                if let Some(print) = &print {
                    self.verified.remember(print, current.generation, Arc::clone(&claims));
                }
                Ok(claims)
            }
            Err(error) => {
                if error == TokenError::KeyUnknown
                    && let Some(watch) = self.watch.get()
                {
                    watch.unknown_key();
                }
                Err(error)
            }
        }
    }

    pub(crate) fn replace_if_other(&self, ring: &KeyRing) {
        if !self.current.load().ring.is_same_as(ring) {
            self.replace(ring);
        }
    }

    fn replace(&self, ring: &KeyRing) {
        self.current.rcu(|old| Current { ring: ring.clone(), generation: old.generation.wrapping_add(1) });
        self.verified.clear();
    }
}

impl Context {
    /// The keys that verify tokens now.
    pub fn keys(&self) -> KeyRing {
        self.trust.current.load().ring.clone()
    }

    /// Puts `ring` in force, in one step: the next handshake, first message and `auth.refresh` are judged by it, every
    /// verified token is forgotten, and the epoch moves, so that open connections ask [`Context::key_is_known`].
    pub fn replace_keys(&self, ring: &KeyRing) {
        self.trust.replace(ring);
        self.advance_epoch();
    }

    /// How many verified tokens are remembered.
    pub fn verified_tokens(&self) -> usize {
        self.trust.verified.len()
    }

    /// Whether the key that verified this identity's token is still in force: the same key, whatever its name. The
    /// development token counts as long as there is one.
    pub fn key_is_known(&self, identity: &Identity) -> bool {
        match &identity.claims.key_thumbprint {
            Some(thumbprint) => self.trust.current.load().ring.contains_thumbprint(thumbprint),
            None => self.policy().static_token.is_some(),
        }
    }

    /// Tells `watch` of tokens that name an unknown key. One watch a context; `false` when there is one already.
    pub fn watch_keys(&self, watch: Box<dyn KeyWatch>) -> bool {
        self.trust.watch.set(watch).is_ok()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("keys", &self.current.load().ring).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::policy::{Policy, Random, Secrets, StaticToken};
    use crate::time::{Millis, Now, Tick};
    use crate::token::{Key, MintClaims, SigningKey, encode_secret, mint};

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    struct Zeros;

    impl Random for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    fn file(id: &str, fill: u8) -> String {
        format!("kid: {id}\n{}", *encode_secret(&[fill; 32]))
    }

    fn ring(files: &[String]) -> KeyRing {
        KeyRing::new(files.iter().map(|file| Key::parse("test", file.as_bytes()).unwrap()).collect()).unwrap()
    }

    fn context(files: &[String]) -> Context {
        let mut policy = Policy::new(ring(files));
        policy.static_token = Some(StaticToken { token: "test_token".into(), subject: "dev".into() });
        Context::new(policy, &Secrets { csrf: [1; 32], prints: [2; 16] }, Box::new(Zeros))
    }

    fn token(file: &str, subject: &str, seconds: u64) -> String {
        let claims = MintClaims::new(subject, NOW.after(Millis::from_secs(seconds)));
        mint(&SigningKey::parse("test", file.as_bytes()).unwrap(), &claims).unwrap()
    }

    fn at(unix: u64) -> Now {
        Now { tick: Tick(0), unix: UnixMs(unix) }
    }

    #[test]
    fn a_change_of_keys_reaches_what_was_verified() {
        let (old, new, usurper) = (file("old", 1), file("new", 2), file("old", 3));
        for (name, then, identified, known) in [
            ("nothing changed", vec![old.clone()], Ok(()), true),
            ("another key came", vec![new.clone(), old.clone()], Ok(()), true),
            ("the key left", vec![new], Err(TokenError::KeyUnknown), false),
            ("another took its name", vec![usurper], Err(TokenError::SignatureInvalid), false),
            ("all left", vec![], Err(TokenError::KeyUnknown), false),
            ("the same key by another name", vec![file("renamed", 1)], Err(TokenError::KeyUnknown), true),
        ] {
            let cx = context(std::slice::from_ref(&old));
            let token = token(&old, "ann", 60);
            let identity = cx.identify(at(NOW.0), &token).unwrap();
            assert!(cx.key_is_known(&identity) && cx.verified_tokens() == 1, "{name}");
            cx.replace_keys(&ring(&then));
            assert_eq!(cx.verified_tokens(), 0, "{name}: emptied");
            assert_eq!(cx.identify(at(NOW.0), &token).map(|_| ()), identified, "{name}");
            assert_eq!(cx.key_is_known(&identity), known, "{name}");
        }
    }

    #[test]
    fn a_hit_says_what_the_whole_way_says() {
        let key = file("k", 1);
        let cx = context(std::slice::from_ref(&key));
        let good = token(&key, "ann", 60);
        let forged = format!("{}A", good.strip_suffix(char::is_alphanumeric).unwrap_or(&good));
        let end = NOW.0 + 60_000 + 5_000;
        for (name, token, unix, want) in [
            ("first", &good, NOW.0, Ok("ann")),
            ("again", &good, NOW.0 + 1, Ok("ann")),
            ("one ms before its end", &good, end - 1, Ok("ann")),
            ("ended", &good, end, Err(TokenError::Expired)),
            ("ended, again", &good, end + 1, Err(TokenError::Expired)),
            ("the clock went back", &good, NOW.0, Ok("ann")),
        ] {
            let got = cx.identify(at(unix), token).map(|identity| identity.claims.subject.to_string());
            assert_eq!(got, want.map(str::to_owned), "{name}");
        }
        assert!(cx.identify(at(NOW.0), &forged).is_err(), "a text that nearly is the token");
        assert_eq!(cx.verified_tokens(), 1, "what is refused is not remembered");
    }

    #[test]
    fn a_hit_hands_out_the_same_claims() {
        let key = file("k", 1);
        let cx = context(std::slice::from_ref(&key));
        let token = token(&key, "ann", 60);
        let (first, again) = (cx.identify(at(NOW.0), &token).unwrap(), cx.identify(at(NOW.0), &token).unwrap());
        assert!(Arc::ptr_eq(&first.claims, &again.claims), "no second verification");
        cx.replace_keys(&cx.keys());
        let anew = cx.identify(at(NOW.0), &token).unwrap();
        assert!(!Arc::ptr_eq(&first.claims, &anew.claims) && first.claims == anew.claims);
    }

    #[test]
    fn long_and_fixed_tokens_stay_outside() {
        let key = file("k", 1);
        let cx = context(std::slice::from_ref(&key));
        let scope = vec!["s".repeat(100); 30].join(" ");
        let claims = MintClaims { scope: Some(&scope), ..MintClaims::new("ann", UnixMs(NOW.0 + 60_000)) };
        let long = mint(&SigningKey::parse("test", key.as_bytes()).unwrap(), &claims).unwrap();
        assert!(long.len() > token::CACHED_TOKEN_BYTES_MAX);
        assert!(cx.identify(at(NOW.0), &long).is_ok());
        let fixed = cx.identify(at(NOW.0), "test_token").unwrap();
        assert_eq!(cx.verified_tokens(), 0);
        cx.replace_keys(&KeyRing::default());
        assert!(cx.key_is_known(&fixed), "no key signed it");
    }

    #[test]
    fn only_an_unknown_key_is_told() {
        struct Count(Arc<AtomicUsize>);
        impl KeyWatch for Count {
            fn unknown_key(&self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (ours, other) = (file("ours", 1), file("other", 2));
        let cx = context(std::slice::from_ref(&ours));
        let told = Arc::new(AtomicUsize::new(0));
        assert!(cx.watch_keys(Box::new(Count(Arc::clone(&told)))));
        assert!(!cx.watch_keys(Box::new(Count(Arc::clone(&told)))), "there is one already");
        for (name, token, want) in [
            ("good", token(&ours, "ann", 60), 0),
            ("expired", token(&ours, "ann", 0), 0),
            ("not a token", "x.y.z".to_owned(), 0),
            ("forged", token(&file("ours", 9), "ann", 60), 0),
            ("unknown key", token(&other, "ann", 60), 1),
        ] {
            told.store(0, Ordering::Relaxed);
            let _ = cx.identify(at(NOW.0 + 5_000), &token);
            assert_eq!(told.load(Ordering::Relaxed), want, "{name}");
        }
    }
}
