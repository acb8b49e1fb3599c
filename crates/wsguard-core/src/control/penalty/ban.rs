//! Bans in force: who, until when, why. The one place where names stand beside prints, and it is bounded.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::control::rate::Print;
use crate::control::session::SessionId;
use crate::fault::{self, Fault};
use crate::time::{Millis, Now, Tick, UnixMs};

/// Bans in force at once. One more replaces the one that ends first, if that ends before it: 16,384 subjects of 256
/// characters are 6 MiB.
pub const BANS_MAX: usize = fault::bound(16_384, 24);

/// Longest ban, also of an operator: 30 days. What must last longer is a matter of accounts, not of sockets.
pub const LENGTH_MAX: Millis = Millis(30 * 24 * 3_600 * 1_000);

/// News that wait for a driver. Drivers look after each refusal, so more wait only where nobody drives.
const NEWS_MAX: usize = 1_024;

/// Longest word of why, in bytes.
const WHY_BYTES_MAX: usize = 64;

/// Who is kept out, as an operator reads and writes it: `session:HEX`, `subject:ann`, `prefix:192.0.2.7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BanKey {
    /// One session: it is closed and cannot be resumed.
    Session(SessionId),
    /// Everybody with a token of this subject.
    Subject(Box<str>),
    /// A narrow prefix: an IPv4 address, or the first address of an IPv6 /64. Its handshakes are refused; sockets that
    /// are open and authenticated stay, since their identity answers for them.
    Prefix(IpAddr),
}

impl BanKey {
    /// The narrow prefix of `address`.
    pub fn prefix_of(address: IpAddr) -> Self {
        Self::Prefix(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }

    /// The kind: `session`, `subject` or `prefix`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Subject(_) => "subject",
            Self::Prefix(_) => "prefix",
        }
    }
}

impl fmt::Display for BanKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session:{id}"),
            Self::Subject(subject) => write!(f, "subject:{subject}"),
            Self::Prefix(v4 @ IpAddr::V4(_)) => write!(f, "prefix:{v4}/32"),
            Self::Prefix(v6) => write!(f, "prefix:{v6}/64"),
        }
    }
}

/// A text that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected session:HEX, subject:NAME or prefix:ADDRESS (with /32 or /64)")]
pub struct BanKeyInvalid;

impl FromStr for BanKey {
    type Err = BanKeyInvalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("session", id)) => id.parse().map(Self::Session).map_err(|_| BanKeyInvalid),
            Some(("subject", subject)) if !subject.is_empty() => Ok(Self::Subject(subject.into())),
            Some(("prefix", network)) => {
                let (address, length) = network.split_once('/').map_or((network, None), |(a, l)| (a, Some(l)));
                let address: IpAddr = address.parse().map_err(|_| BanKeyInvalid)?;
                match (address.to_canonical(), length) {
                    (_, None) | (IpAddr::V4(_), Some("32")) | (IpAddr::V6(_), Some("64")) => {
                        Ok(Self::prefix_of(address))
                    }
                    _ => Err(BanKeyInvalid),
                }
            }
            _ => Err(BanKeyInvalid),
        }
    }
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub key: BanKey,
    /// Since when.
    pub begun: UnixMs,
    /// Until when, by the wall clock: what is kept over a restart.
    pub until: UnixMs,
    /// The offences that led to its length; 0 for an operator's.
    pub offences: u8,
    /// The control whose refusal was the last, or the operator's word.
    pub why: Box<str>,
}

/// What happened to a ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It began: open sockets of this identity are to be closed, and a store may keep it.
    Begun(Ban),
    /// An operator ended it.
    Lifted(Ban),
    /// Its time is over.
    Ended(Ban),
}

#[derive(Debug)]
struct Held {
    key: BanKey,
    begun: UnixMs,
    ends: Tick,
    offences: u8,
    why: Box<str>,
}

impl Held {
    fn shown(&self, now: Now) -> Ban {
        Ban {
            key: self.key.clone(),
            begun: self.begun,
            until: now.unix.after(self.ends.since(now.tick)),
            offences: self.offences,
            why: self.why.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Bans {
    /// Entries, so that a handshake asks no lock while nobody is banned.
    held: AtomicUsize,
    by_print: RwLock<HashMap<Print, Held>>,
    has_news: AtomicBool,
    news: Mutex<Vec<News>>,
}

impl Bans {
    pub(super) fn begin(&self, print: Print, key: BanKey, now: Now, length: Millis, offences: u8, why: &str) {
        let length = Millis(length.0.min(LENGTH_MAX.0));
        let why = why.get(..why.floor_char_boundary(WHY_BYTES_MAX)).unwrap_or_default();
        let held = Held { key, begun: now.unix, ends: now.tick.after(length), offences, why: why.into() };
        let shown = held.shown(now);
        if self.put(print, held, now) {
            self.tell(News::Begun(shown));
        }
    }

    pub(super) fn restore(&self, print: Print, ban: &Ban, now: Now) -> bool {
        let left = Millis(ban.until.since(now.unix).0.min(LENGTH_MAX.0));
        if left.0 == 0 {
            return false;
        }
        let (key, why) = (ban.key.clone(), ban.why.clone());
        self.put(print, Held { key, begun: ban.begun, ends: now.tick.after(left), offences: ban.offences, why }, now)
    }

    /// Keeps `held` unless a ban in force of the same key is longer, or there is no place for it.
    fn put(&self, print: Print, held: Held, now: Now) -> bool {
        let mut bans = self.by_print.write().unwrap_or_else(PoisonError::into_inner);
        if bans.get(&print).is_some_and(|known| known.ends >= held.ends && known.ends > now.tick) {
            return false;
        }
        let is_full = bans.len() >= BANS_MAX && !fault::is_on(Fault::BansUnbounded);
        if is_full && !bans.contains_key(&print) {
            let first = bans.iter().min_by_key(|(_, held)| held.ends).map(|(print, held)| (*print, held.ends));
            match first {
                _ if fault::is_on(Fault::BanPushedOut) => {
                    let last = bans.iter().max_by_key(|(_, held)| held.ends).map(|(print, _)| *print);
                    last.map(|last| bans.remove(&last));
                }
                Some((first, ends)) if ends < held.ends => {
                    bans.remove(&first);
                }
                _ => return false,
            }
        }
        bans.insert(print, held);
        self.held.store(bans.len(), Ordering::Relaxed);
        true
    }

    pub(super) fn left(&self, print: Print, now: Tick) -> Option<Millis> {
        if self.held.load(Ordering::Relaxed) == 0 || fault::is_on(Fault::BanWithoutEffect) {
            return None;
        }
        let bans = self.by_print.read().unwrap_or_else(PoisonError::into_inner);
        bans.get(&print).map(|held| held.ends.since(now)).filter(|left| left.0 > 0)
    }

    pub(super) fn lift(&self, print: Print, now: Now) -> bool {
        let mut bans = self.by_print.write().unwrap_or_else(PoisonError::into_inner);
        let lifted = bans.remove(&print).filter(|held| held.ends > now.tick);
        self.held.store(bans.len(), Ordering::Relaxed);
        drop(bans);
        if let Some(held) = &lifted {
            self.tell(News::Lifted(held.shown(now)));
        }
        lifted.is_some()
    }

    pub(super) fn list(&self, now: Now) -> Vec<Ban> {
        let bans = self.by_print.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Ban> =
            bans.values().filter(|held| held.ends > now.tick).map(|held| held.shown(now)).collect();
        list.sort_by(|left, right| (right.until, left.begun).cmp(&(left.until, right.begun)));
        list
    }

    pub(super) fn count(&self, now: Tick) -> [(&'static str, u64); 3] {
        let mut counts = [("session", 0_u64), ("subject", 0), ("prefix", 0)];
        let bans = self.by_print.read().unwrap_or_else(PoisonError::into_inner);
        for held in bans.values().filter(|held| held.ends > now) {
            for (kind, count) in &mut counts {
                if *kind == held.key.kind() {
                    *count = count.saturating_add(1);
                }
            }
        }
        counts
    }

    pub(super) fn sweep(&self, now: Now) {
        if self.held.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut ended = Vec::new();
        {
            let mut bans = self.by_print.write().unwrap_or_else(PoisonError::into_inner);
            bans.retain(|_, held| {
                let lasts = held.ends > now.tick;
                if !lasts {
                    ended.push(held.shown(now));
                }
                lasts
            });
            self.held.store(bans.len(), Ordering::Relaxed);
        }
        for ban in ended {
            self.tell(News::Ended(ban));
        }
    }

    fn tell(&self, news: News) {
        let mut waiting = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < NEWS_MAX {
            waiting.push(news);
        }
        self.has_news.store(true, Ordering::Release);
    }

    pub(super) fn take_news(&self) -> Vec<News> {
        if !self.has_news.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut waiting = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_news.store(false, Ordering::Release);
        std::mem::take(&mut waiting)
    }
}
