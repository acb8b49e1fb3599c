//! The keys that an issuer publishes (`auth.jwks`): fetched at start, refreshed, rotated by `kid`, and given up when the
//! issuer cannot be asked for too long.
//!
//! Attacks: a key that the issuer withdrew and this server still trusts (CWE-324: a refresh each `auth.jwks_refresh`, an
//! end after `auth.jwks_stale_max`); strangers who make this server ask the issuer (CWE-400: `schedule.rs`); an answer
//! that is too long, too slow, from elsewhere or no key set (`fetch`, and the strict reading of the core). Whatever is
//! wrong with an answer, the keys of the last good one stay until they are too old; then no token of the issuer is good.
//!
//! # Specification
//! RFC 7517 §5; RFC 8725 §3.9, §3.10; OWASP ASVS 5.0 9.1.3, 12.2.1, 13.2.4

mod address;
mod fetch;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use wsguard::Guard;
use wsguard::core::time::{Millis, Tick};
use wsguard::core::token::KeySet;
use wsguard::core::trust::KeyWatch;

pub use address::{Address, AddressInvalid};
use fetch::Fetcher;
pub use fetch::FetcherError;
use schedule::Schedule;

use crate::journal::{Entry, Journal, Outcome};
use crate::keyholder::Keyholder;

/// `auth.jwks` and what belongs to it.
#[derive(Clone, Debug)]
pub struct JwksSource {
    /// `auth.jwks`
    pub address: Address,
    /// `auth.jwks_ca`: PEM of the authorities to trust in place of the system's.
    pub authority: Option<PathBuf>,
    /// `auth.jwks_refresh`: 5 min by default.
    pub refresh: Millis,
    /// `auth.jwks_stale_max`: 6 h by default.
    pub stale_max: Millis,
}

impl JwksSource {
    /// Whether keys can be fetched at all: what a start would refuse, without asking the issuer.
    ///
    /// # Errors
    /// Roots that cannot be read, or a host that no certificate can name.
    pub fn check(&self) -> Result<(), FetcherError> {
        Fetcher::new(self.address.clone(), self.authority.as_deref()).map(drop)
    }
}

/// Counts of one source, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct JwksStats {
    pub(crate) fetched: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Keys of the issuer in force.
    pub(crate) keys: AtomicU64,
}

/// Asks the issuer and puts its keys in force.
pub(crate) struct Jwks {
    fetcher: Fetcher,
    schedule: Schedule,
    holder: Arc<Keyholder>,
    journal: Arc<Journal>,
    wake: Arc<Wake>,
    stats: Arc<JwksStats>,
}

/// Wakes the task when a token names an unknown key: at most once between two fetches, however many there are.
#[derive(Debug, Default)]
struct Wake {
    asked: AtomicBool,
    notify: Notify,
}

struct Watch(Arc<Wake>);

impl KeyWatch for Watch {
    fn unknown_key(&self) {
        // A look first: in a storm the line stays shared among the threads.
        if !self.0.asked.load(Ordering::Relaxed) && !self.0.asked.swap(true, Ordering::Relaxed) {
            self.0.notify.notify_one();
        }
    }
}

impl Jwks {
    /// Makes ready to ask `source` for the keys of `guard`.
    ///
    /// # Errors
    /// As [`JwksSource::check`].
    pub(crate) fn new(
        source: &JwksSource,
        guard: &Guard,
        holder: Arc<Keyholder>,
        journal: Arc<Journal>,
    ) -> Result<Self, FetcherError> {
        let wake = Arc::<Wake>::default();
        let watched = guard.context().watch_keys(Box::new(Watch(Arc::clone(&wake))));
        debug_assert!(watched, "one source watches a guard");
        Ok(Self {
            fetcher: Fetcher::new(source.address.clone(), source.authority.as_deref())?,
            schedule: Schedule::new(source.refresh, source.stale_max, now()),
            holder,
            journal,
            wake,
            stats: Arc::default(),
        })
    }

    /// The counts.
    pub(crate) fn stats(&self) -> &Arc<JwksStats> {
        &self.stats
    }

    /// Does what is due at `now`: gives up keys that are too old, asks the issuer.
    pub(crate) async fn step(&mut self, now: Tick) {
        if self.schedule.has_gone_stale(now) {
            // Without the issuer's keys those of the files stood together before, so they do.
            let _ = self.holder.set_issuer(Vec::new());
            self.stats.keys.store(0, Ordering::Relaxed);
            self.tell("jwks_expired", Outcome::Failure, "the known keys are too old: no token of theirs is good");
        }
        if !self.schedule.begins(now) {
            return;
        }
        match self.fetch().await {
            Ok((keys, ignored, changed)) => {
                self.schedule.succeeded(now);
                self.stats.fetched.fetch_add(1, Ordering::Relaxed);
                self.stats.keys.store(u64::try_from(keys).unwrap_or(u64::MAX), Ordering::Relaxed);
                if changed {
                    self.tell("jwks_changed", Outcome::Success, &format!("{keys} keys in force, {ignored} ignored"));
                }
            }
            Err(fault) => {
                self.schedule.failed(now, random());
                self.stats.failed.fetch_add(1, Ordering::Relaxed);
                self.tell("jwks_failed", Outcome::Failure, &fault);
            }
        }
        self.wake.asked.store(false, Ordering::Relaxed);
    }

    /// Asks and applies: keys in force, entries ignored, whether anything changed.
    async fn fetch(&self) -> Result<(usize, usize, bool), String> {
        let body = self.fetcher.fetch().await.map_err(|error| error.to_string())?;
        let set =
            KeySet::parse(&self.fetcher.address().to_string(), &body).map_err(|error| error.fault().to_string())?;
        let (keys, ignored) = (set.keys.len(), set.ignored);
        let changed = self.holder.set_issuer(set.keys).map_err(|error| error.to_string())?;
        Ok((keys, ignored, changed))
    }

    /// Goes on until the task is dropped.
    pub(crate) async fn keep(mut self) {
        loop {
            let wait = Duration::from_millis(self.schedule.next().since(now()).0);
            tokio::select! {
                () = tokio::time::sleep(wait) => self.step(now()).await,
                () = self.wake.notify.notified() => self.schedule.unknown_key(now()),
            }
        }
    }

    fn tell(&self, action: &'static str, outcome: Outcome, detail: &str) {
        let address = self.fetcher.address();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let detail = Some(format!("{address}: {detail}"));
        self.journal.record(Entry { detail, ..Entry::new(u64::try_from(unix).unwrap_or(u64::MAX), action, outcome) });
    }
}

fn now() -> Tick {
    Tick(wsguard::monotonic_ms())
}

/// Spreads retries; without randomness they are not spread, and nothing else depends on it.
fn random() -> u16 {
    let mut bytes = [0; 2];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use wsguard::core::time::{Now, UnixMs};
    use wsguard::core::token::{Algorithm, MintClaims, SigningKey, TokenError, mint};

    use super::fetch::tests::Issuer;
    use super::*;
    use crate::config::{LogFormat, LogTarget};
    use crate::journal::Options;
    use crate::keyholder::tests::guard;

    const UNIX: UnixMs = UnixMs(1_700_000_000_000);

    /// A key of the issuer: its entry in the set, and what signs.
    struct Pair {
        jwk: String,
        signing: SigningKey,
    }

    impl Pair {
        fn new(id: &str) -> Self {
            let file = crate::keys::generate(Algorithm::EdDsa).unwrap();
            let signing = SigningKey::parse(id, format!("kid: {id}\n{}", *file.private).as_bytes()).unwrap();
            let pem = file.public_pem.unwrap();
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
            let x = URL_SAFE_NO_PAD.encode(&der[12..]);
            Self { jwk: format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{x}"}}"#), signing }
        }

        fn token(&self) -> String {
            mint(&self.signing, &MintClaims::new("ann", UNIX.after(Millis(60_000)))).unwrap()
        }
    }

    fn set(pairs: &[&Pair]) -> String {
        let keys: Vec<&str> = pairs.iter().map(|pair| &*pair.jwk).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    struct Setting {
        issuer: Issuer,
        guard: Guard,
        jwks: Jwks,
        start: Tick,
    }

    impl Setting {
        async fn new() -> Self {
            let (issuer, guard) = (Issuer::start().await, guard());
            let source = JwksSource {
                address: issuer.address.clone(),
                authority: None,
                refresh: Millis(300_000),
                stale_max: Millis(3_600_000),
            };
            let options = Options {
                target: LogTarget::File("/dev/null".into()),
                format: LogFormat::Human,
                key: None,
                checkpoints: None,
                rotate_bytes: u64::MAX,
                keep_files: 1,
            };
            let journal = Arc::new(Journal::open(options).unwrap());
            let holder = Arc::new(Keyholder::new(guard.clone()));
            let jwks = Jwks::new(&source, &guard, holder, journal).unwrap();
            let start = now();
            Self { issuer, guard, jwks, start }
        }

        async fn at(&mut self, ms: u64) {
            self.jwks.step(self.start.after(Millis(ms))).await;
        }

        fn judge(&self, pair: &Pair) -> Result<(), TokenError> {
            let now = Now { tick: self.start, unix: UNIX };
            self.guard.context().identify(now, &pair.token()).map(drop)
        }

        /// What the task does when the watch wakes it.
        fn woken(&mut self, ms: u64) -> bool {
            let asked = self.jwks.wake.asked.load(Ordering::Relaxed);
            if asked {
                self.jwks.schedule.unknown_key(self.start.after(Millis(ms)));
            }
            asked
        }
    }

    #[tokio::test]
    async fn a_rotation_is_followed_by_kid() {
        let (old, new) = (Pair::new("old"), Pair::new("new"));
        let mut world = Setting::new().await;
        world.issuer.publishes(&set(&[&old]));
        assert_eq!(world.judge(&old), Err(TokenError::KeyUnknown), "no key before the first answer");
        world.at(0).await;
        assert_eq!(world.judge(&old), Ok(()));

        world.issuer.publishes(&set(&[&old, &new]));
        assert_eq!(world.judge(&new), Err(TokenError::KeyUnknown));
        assert!(world.woken(1_000), "the unknown key was told");
        world.at(1_000).await;
        assert_eq!((world.judge(&old), world.judge(&new)), (Ok(()), Ok(())));

        world.issuer.publishes(&set(&[&new]));
        let identity = world.guard.context().identify(Now { tick: world.start, unix: UNIX }, &old.token()).unwrap();
        world.at(301_000).await;
        assert_eq!((world.judge(&old), world.judge(&new)), (Err(TokenError::KeyUnknown), Ok(())), "withdrawn");
        assert!(!world.guard.context().key_is_known(&identity), "an open socket can be asked");
        assert_eq!(world.issuer.asked(), 3);
    }

    #[tokio::test]
    async fn a_storm_of_unknown_keys_does_not_reach_the_issuer() {
        let known = Pair::new("known");
        let mut world = Setting::new().await;
        world.issuer.publishes(&set(&[&known]));
        world.at(0).await;
        let stranger = Pair::new("stranger");
        for ms in (1..=59_000).step_by(59) {
            for _ in 0..3 {
                assert_eq!(world.judge(&stranger), Err(TokenError::KeyUnknown));
            }
            world.woken(ms);
            world.at(ms).await;
        }
        assert_eq!(world.issuer.asked(), 1 + 2, "the first, and what the bucket holds");
        assert_eq!(world.judge(&known), Ok(()));
    }

    #[tokio::test]
    async fn a_refresh_without_news_keeps_what_was_verified() {
        let known = Pair::new("known");
        let mut world = Setting::new().await;
        world.issuer.publishes(&set(&[&known]));
        world.at(0).await;
        assert_eq!(world.judge(&known), Ok(()));
        world.at(300_000).await;
        assert_eq!((world.issuer.asked(), world.guard.context().verified_tokens()), (2, 1));
    }

    #[tokio::test]
    async fn a_lost_issuer_is_trusted_for_a_while_and_then_not() {
        let known = Pair::new("known");
        let private = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA"}]}"#;
        for (name, answer) in [
            ("garbage", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage".to_owned()),
            ("an error", "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}".to_owned()),
            ("another's redirect", "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_owned()),
            ("a private key", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{private}", private.len())),
        ] {
            let mut world = Setting::new().await;
            world.issuer.publishes(&set(&[&known]));
            world.at(0).await;
            world.issuer.says(answer);
            for ms in [300_000, 1_000_000, 3_599_999] {
                world.at(ms).await;
                assert_eq!(world.judge(&known), Ok(()), "{name} at {ms}");
            }
            world.at(3_600_000).await;
            assert_eq!(world.judge(&known), Err(TokenError::KeyUnknown), "{name}: too old");
            assert_eq!(world.jwks.stats.keys.load(Ordering::Relaxed), 0, "{name}");
            world.issuer.publishes(&set(&[&known]));
            world.at(4_000_000).await;
            assert_eq!(world.judge(&known), Ok(()), "{name}: it is back");
        }
    }

    #[tokio::test]
    async fn an_empty_set_withdraws_every_key() {
        let known = Pair::new("known");
        let mut world = Setting::new().await;
        world.issuer.publishes(&set(&[&known]));
        world.at(0).await;
        world.issuer.publishes(r#"{"keys":[]}"#);
        world.at(300_000).await;
        assert_eq!(world.judge(&known), Err(TokenError::KeyUnknown));
    }
}
