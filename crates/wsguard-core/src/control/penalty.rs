//! Penalties that climb: warn, slow, drop, close, keep out; by weight of what was refused, down again by time.
//!
//! Attack: a peer that ignores its refusals and goes on (CWE-770, CWE-799, CWE-307), or that reconnects to begin anew. A
//! refusal adds the weight of its control to the standing of whoever pays; weight drains at a fixed rate, and each rung
//! has a weight at which it begins. A rung is climbed one at a time and lasts for [`PenaltyPolicy::dwell`] before the
//! next, so a single burst, however large, never closes a connection: what climbs is going on.
//!
//! Who pays: after a verified credential the subject and the session, before it the address prefix, whose limits are
//! [`PenaltyPolicy::prefix_factor`] times as generous because many people share one. A `sub` that nobody verified pays for
//! nothing, or anybody could lock out anybody. Host and Origin refusals pay nothing here: any web page can provoke them
//! from a visitor's address; they have a bucket of handshakes of their own.
//!
//! # Specification
//! OWASP ASVS 5.0 2.4.1, 6.3.1; RFC 6585 section 4; docs/protocol.md section 3

mod ban;
mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

pub use ban::{BANS_MAX, Ban, BanKey, BanKeyInvalid, LENGTH_MAX, News};
pub use table::{Standing, Standings};

use ban::Bans;

use super::rate::{Mode, Prefixes, Print, PrintKey, Quota};
use crate::time::{Millis, Now, Tick};
use crate::verdict::ControlId;

/// Points that one second's worth of a quota weighs when it is refused: at ten times any quota a peer earns 180 points a
/// second, at one and a half times 10, which is what drains by default.
pub const POINTS_PER_QUOTA_SECOND: u64 = 20;

/// Shortest pause: what TCP hides from a peer that slows down by itself.
pub const PAUSE_MIN: Millis = Millis(250);

/// Longest pause that any policy can ask for: writes, pings and deadlines go on meanwhile, so longer would only look dead.
pub const PAUSE_MAX: Millis = Millis(2_000);

/// Time between two `error` frames about limits on one connection; the refusals between them are counted.
pub const ERROR_EVERY: Millis = Millis(250);

/// Longest `ack` or `leave` that passes above every quota: a room of 64 characters, each written as two `\u` escapes, with
/// a token and an id. Without a bound a flood would call itself `leave`.
pub const NEVER_LIMITED_BYTES_MAX: usize = 1_536;

/// Whether a message of type `kind` and `bytes` passes whatever the quotas say: a peer must always be able to take less.
///
/// It is handled, but above the quota the socket is read more slowly afterwards: TCP makes a flood of them wait.
pub fn never_limited(kind: &str, bytes: usize) -> bool {
    bytes <= NEVER_LIMITED_BYTES_MAX && matches!(kind, "ack" | "leave")
}

/// A weight in millionths of a point: a message of a quota of a million a second still weighs something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(pub(crate) u64);

/// Millionths in a point.
const MICRO: u64 = 1_000_000;

impl Weight {
    /// Nothing: whoever pays it climbs nowhere.
    pub const ZERO: Self = Self(0);

    /// `points` whole points.
    pub const fn points(points: u32) -> Self {
        Self((points as u64).saturating_mul(MICRO))
    }

    /// `points` whole points for each second of `ms`.
    pub const fn per_second(points: u32, ms: u32) -> Self {
        Self((points as u64).saturating_mul(ms as u64).saturating_mul(MICRO / 1_000))
    }

    /// What `units` of `quota` weigh: [`POINTS_PER_QUOTA_SECOND`] for as many as the quota gives in a second.
    pub fn of_excess(quota: &Quota, units: u32) -> Self {
        // A nanosecond of quota weighs 20 points / 10^9, which is 20/1000 of a millionth.
        Self(quota.price_ns(units).saturating_mul(POINTS_PER_QUOTA_SECOND).div_ceil(1_000).max(1))
    }

    /// Whole points, rounded down.
    pub const fn whole(self) -> u64 {
        self.0 / MICRO
    }

    /// What a refusal by `control` weighs where no quota says it.
    ///
    /// Nothing weighs what a third party can cause (a page that fetches `/ws`, a foreign Origin, a slow network) and what
    /// the application refuses for reasons of its own: it can ban through the handle.
    pub const fn of(control: ControlId) -> Self {
        match control {
            ControlId::Upgrade
            | ControlId::Host
            | ControlId::Origin
            | ControlId::Liveness
            | ControlId::Delivery
            | ControlId::Application
            | ControlId::Heartbeat
            | ControlId::Anomaly
            | ControlId::Penalty => Self::ZERO,
            // One quota of handshakes bounds these too: three points each never outrun what drains.
            ControlId::Frame | ControlId::Content => Self::points(3),
            // Guessing: at the full rate of handshakes a prefix earns 30 points a second.
            ControlId::Credential => Self::points(10),
            ControlId::Scan | ControlId::Csrf | ControlId::Authorization => Self::points(2),
            ControlId::HandshakeRate
            | ControlId::SessionCap
            | ControlId::Rate
            | ControlId::RateType
            | ControlId::Schema => Self::points(1),
        }
    }
}

/// The rungs, from below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// Nothing was refused lately.
    #[default]
    Calm,
    /// Refusals are answered with the time to wait.
    Warn,
    /// The socket is not read for a while.
    Slow,
    /// Messages are discarded.
    Drop,
    /// The connection is closed with 4429, and who it was is kept out.
    Close,
}

impl Rung {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Warn => "warn",
            Self::Slow => "slow",
            Self::Drop => "drop",
            Self::Close => "close",
        }
    }

    const fn above(self) -> Self {
        match self {
            Self::Calm => Self::Warn,
            Self::Warn => Self::Slow,
            Self::Slow => Self::Drop,
            Self::Drop | Self::Close => Self::Close,
        }
    }
}

/// What the ladder asks for after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing beyond the refusal itself.
    None,
    /// The refusal says when to come back.
    Warn,
    /// Do not read the socket for so long.
    Slow(Millis),
    /// Discard messages until then, and do not read for so long.
    Drop(Tick, Millis),
    /// Close with 4429: a first offence, kept out for so long.
    Close(Millis),
    /// Close with 4429: an offence after others, kept out for longer each time.
    Ban(Millis),
}

impl Step {
    /// The names under which steps are counted, in the order of the ladder.
    pub const NAMES: [&'static str; 5] = ["warn", "slow", "drop", "close", "ban"];

    const fn place(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Warn => Some(0),
            Self::Slow(_) => Some(1),
            Self::Drop(..) => Some(2),
            Self::Close(_) => Some(3),
            Self::Ban(_) => Some(4),
        }
    }

    /// The name in logs and metrics; `None` for [`Step::None`].
    pub fn name(self) -> Option<&'static str> {
        self.place().and_then(|place| Self::NAMES.get(place)).copied()
    }

    /// How long the peer is kept out, where it is.
    pub const fn kept_out(self) -> Option<Millis> {
        match self {
            Self::Close(length) | Self::Ban(length) => Some(length),
            Self::None | Self::Warn | Self::Slow(_) | Self::Drop(..) => None,
        }
    }
}

/// The ladder, readable: where each rung begins and what it does.
#[derive(Clone, Debug)]
pub struct PenaltyPolicy {
    /// Whether the ladder acts.
    pub mode: Mode,
    /// Points that drain a second. 10: half of a second's quota, so that one refused now and then is never remembered.
    pub decay_per_second: u32,
    /// Points at which reading slows. 60: three seconds' worth of quota refused, a burst as large as the allowed one.
    pub slow_at: u32,
    /// Points at which messages are discarded.
    pub drop_at: u32,
    /// Points at which the connection is closed. 180: one second at ten times the quota, if it goes on over the rungs
    /// before.
    pub close_at: u32,
    /// Time that a rung lasts at least before the next one, from `slow` on. 1 s: one pause shows whether the peer listens.
    pub dwell: Millis,
    /// Longest pause in reading; [`PAUSE_MAX`] at most.
    pub pause_max: Millis,
    /// Time for which a peer is kept out after a first close. 15 s: ten that count, whatever a client's clock and network
    /// add.
    pub close_for: Millis,
    /// Length of the first ban after that; each further one is twice as long.
    pub ban_first: Millis,
    /// Longest ban of the ladder. 1 h: an address or account changes hands; longer is an operator's decision.
    pub ban_max: Millis,
    /// Time without an offence after which one is forgotten.
    pub forget_after: Millis,
    /// How many times the points of an identity an address prefix may have on each rung. 16: an office that reconnects
    /// after a restart stays far below.
    pub prefix_factor: u32,
    /// Keys in each of the two tables of standings. A table of 16,384 keys takes 1 MiB.
    pub table_keys: usize,
}

impl Default for PenaltyPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            decay_per_second: 10,
            slow_at: 60,
            drop_at: 120,
            close_at: 180,
            dwell: Millis(1_000),
            pause_max: PAUSE_MAX,
            close_for: Millis::from_secs(15),
            ban_first: Millis::from_secs(60),
            ban_max: Millis::from_secs(3_600),
            forget_after: Millis::from_secs(600),
            prefix_factor: 16,
            table_keys: 16_384,
        }
    }
}

impl PenaltyPolicy {
    fn begins_at(&self, rung: Rung, factor: u32) -> Weight {
        let points = match rung {
            Rung::Calm => return Weight::ZERO,
            Rung::Warn => return Weight(1),
            Rung::Slow => self.slow_at,
            Rung::Drop => self.drop_at,
            Rung::Close => self.close_at,
        };
        Weight(Weight::points(points).0.saturating_mul(u64::from(factor.max(1))))
    }

    /// The highest rung that `weight` reaches.
    fn reaches(&self, weight: Weight, factor: u32) -> Rung {
        let rungs = [Rung::Close, Rung::Drop, Rung::Slow, Rung::Warn];
        rungs.into_iter().find(|rung| weight >= self.begins_at(*rung, factor)).unwrap_or_default()
    }

    /// The most that a standing weighs: a third above `close`, so that what drains during a pause does not hide a peer
    /// that goes on, and a flood is not remembered longer than it was dangerous.
    fn most(&self, factor: u32) -> Weight {
        let close = self.begins_at(Rung::Close, factor).0;
        Weight(close.saturating_add(close / 3))
    }

    fn drained(&self, weight: Weight, since: Millis) -> Weight {
        let drained = u64::from(self.decay_per_second.max(1)).saturating_mul(MICRO / 1_000).saturating_mul(since.0);
        Weight(weight.0.saturating_sub(drained))
    }

    /// Time in which `weight` drains down to `floor`.
    fn time_down_to(&self, weight: Weight, floor: Weight) -> Millis {
        let per_ms = u64::from(self.decay_per_second.max(1)).saturating_mul(MICRO / 1_000);
        Millis(weight.0.saturating_sub(floor.0).div_ceil(per_ms))
    }

    /// How long an identity of `weight` stays on the rung `drop` if it offends no more.
    pub(crate) fn drop_left(&self, weight: Weight) -> Millis {
        self.time_down_to(weight, self.begins_at(Rung::Drop, 1))
    }

    /// How long the `offences`-th offence, counted from one, keeps a peer out.
    pub fn length_of(&self, offences: u8) -> Millis {
        match offences {
            0 | 1 => self.close_for,
            more => {
                let doubled = 1_u64.checked_shl(u32::from(more.saturating_sub(2))).unwrap_or(u64::MAX);
                Millis(self.ban_first.0.saturating_mul(doubled).min(self.ban_max.0).max(self.close_for.0))
            }
        }
    }

    fn step(&self, judged: Judged, factor: u32, now: Tick) -> Step {
        let weight = judged.weight;
        let pause = || {
            let longest = self.pause_max.0.clamp(PAUSE_MIN.0, PAUSE_MAX.0);
            Millis(self.time_down_to(weight, self.begins_at(Rung::Slow, factor)).0.clamp(PAUSE_MIN.0, longest))
        };
        match judged.rung {
            Rung::Calm => Step::None,
            Rung::Warn => Step::Warn,
            Rung::Slow => Step::Slow(pause()),
            Rung::Drop => {
                let left = self.time_down_to(weight, self.begins_at(Rung::Drop, factor));
                Step::Drop(now.after(left.max(Millis(1))), pause())
            }
            Rung::Close if judged.offences <= 1 => Step::Close(self.length_of(judged.offences)),
            Rung::Close => Step::Ban(self.length_of(judged.offences)),
        }
    }
}

/// What one charge made of a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The rung now. [`Rung::Close`] is told once: the offence pays the weight off.
    pub rung: Rung,
    /// Whether this charge climbed it.
    pub climbed: bool,
    /// The weight now; at [`Rung::Close`] the weight that led there.
    pub weight: Weight,
    /// Offences that are remembered, this one included.
    pub offences: u8,
}

/// Who pays for a refusal.
#[derive(Clone, Copy, Debug)]
pub enum Payer<'a> {
    /// A verified identity.
    Subject(Print, &'a str),
    /// Nobody that is known yet: the narrow prefix of an address.
    Prefix(Print, IpAddr),
}

/// What the ladder says to one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to do.
    pub step: Step,
    /// Whether the step is new: then it is worth a line in the log.
    pub climbed: bool,
    /// The weight that led here.
    pub weight: Weight,
}

impl Answer {
    /// Nothing weighed, nothing asked for.
    pub const NOTHING: Self = Self { step: Step::None, climbed: false, weight: Weight::ZERO };
}

/// Standings and bans that all connections share.
#[derive(Debug)]
pub struct Penalties {
    subjects: Standings,
    prefixes: Standings,
    bans: Bans,
    key: PrintKey,
    enforced: [AtomicU64; 5],
    shadowed: [AtomicU64; 5],
}

impl Penalties {
    /// Empty tables for `keys` keys each; `key` is the one that prints subjects and addresses.
    pub fn new(keys: usize, key: PrintKey) -> Self {
        Self {
            subjects: Standings::new(keys),
            prefixes: Standings::new(keys),
            bans: Bans::default(),
            key,
            enforced: Default::default(),
            shadowed: Default::default(),
        }
    }

    /// Charges `weight` for a refusal by `control` to `payer`, and to `session`, the standing that a connection keeps
    /// itself and that judges alone where the table has no place.
    ///
    /// A close or ban begins here; [`Penalties::take_news`] tells it to whoever must act on it. In shadow mode nobody is
    /// banned, and the caller does nothing of what the answer asks for. Cost: one uncontended lock.
    pub fn offend(
        &self,
        policy: &PenaltyPolicy,
        now: Now,
        payer: Payer<'_>,
        session: Option<&mut Standing>,
        weight: Weight,
        control: ControlId,
    ) -> Answer {
        if weight == Weight::ZERO {
            return Answer::NOTHING;
        }
        let (table, print, factor) = match payer {
            Payer::Subject(print, _) => (&self.subjects, print, 1),
            Payer::Prefix(print, _) => (&self.prefixes, print, policy.prefix_factor),
        };
        let shared = table.charge(policy, factor, print, now.tick, weight);
        let own = session.map(|standing| standing.charge(policy, factor, now.tick, weight));
        let Some(judged) = shared.into_iter().chain(own).max_by_key(|judged| (judged.rung, judged.offences)) else {
            return Answer::NOTHING;
        };
        let step = policy.step(judged, factor, now.tick);
        let counts = if policy.mode == Mode::Enforce { &self.enforced } else { &self.shadowed };
        if judged.climbed
            && let Some(counter) = step.place().and_then(|place| counts.get(place))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(length), Mode::Enforce) = (step.kept_out(), policy.mode) {
            let key = match payer {
                Payer::Subject(_, subject) => BanKey::Subject(subject.into()),
                Payer::Prefix(_, address) => BanKey::prefix_of(address),
            };
            self.bans.begin(print, key, now, length, judged.offences, control.as_str());
        }
        Answer { step, climbed: judged.climbed, weight: judged.weight }
    }

    /// The standing of a subject as it is at `now`, without a charge; a fresh one where none is kept.
    pub fn standing(&self, policy: &PenaltyPolicy, subject: Print, now: Tick) -> Standing {
        self.subjects.peek(policy, 1, subject, now)
    }

    /// How long whoever has `print` stays out; `None` when it may come in. One relaxed load where nobody is banned.
    pub fn banned(&self, print: Print, now: Tick) -> Option<Millis> {
        self.bans.left(print, now)
    }

    /// How long the session of `id` stays out: for whoever resumes one.
    pub fn session_banned(&self, id: super::session::SessionId, now: Tick) -> Option<Millis> {
        self.bans.left(self.print_of(&BanKey::Session(id)), now)
    }

    /// Keeps `key` out for `length` ([`LENGTH_MAX`] at most) from `now` on, whatever its standing: an operator's ban.
    /// A longer ban in force stays. `why` is a word for the log.
    pub fn ban(&self, now: Now, key: BanKey, length: Millis, why: &str) {
        self.bans.begin(self.print_of(&key), key, now, length, 0, why);
    }

    /// Ends a ban before its time, and forgets the standing that led to it. `false` when there is none.
    pub fn lift(&self, now: Now, key: &BanKey) -> bool {
        let print = self.print_of(key);
        let lifted = self.bans.lift(print, now);
        if lifted {
            match key {
                BanKey::Subject(_) => self.subjects.forget(print),
                BanKey::Prefix(..) => self.prefixes.forget(print),
                BanKey::Session(_) => {}
            }
        }
        lifted
    }

    /// The bans in force, the longest first.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.list(now)
    }

    /// Takes bans over that another run of the server exported: those whose time is over are left out, lengths are cut at
    /// [`LENGTH_MAX`], and nothing is told as news. Returns how many are in force now.
    pub fn import(&self, bans: impl IntoIterator<Item = Ban>, now: Now) -> usize {
        bans.into_iter().filter(|ban| self.bans.restore(self.print_of(&ban.key), ban, now)).count()
    }

    /// Lets go of bans that are over and notes each as news. Call it now and then; nothing depends on when.
    pub fn sweep(&self, now: Now) {
        self.bans.sweep(now);
    }

    /// What began and ended since the last call. One relaxed load where nothing did.
    pub fn take_news(&self) -> Vec<News> {
        self.bans.take_news()
    }

    /// Bans in force by kind: sessions, subjects, prefixes.
    pub fn in_force(&self, now: Tick) -> [(&'static str, u64); 3] {
        self.bans.count(now)
    }

    /// How often each step was reached: its name, enforced, in shadow.
    pub fn counts(&self) -> [(&'static str, u64, u64); 5] {
        let mut counts = [("", 0, 0); 5];
        let both = self.enforced.iter().zip(&self.shadowed);
        for ((row, name), (enforced, shadowed)) in counts.iter_mut().zip(Step::NAMES).zip(both) {
            *row = (name, enforced.load(Ordering::Relaxed), shadowed.load(Ordering::Relaxed));
        }
        counts
    }

    /// Standings that say something at `now`, for tests of memory: subjects, prefixes. Looks at every slot.
    pub fn kept(&self, policy: &PenaltyPolicy, now: Tick) -> (usize, usize) {
        (self.subjects.kept(policy, 1, now), self.prefixes.kept(policy, policy.prefix_factor, now))
    }

    fn print_of(&self, key: &BanKey) -> Print {
        match key {
            BanKey::Session(id) => self.key.print(b'i', &id.0),
            BanKey::Subject(subject) => self.key.print(b's', subject.as_bytes()),
            BanKey::Prefix(network) => Prefixes::of(&self.key, *network).fine,
        }
    }
}

#[cfg(test)]
mod tests;
