//! How one session behaves: what is counted at each message, and what becomes of it at a judgement.

use super::number::{between, log2, real, whole};
use super::profile::{BEGINNING, Profile, Quantity, Tail, usual};
use super::score::{self, Part, SIGNALS, Score, Signal};
use super::subjects::Known;
use super::{AnomalyPolicy, CHARGED_MAX, TOLD_EVERY, WINDOW};
use crate::time::Tick;

/// Payloads that are remembered, each by a byte of its print: a repeat within about as many is noticed.
const TAGS: usize = 64;

/// Rarity at which a signal begins to count, and at which it counts in full: 1 in 24, 1 in 1,000.
const RARE_BITS: (f32, f32) = (4.6, 10.0);

/// Messages that weigh as much as all before them, where a share is followed.
const SHARE_MESSAGES: f32 = 24.0;

/// Of a judgement, the share by which points follow upwards, and downwards.
const FOLLOW: (f32, f32) = (0.34, 0.12);

/// Silence after which points have halved.
const HALF_MS: f32 = 300_000.0;

/// CUSUM of the logarithm of the rate: slack and alarm, in bits over the session's own baseline.
const CUSUM_SLACK: f32 = 1.5;
const CUSUM_ALARM: f32 = 12.0;

/// The most that one judgement adds to the CUSUM.
const CUSUM_STEP_MAX: f32 = 3.0;

/// Points of the own baseline, of [`Signal::Rate`]'s.
const OWN_RATE_SHARE: f32 = 0.4;

/// Messages until regularity and repetition can be told from chance.
const MESSAGES_MIN: u32 = 12;

/// Messages after which a session is judged for the first time, however fast they came.
const FIRST_MESSAGES: u32 = 8;

/// Refused messages that anybody's session may have before they count: a slip, a token that rotated.
const ERRORS_FREE: u8 = 3;

/// Address prefixes that are anybody's: home, work, a phone.
const PREFIXES_FREE: u8 = 3;

/// Refused credentials of the prefix at which they begin to count, and at which they count in full.
const CREDENTIALS: (f32, f32) = (4.0, 40.0);

/// Judgements until a session has a baseline of its own.
const BASELINE_MIN: u16 = 8;

/// What a session keeps: 200 bytes at most. It stays with the session when that is resumed.
#[derive(Clone, Debug)]
pub struct Conduct {
    begun: Tick,
    /// Steps that it has taught its role, one bit each by a salted hash.
    taught: u64,
    salt: u32,
    /// The last judgement, the last message and the last log entry, in ms since `begun`.
    judged_ms: u32,
    last_ms: u32,
    told_ms: u32,
    /// Since the last judgement.
    count: u32,
    bytes_in: u32,
    bytes_out: u32,
    /// Payloads that were there before, less what is usual for their types.
    repeats: f32,
    refused: u16,
    steps: u16,
    new_steps: u16,
    /// Of the whole session.
    messages: u32,
    gap_mean: f32,
    gap_deviation: f32,
    repeat_share: f32,
    new_share: f32,
    error_share: f32,
    /// Logarithm of bytes out for each byte in.
    balance: f32,
    /// Logarithm of the session's own rate, its CUSUM, and the last rate and size that were seen.
    rate_mean: f32,
    cusum: f32,
    rate_seen: f32,
    size_seen: f32,
    /// Points by signal, in 256ths.
    points: [u16; SIGNALS],
    judgements: u16,
    first_ms: u16,
    /// Refused messages of the whole session.
    errors: u8,
    credentials: u8,
    prefixes: u8,
    subject_score: u8,
    role: u8,
    previous: u8,
    /// The last step, which was taught.
    step: [u8; 2],
    is_told: bool,
    tags: [u8; TAGS],
}

/// What came of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// 0 to 100.
    pub score: u8,
    /// The log is to tell of it.
    pub tell: bool,
    /// Time for which the ladder is to charge, in ms; 0 below [`AnomalyPolicy::charge_at`].
    pub charged_ms: u32,
}

impl Conduct {
    pub(super) fn begin(
        now: Tick,
        role: u8,
        profile: Option<&Profile>,
        known: Known,
        credentials: f32,
        salt: u64,
    ) -> Self {
        // What is known before the first message counts from it on, and in full.
        let mut points = [0; SIGNALS];
        for (signal, raw) in [
            (Signal::Subject, between(f32::from(known.score), 0.0, 100.0)),
            (Signal::Credentials, between(credentials, CREDENTIALS.0, CREDENTIALS.1)),
            (Signal::Prefixes, prefixes_raw(known.prefixes, profile)),
        ] {
            if let Some(slot) = points.get_mut(signal as usize) {
                *slot = stored(raw * f32::from(signal.most()));
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let salt = salt as u32;
        Self {
            begun: now,
            taught: 0,
            salt,
            judged_ms: 0,
            last_ms: 0,
            told_ms: 0,
            count: 0,
            bytes_in: 0,
            bytes_out: 0,
            refused: 0,
            repeats: 0.0,
            steps: 0,
            new_steps: 0,
            messages: 0,
            gap_mean: 0.0,
            gap_deviation: 0.0,
            repeat_share: 0.0,
            new_share: 0.0,
            error_share: 0.0,
            balance: 0.0,
            rate_mean: 0.0,
            cusum: 0.0,
            rate_seen: 0.0,
            size_seen: 0.0,
            points,
            judgements: 0,
            first_ms: 0,
            errors: 0,
            credentials: u8::try_from(whole(credentials)).unwrap_or(u8::MAX),
            prefixes: known.prefixes,
            subject_score: known.score,
            role,
            previous: BEGINNING,
            step: [BEGINNING; 2],
            is_told: false,
            tags: [0; TAGS],
        }
    }

    pub(super) fn moved(&mut self, role: u8, prefixes: u8) {
        self.prefixes = prefixes;
        if self.role != role {
            (self.role, self.previous, self.step) = (role, BEGINNING, [BEGINNING; 2]);
        }
    }

    pub(super) const fn role(&self) -> u8 {
        self.role
    }

    /// When the session began.
    pub(crate) const fn begun(&self) -> Tick {
        self.begun
    }

    fn ms(&self, now: Tick) -> u32 {
        u32::try_from(now.since(self.begun).0).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "where a message passed it is on the path of every one")]
    fn arrived(&mut self, now: Tick, bytes: usize) {
        let at = self.ms(now).max(self.last_ms);
        let gap = real(at.saturating_sub(self.last_ms));
        self.last_ms = at;
        self.messages = self.messages.saturating_add(1);
        if self.messages == 1 {
            self.first_ms = u16::try_from(at).unwrap_or(u16::MAX);
        } else {
            // The first gaps weigh more, so that the mean is theirs at once.
            let weight = if self.messages < 16 { 1.0 / real(self.messages) } else { 1.0 / 16.0 };
            let off = gap - self.gap_mean;
            self.gap_mean += off * weight;
            self.gap_deviation += (off.abs() - self.gap_deviation) * weight;
        }
        self.count = self.count.saturating_add(1);
        self.bytes_in = self.bytes_in.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place")]
    pub(super) fn passed(&mut self, now: Tick, kind: u16, bytes: usize, payload: &[u8], profile: Option<&Profile>) {
        self.arrived(now, bytes);
        let print = fingerprint(kind, payload);
        let [tag, place, ..] = print.to_le_bytes();
        let (tag, mut is_known) = (tag.max(1), false);
        if let Some(slot) = self.tags.get_mut(usize::from(place) % TAGS) {
            is_known = *slot == tag;
            *slot = tag;
        }
        let kind = u8::try_from(kind).unwrap_or(BEGINNING);
        let from = std::mem::replace(&mut self.previous, kind);
        if let Some(profile) = profile {
            self.repeats += f32::from(u8::from(is_known)) - profile.usual_repeats(kind);
            if self.messages.is_power_of_two() {
                profile.teach_repeat(kind, is_known);
            }
            self.steps = self.steps.saturating_add(1);
            self.new_steps = self.new_steps.saturating_add(u16::from(profile.is_new_step(from, kind)));
            let step = [from, kind];
            if self.step != step {
                self.step = step;
                let bit = 1_u64 << (hash(u64::from(self.salt) << 16 | u64::from(from) << 8 | u64::from(kind)) >> 58);
                if self.taught & bit == 0 {
                    self.taught |= bit;
                    profile.teach_step(from, kind);
                }
            }
        }
    }

    /// A message with a known `id` came again.
    pub fn duplicate(&mut self, now: Tick, bytes: usize) {
        self.arrived(now, bytes);
        self.repeats += 1.0;
    }

    /// A message was refused by a control.
    pub fn refused(&mut self, now: Tick, bytes: usize) {
        self.arrived(now, bytes);
        self.refused = self.refused.saturating_add(1);
    }

    /// A message that passed was refused by the application.
    pub fn refused_later(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    /// So many bytes of the application's left for the peer.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out = self.bytes_out.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    #[inline]
    pub(super) const fn is_due(&self) -> bool {
        let since = self.last_ms.saturating_sub(self.judged_ms) as u64;
        // The first time sooner, or whoever comes, takes and leaves would never be judged.
        self.count > 0 && (since >= WINDOW.0 || self.judgements == 0 && self.count >= FIRST_MESSAGES)
    }

    /// Judges what was counted since the last judgement, and begins to count anew.
    pub(super) fn judge(&mut self, policy: &AnomalyPolicy, now: Tick, profile: Option<&Profile>) -> Judged {
        let at = self.ms(now);
        let elapsed = at.saturating_sub(self.judged_ms).max(1);
        self.fade(now);
        self.judged_ms = at;
        self.judgements = self.judgements.saturating_add(1);

        let count = real(self.count.max(1));
        self.rate_seen = count * 1_000.0 / real(elapsed);
        self.size_seen = real(self.bytes_in) / count;
        let weight = count / (count + SHARE_MESSAGES);
        let follow = |share: &mut f32, part: f32, of: f32| {
            *share += ((part / of.max(1.0)).clamp(0.0, 1.0) - *share) * weight;
        };
        follow(&mut self.repeat_share, self.repeats, count);
        follow(&mut self.new_share, f32::from(self.new_steps), f32::from(self.steps));
        follow(&mut self.error_share, f32::from(self.refused), count);
        let balance = log2((real(self.bytes_out) + 256.0) / (real(self.bytes_in) + 256.0));
        self.balance += (balance - self.balance) * weight.max(0.1);

        self.errors = self.errors.saturating_add(u8::try_from(self.refused).unwrap_or(u8::MAX));
        self.follow_own_rate();
        let raw = self.raw(profile);
        if let Some(profile) = profile
            && self.judgements.is_power_of_two()
            && self.score(now) < u32::from(policy.alert_at)
        {
            self.teach(profile);
        }
        for (signal, raw) in Signal::ALL.into_iter().zip(raw) {
            if let Some(points) = self.points.get_mut(signal as usize) {
                let (known, raw) = (f32::from(*points) / 256.0, raw * f32::from(signal.most()));
                let share = if raw > known { FOLLOW.0 } else { FOLLOW.1 };
                *points = stored(known + (raw - known) * share);
            }
        }
        (self.count, self.bytes_in, self.bytes_out) = (0, 0, 0);
        self.repeats = 0.0;
        (self.refused, self.steps, self.new_steps) = (0, 0, 0);
        self.verdict(policy, now, elapsed)
    }

    fn verdict(&mut self, policy: &AnomalyPolicy, now: Tick, elapsed: u32) -> Judged {
        let score = self.score(now);
        let high = score >= u32::from(policy.alert_at);
        let since = self.judged_ms.saturating_sub(self.told_ms);
        let tell = high && (!self.is_told || u64::from(since) >= TOLD_EVERY.0);
        if tell {
            (self.is_told, self.told_ms) = (true, self.judged_ms);
        } else if score.saturating_mul(2) < u32::from(policy.alert_at) {
            self.is_told = false;
        }
        let charged = score >= u32::from(policy.charge_at.max(policy.alert_at));
        let longest = u32::try_from(CHARGED_MAX.0).unwrap_or(u32::MAX);
        Judged {
            score: u8::try_from(score).unwrap_or(100),
            tell,
            charged_ms: if charged { elapsed.min(longest) } else { 0 },
        }
    }

    /// How unusual each signal is now, 0 to 1.
    fn raw(&self, profile: Option<&Profile>) -> [f32; SIGNALS] {
        let rarity = |quantity, value, beyond| rarity(profile, quantity, value, beyond);
        let enough = self.messages >= MESSAGES_MIN;
        let when = |known: bool, value: f32| if known { value } else { 0.0 };
        let of_role = rarity(Quantity::Rate, self.rate_seen, Tail::Above);
        // A jump that is usual for the role is no jump: a match begins, a market opens, a file is imported.
        let own = between(self.cusum, CUSUM_SLACK, CUSUM_ALARM) * between(of_role, 0.0, 0.25);
        let rate = of_role * (1.0 - OWN_RATE_SHARE) + own * OWN_RATE_SHARE;
        let size = rarity(Quantity::Size, self.size_seen, Tail::Above);
        let evenness = when(enough, rarity(Quantity::Unevenness, self.unevenness(), Tail::Below));
        let repeats = when(enough, rarity(Quantity::Repeats, self.repeat_share, Tail::Above));
        let steps = rarity(Quantity::NewSteps, self.new_share, Tail::Above);
        let enough_errors = self.errors >= ERRORS_FREE;
        let errors = when(enough_errors, rarity(Quantity::Errors, self.error_share, Tail::Above));
        let balance = rarity(Quantity::Balance, self.balance.exp2(), Tail::Above);
        let prefixes = prefixes_raw(self.prefixes, profile);
        let first = when(self.judgements <= 1, rarity(Quantity::First, f32::from(self.first_ms), Tail::Below));
        // Those of before the session fade from its beginning on.
        let (credentials, subject) = (0.0, 0.0);
        [rate, size, evenness, repeats, steps, errors, balance, prefixes, first, credentials, subject]
    }

    fn unevenness(&self) -> f32 {
        self.gap_deviation / self.gap_mean.max(1.0)
    }

    fn teach(&self, profile: &Profile) {
        profile.teach(Quantity::Rate, self.rate_seen);
        profile.teach(Quantity::Size, self.size_seen);
        profile.teach(Quantity::NewSteps, self.new_share);
        profile.teach(Quantity::Errors, self.error_share);
        profile.teach(Quantity::Balance, self.balance.exp2());
        if self.messages >= MESSAGES_MIN {
            profile.teach(Quantity::Unevenness, self.unevenness());
            profile.teach(Quantity::Repeats, self.repeat_share);
        }
        if self.judgements == 1 {
            profile.teach(Quantity::Prefixes, f32::from(self.prefixes));
            profile.teach(Quantity::First, f32::from(self.first_ms));
        }
    }

    fn follow_own_rate(&mut self) {
        let rate = log2(self.rate_seen.max(0.000_1));
        let off = rate - self.rate_mean;
        if self.judgements > BASELINE_MIN {
            self.cusum = (self.cusum + (off - CUSUM_SLACK).min(CUSUM_STEP_MAX)).clamp(0.0, 2.0 * CUSUM_ALARM);
        }
        // What lies far above the baseline moves it slowly, or a jump would soon be usual.
        let weight = if self.judgements <= BASELINE_MIN {
            1.0 / f32::from(self.judgements.max(1))
        } else if off > CUSUM_SLACK {
            1.0 / 128.0
        } else {
            1.0 / 16.0
        };
        self.rate_mean += off * weight;
    }

    /// Lets silence since the last judgement wear the points down. Whoever speaks is judged instead.
    fn fade(&mut self, now: Tick) {
        let rest = self.rest(now);
        for points in &mut self.points {
            *points = stored(f32::from(*points) / 256.0 * rest);
        }
    }

    /// The share of the points that is left at `now`.
    fn rest(&self, now: Tick) -> f32 {
        let silent = self.ms(now).saturating_sub(self.judged_ms);
        HALF_MS / (HALF_MS + real(silent))
    }

    pub(super) fn shown_points(&self, now: Tick) -> [u8; SIGNALS] {
        let rest = self.rest(now);
        self.points.map(|points| u8::try_from(whole(f32::from(points) / 256.0 * rest + 0.5)).unwrap_or(100))
    }

    fn score(&self, now: Tick) -> u32 {
        let sum = self.shown_points(now).iter().fold(0_u32, |sum, points| sum.saturating_add(u32::from(*points)));
        sum.min(100)
    }

    /// The points of [`Signal::Subject`].
    pub(super) fn carried(&self, now: Tick) -> u8 {
        self.shown_points(now).get(Signal::Subject as usize).copied().unwrap_or(0)
    }

    /// The signal that adds most.
    pub(super) fn leading(&self, now: Tick) -> Signal {
        let points = self.shown_points(now);
        let all = Signal::ALL.into_iter().zip(points);
        all.max_by_key(|(_, points)| *points).map_or(Signal::Rate, |(signal, _)| signal)
    }

    pub(super) fn explain(&self, now: Tick, profile: Option<&Profile>) -> Score {
        let parts = Signal::ALL.into_iter().zip(self.shown_points(now)).filter(|(_, points)| *points > 0);
        let parts = parts.map(|(signal, points)| {
            let (seen, usual) = self.in_words(signal, profile);
            Part { signal: signal.as_str(), points, seen, usual }
        });
        Score::of(parts.collect())
    }

    fn in_words(&self, signal: Signal, profile: Option<&Profile>) -> (String, String) {
        let unknown = || "unknown".to_owned();
        let of_role = |quantity, show: fn(f32) -> String| {
            let middle = profile.and_then(|profile| profile.middle(quantity));
            middle.map_or_else(unknown, |column| show(usual(quantity, column)))
        };
        let per_second = |rate: f32| score::shown(rate, "/s");
        match signal {
            Signal::Rate => {
                let own = (self.judgements > BASELINE_MIN).then(|| per_second(self.rate_mean.exp2()));
                (per_second(self.rate_seen), own.unwrap_or_else(|| of_role(Quantity::Rate, per_second)))
            }
            Signal::Size => (score::bytes(self.size_seen), of_role(Quantity::Size, score::bytes)),
            Signal::Regularity => {
                let off = |share: f32| format!("gaps off by {}", score::share(share));
                (off(self.unevenness()), of_role(Quantity::Unevenness, off))
            }
            Signal::Repetition => (score::share(self.repeat_share), of_role(Quantity::Repeats, score::share)),
            Signal::Transitions => (score::share(self.new_share), of_role(Quantity::NewSteps, score::share)),
            Signal::Errors => (score::share(self.error_share), of_role(Quantity::Errors, score::share)),
            Signal::Asymmetry => {
                let out = |ratio: f32| score::shown(ratio, " out per byte in");
                (out(self.balance.exp2()), of_role(Quantity::Balance, out))
            }
            Signal::Prefixes => {
                let count = |count: f32| format!("{count:.0}");
                (count(f32::from(self.prefixes)), of_role(Quantity::Prefixes, count))
            }
            Signal::FirstMessage => (score::time(f32::from(self.first_ms)), of_role(Quantity::First, score::time)),
            Signal::Credentials => (format!("{} refused", self.credentials), "0 refused".to_owned()),
            Signal::Subject => (format!("scored {} before", self.subject_score), "0".to_owned()),
        }
    }
}

/// How rare a value is for the role, 0 to 1.
fn rarity(profile: Option<&Profile>, quantity: Quantity, value: f32, beyond: Tail) -> f32 {
    let bits = profile.map_or(0.0, |profile| profile.rarity(quantity, value, beyond));
    between(bits, RARE_BITS.0, RARE_BITS.1)
}

fn prefixes_raw(prefixes: u8, profile: Option<&Profile>) -> f32 {
    if prefixes > PREFIXES_FREE { rarity(profile, Quantity::Prefixes, f32::from(prefixes), Tail::Above) } else { 0.0 }
}

fn stored(points: f32) -> u16 {
    u16::try_from(whole(points * 256.0 + 0.5)).unwrap_or(u16::MAX)
}

/// Mixes 64 bits; nobody gains by colliding, since whoever wants to look different can write something different.
const fn hash(value: u64) -> u64 {
    let mixed = (value ^ (value >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

/// Bytes of a window of the print.
const PRINT_BYTES: usize = 16;

/// A print of type, length and four windows spread over the payload, the first at its beginning and the last at its end.
#[inline(always)]
#[expect(clippy::inline_always, reason = "called from one place")]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a window")]
fn fingerprint(kind: u16, payload: &[u8]) -> u64 {
    let mix = |print: u64, window: u128| {
        let [low, high] = [window as u64, (window >> 64) as u64];
        (print.rotate_left(23) ^ low ^ high.rotate_left(31)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    };
    let mut print = u64::from(kind).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ payload.len() as u64;
    let Some(last) = payload.last_chunk::<PRINT_BYTES>() else {
        return hash(mix(print, payload.iter().fold(0, |window, byte| window << 8 | u128::from(*byte))));
    };
    let step = payload.len().saturating_sub(PRINT_BYTES) / 3;
    for at in [0, step, step.saturating_mul(2)] {
        if let Some(window) = payload.get(at..).and_then(<[u8]>::first_chunk::<PRINT_BYTES>) {
            print = mix(print, u128::from_le_bytes(*window));
        }
    }
    hash(mix(print, u128::from_le_bytes(*last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_is_of_every_byte_of_a_short_payload_and_of_windows_of_a_long_one() {
        let bytes: Vec<u8> = (0..200).map(|at: u8| at.wrapping_mul(37)).collect();
        for length in 0..bytes.len() {
            let print = fingerprint(7, &bytes[..length]);
            assert_ne!(print, fingerprint(8, &bytes[..length]), "another type");
            let seen: Vec<usize> = (0..length)
                .filter(|at| {
                    let mut other = bytes[..length].to_vec();
                    other[*at] ^= 0x20;
                    fingerprint(7, &other) != print
                })
                .collect();
            assert!(seen.len() >= length.min(62), "{} of {length}", seen.len());
            assert!(length == 0 || seen.first() == Some(&0) && seen.last() == Some(&(length - 1)), "{length}");
            assert!(seen.windows(2).all(|pair| pair[1] - pair[0] <= length / 3 + 1), "{length}");
        }
    }
}
