//! Counts handshakes, messages and bytes against quotas: per server, address prefix, subject, session and type.
//!
//! Attack: floods and automation (CWE-770, CWE-799), and the memory of a limiter that grows with every key an attacker
//! invents. Quotas are kept as GCRA (the virtual scheduling of a leaky bucket, ITU-T I.371): one number a bucket, exact,
//! nothing to refill. Tables have a fixed size and a keyed hash; a bucket that has refilled is a free slot; where a
//! table has no free slot the key is judged by its coarser prefix alone, so a sprayed table slows strangers, never
//! everyone.
//!
//! # Specification
//! RFC 6585 section 4; OWASP ASVS 5.0 2.4.1

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;

use crate::fault::{self, Fault};
use crate::time::{Millis, Tick};

/// Nanoseconds in a millisecond: buckets count in nanoseconds so that a byte has a price.
const NANOS_PER_MS: u64 = 1_000_000;

/// A quota: so many units a second, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    per_second: u32,
    burst: u32,
    /// Price of one unit in nanoseconds.
    unit_ns: u64,
    /// What may be owed at most, in nanoseconds.
    credit_ns: u64,
}

/// The state of one bucket: the time at which it will be full again, in nanoseconds of tick time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Quota {
    /// `per_second` units a second with `burst` at once. Zero counts as one: a quota of nothing is a closed door, which
    /// is what authorization is for.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::per(per_second.max(1), Millis(1_000), burst)
    }

    /// `count` units in `window` with `burst` at once.
    pub fn per(count: u32, window: Millis, burst: u32) -> Self {
        let (count, burst) = (count.max(1), burst.max(1));
        let whole_ns = window.0.max(1).saturating_mul(NANOS_PER_MS);
        let unit_ns = whole_ns.checked_div(u64::from(count)).unwrap_or(whole_ns).max(1);
        let per_second = u64::from(count).saturating_mul(1_000).checked_div(window.0.max(1)).unwrap_or(0);
        Self {
            per_second: u32::try_from(per_second).unwrap_or(u32::MAX),
            burst,
            unit_ns,
            credit_ns: unit_ns.saturating_mul(u64::from(burst)),
        }
    }

    /// Units a second, rounded down.
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Units at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The quota with rate and burst `factor` times as large.
    #[must_use]
    pub fn times(&self, factor: u32) -> Self {
        let factor = factor.max(1);
        Self {
            per_second: self.per_second.saturating_mul(factor),
            burst: self.burst.saturating_mul(factor),
            unit_ns: self.unit_ns.checked_div(u64::from(factor)).unwrap_or(1).max(1),
            credit_ns: self.credit_ns,
        }
    }

    /// Takes `units` from `bucket`, or says how long to wait. A refused charge takes nothing.
    #[inline]
    pub fn charge(&self, bucket: &mut Bucket, now: Tick, units: u32) -> Result<(), Millis> {
        *bucket = self.charged(*bucket, nanos(now), units)?;
        Ok(())
    }

    /// `bucket` after `units` were taken from it, or how long to wait.
    #[inline]
    fn charged(&self, bucket: Bucket, now_ns: u64, units: u32) -> Result<Bucket, Millis> {
        let full_at = bucket.0.max(now_ns).saturating_add(self.price_ns(units));
        // Not before now, since it is now at least.
        let owed = full_at.wrapping_sub(now_ns);
        if owed <= self.credit_ns { Ok(Bucket(full_at)) } else { Err(self.wait(owed)) }
    }

    #[cold]
    fn wait(&self, owed_ns: u64) -> Millis {
        Millis(owed_ns.saturating_sub(self.credit_ns).div_ceil(NANOS_PER_MS))
    }

    /// What `units` cost, as nanoseconds of the quota's own refilling.
    #[inline]
    pub fn price_ns(&self, units: u32) -> u64 {
        self.unit_ns.saturating_mul(u64::from(units))
    }

    /// The share of the burst that is used up, 0 to 1. For people to look at.
    #[expect(clippy::cast_precision_loss, reason = "a bar on a page")]
    pub fn used(&self, bucket: Bucket, now: Tick) -> f32 {
        let owed = bucket.0.saturating_sub(nanos(now));
        (owed as f32 / self.credit_ns as f32).min(1.0)
    }
}

/// `now` as buckets count it.
#[inline]
const fn nanos(now: Tick) -> u64 {
    now.0.saturating_mul(NANOS_PER_MS)
}

/// A keyed print of a rate key: what the tables hold instead of subjects and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Print(u64);

impl Print {
    /// The hash itself, for another table of fixed size.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// The secret of the prints, so that nobody can choose keys that fall together (CWE-407).
#[derive(Clone, Copy)]
pub struct PrintKey(u64, u64);

impl std::fmt::Debug for PrintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrintKey(..)")
    }
}

impl PrintKey {
    /// A key from 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        let wide = u128::from_le_bytes(random);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
        Self(wide as u64, (wide >> 64) as u64)
    }

    /// The print of `parts` under a domain, so that a subject never meets an address.
    pub fn print(&self, domain: u8, parts: &[u8]) -> Print {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write_u8(domain);
        hasher.write(parts);
        Print(hasher.finish().max(1))
    }
}

/// The two prefixes under which an address is counted: IPv4 /32 and /24, IPv6 /64 and /48.
///
/// One IPv6 host usually owns a whole /64, so a limit by address would be no limit. An IPv4-mapped IPv6 address counts
/// as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The narrow prefix.
    pub fine: Print,
    /// The wide prefix around it.
    pub coarse: Print,
}

impl Prefixes {
    /// The prefixes of `address`.
    pub fn of(key: &PrintKey, address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self { fine: key.print(b'4', &[a, b, c, d]), coarse: key.print(b'p', &[a, b, c]) }
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                let fine: Vec<u8> = [a, b, c, d].iter().flat_map(|part| part.to_be_bytes()).collect();
                let coarse = fine.get(..6).unwrap_or_default();
                Self { fine: key.print(b'6', &fine), coarse: key.print(b'q', coarse) }
            }
        }
    }
}

/// Slots that one key may use: a full set falls back to the coarser prefix.
const WAYS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    print: u64,
    count: Bucket,
    bytes: Bucket,
}

/// Buckets by key, of a fixed size.
///
/// Each entry holds a bucket for a count and one for bytes. Cost: one uncontended lock and a look at eight slots.
#[derive(Debug)]
pub struct RateTable {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
}

/// What a table said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Charge {
    /// Within the quota.
    Taken,
    /// Above it; the wait until it would pass.
    Over(Millis),
    /// No slot is free: the caller judges by a coarser key.
    NoSlot,
}

impl RateTable {
    /// A table for about `keys` keys (rounded up to a power of two), 24 bytes each plus a lock for eight of them.
    pub fn new(keys: usize) -> Self {
        let sets = (keys.max(WAYS) / WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Mutex::new([Slot::default(); WAYS])).collect() }
    }

    /// Charges one unit of `count` and `size` units of `bytes` to the buckets of `print`: both or neither.
    #[inline]
    pub fn charge(&self, print: Print, now: Tick, count: &Quota, bytes: Option<(&Quota, u32)>) -> Charge {
        self.charge_units(print, now, (count, 1), bytes)
    }

    /// As [`Self::charge`], of several units of `count`: all or nothing.
    #[inline]
    fn charge_units(
        &self,
        print: Print,
        now: Tick,
        (count, units): (&Quota, u32),
        bytes: Option<(&Quota, u32)>,
    ) -> Charge {
        let Some(set) = self.set(print) else {
            return Charge::NoSlot;
        };
        let now_ns = nanos(now);
        let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slot_of(&mut slots, print, now_ns) else {
            return Charge::NoSlot;
        };
        let of_bytes = bytes.map_or(Ok(slot.bytes), |(quota, size)| quota.charged(slot.bytes, now_ns, size));
        match (of_bytes, count.charged(slot.count, now_ns, units)) {
            (Ok(bytes), Ok(count)) => {
                (slot.bytes, slot.count) = (bytes, count);
                Charge::Taken
            }
            (Err(wait), _) | (_, Err(wait)) => Charge::Over(wait),
        }
    }

    /// The buckets of `print` as they stand: count, bytes. Absent keys have untouched ones.
    pub fn peek(&self, print: Print) -> (Bucket, Bucket) {
        let Some(set) = self.set(print) else {
            return (Bucket::default(), Bucket::default());
        };
        let slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .find(|slot| slot.print == print.0)
            .map_or((Bucket::default(), Bucket::default()), |slot| (slot.count, slot.bytes))
    }

    #[inline]
    fn set(&self, print: Print) -> Option<&Mutex<[Slot; WAYS]>> {
        let mask = self.sets.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
        self.sets.get(print.0 as usize & mask)
    }
}

/// The slot of `print`, which may be one that is free.
#[inline]
fn slot_of(slots: &mut [Slot; WAYS], print: Print, now_ns: u64) -> Option<&mut Slot> {
    match slots.iter().position(|slot| slot.print == print.0) {
        Some(place) => slots.get_mut(place),
        None => free_slot(slots, print, now_ns),
    }
}

/// A slot for `print`. A bucket that has refilled says nothing any more, so its slot is free.
#[cold]
fn free_slot(slots: &mut [Slot; WAYS], print: Print, now_ns: u64) -> Option<&mut Slot> {
    let is_free = |slot: &&mut Slot| {
        slot.count.0.max(slot.bytes.0) <= now_ns && !(slot.print > 0 && fault::is_on(Fault::SlotNeverFreed))
    };
    let slot = slots.iter_mut().find(is_free);
    if slot.is_none() && fault::is_on(Fault::TableUnbounded) {
        fault::waste(size_of::<[Slot; WAYS]>());
    }
    let slot = slot?;
    *slot = Slot { print: print.0, ..Slot::default() };
    Some(slot)
}

/// A bucket that all connections share, without a lock.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Takes `units` of `quota`, or says how long to wait.
    pub fn charge(&self, quota: &Quota, now: Tick, units: u32) -> Result<(), Millis> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mut bucket = Bucket(seen);
            quota.charge(&mut bucket, now, units)?;
            match self.0.compare_exchange_weak(seen, bucket.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => seen = current,
            }
        }
    }
}

/// Whether a limit acts or only says what it would have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Refuses.
    #[default]
    Enforce,
    /// Counts and logs; refuses nothing.
    Shadow,
}

/// The quotas of the guard.
#[derive(Clone, Debug)]
pub struct RatePolicy {
    /// Whether the quotas act.
    pub mode: Mode,
    /// Handshakes of one narrow prefix; four times as many of the wide one around it.
    ///
    /// 30 per 10 s: a household or office reconnecting after a server restart passes, a scan does not.
    pub handshakes: Quota,
    /// Messages of one subject, over all its sessions. 20 a second, 60 at once: faster than anybody types, slower than
    /// a script wants.
    pub messages: Quota,
    /// Bytes of one session. 256 KiB a second: four messages of the largest size.
    pub bytes: Quota,
    /// How many times the quotas of messages and bytes one narrow prefix has; the wide one has four times as much
    /// again. Many people share one address.
    pub prefix_factor: u32,
    /// Messages of the whole server.
    pub server: Quota,
    /// Keys in each table. A table of 65,536 keys takes 2 MiB.
    pub table_keys: usize,
}

impl Default for RatePolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            handshakes: Quota::per(30, Millis(10_000), 30),
            messages: Quota::new(20, 60),
            bytes: Quota::new(256 * 1024, 256 * 1024),
            prefix_factor: 4,
            server: Quota::new(100_000, 100_000),
            table_keys: 65_536,
        }
    }
}

/// The quotas of a policy, those of prefixes computed. They change with the policy while the buckets stay.
#[derive(Debug)]
pub struct Quotas {
    policy: RatePolicy,
    prefix_messages: Quota,
    prefix_bytes: Quota,
    wide_messages: Quota,
    wide_bytes: Quota,
    wide_handshakes: Quota,
}

impl Quotas {
    /// The quotas of `policy`.
    pub fn new(policy: RatePolicy) -> Self {
        let prefix_messages = policy.messages.times(policy.prefix_factor);
        let prefix_bytes = policy.bytes.times(policy.prefix_factor);
        Self {
            wide_messages: prefix_messages.times(4),
            wide_bytes: prefix_bytes.times(4),
            wide_handshakes: policy.handshakes.times(4),
            prefix_messages,
            prefix_bytes,
            policy,
        }
    }
}

/// What messages weigh: how many they are, and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) messages: u32,
    pub(crate) bytes: u32,
}

/// How far [`Limiter::messages`] has come: the last bucket that is charged, in the order in which they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Charged {
    #[default]
    Nothing,
    Server,
    Subject,
    Prefix,
    All,
}

/// Messages of one read, charged together before they are judged one by one.
///
/// One visit of the shared buckets instead of one for each message. Where a bucket has no room for all of them it is not
/// charged ahead, nor are those behind it: each message then finds out by itself, as if it had come alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    bytes: u32,
    messages: u8,
    charged: Charged,
}

impl Ahead {
    /// `messages` of `bytes` together were charged to the buckets up to `charged`.
    pub(crate) const fn new(messages: u8, bytes: u32, charged: Charged) -> Self {
        Self { bytes, messages, charged }
    }

    /// What is charged already for a message of `size` bytes; `None` for one that was not among them.
    #[inline]
    pub(crate) fn take(&mut self, size: u32) -> Option<Charged> {
        let messages = self.messages.checked_sub(1)?;
        let bytes = self.bytes.checked_sub(size)?;
        (self.messages, self.bytes) = (messages, bytes);
        Some(self.charged)
    }
}

/// The buckets that connections share.
#[derive(Debug)]
pub struct Limiter {
    key: PrintKey,
    handshakes: RateTable,
    /// Handshakes with a foreign Host or Origin: a quota of their own, since any web page can provoke them from a visitor's
    /// address, and must not use up that visitor's handshakes.
    foreign: RateTable,
    prefixes: RateTable,
    wide_prefixes: RateTable,
    subjects: RateTable,
    types: RateTable,
    server: SharedBucket,
}

impl Limiter {
    /// Empty buckets for about `table_keys` keys in each table; `key` hashes subjects and addresses.
    pub fn new(table_keys: usize, key: PrintKey) -> Self {
        let table = || RateTable::new(table_keys);
        Self {
            key,
            handshakes: table(),
            foreign: RateTable::new(table_keys / 4),
            prefixes: table(),
            wide_prefixes: table(),
            subjects: table(),
            types: table(),
            server: SharedBucket::default(),
        }
    }

    /// The prefixes under which `address` is counted.
    pub fn prefixes_of(&self, address: IpAddr) -> Prefixes {
        Prefixes::of(&self.key, address)
    }

    /// The print under which `subject` is counted.
    pub fn print_of(&self, subject: &str) -> Print {
        self.key.print(b's', subject.as_bytes())
    }

    /// Charges a handshake, before any signature is checked.
    pub fn handshake(&self, quotas: &Quotas, prefixes: Prefixes, now: Tick) -> Result<(), (&'static str, Millis)> {
        match self.handshakes.charge(prefixes.fine, now, &quotas.policy.handshakes, None) {
            Charge::Over(_) if fault::is_on(Fault::HandshakesUncounted) => {}
            Charge::Over(wait) => return Err(("handshakes_of_prefix", wait)),
            Charge::Taken | Charge::NoSlot => {}
        }
        match self.wide_prefixes.charge(hashed_apart(prefixes.coarse), now, &quotas.wide_handshakes, None) {
            Charge::Taken => Ok(()),
            Charge::Over(_) if fault::is_on(Fault::WideHandshakesUncounted) => Ok(()),
            Charge::Over(wait) => Err(("handshakes_of_wide_prefix", wait)),
            Charge::NoSlot if fault::is_on(Fault::FullTableOpen) => Ok(()),
            Charge::NoSlot => Err(("handshake_table_full", Millis(1_000))),
        }
    }

    /// Charges a handshake with a foreign Host or Origin, which touches nothing else.
    pub fn foreign(&self, quotas: &Quotas, prefixes: Prefixes, now: Tick) -> Result<(), (&'static str, Millis)> {
        match self.foreign.charge(prefixes.fine, now, &quotas.policy.handshakes, None) {
            Charge::Taken => Ok(()),
            Charge::Over(_) if fault::is_on(Fault::ForeignUncounted) => Ok(()),
            Charge::Over(wait) => Err(("foreign_handshakes_of_prefix", wait)),
            Charge::NoSlot if fault::is_on(Fault::FullForeignOpen) => Ok(()),
            Charge::NoSlot => Err(("handshake_table_full", Millis(1_000))),
        }
    }

    /// Charges one message of `size` bytes to everything that outlives the session.
    pub fn message(
        &self,
        quotas: &Quotas,
        subject: Option<Print>,
        prefixes: Prefixes,
        now: Tick,
        size: u32,
    ) -> Result<(), (&'static str, Millis)> {
        self.messages(quotas, subject, prefixes, now, Load { messages: 1, bytes: size }, &mut Charged::default())
    }

    /// Charges `load` to everything that outlives the session, each bucket with all of it or nothing, from the first that
    /// is not `charged` yet up to the first that refuses.
    #[inline]
    pub(crate) fn messages(
        &self,
        quotas: &Quotas,
        subject: Option<Print>,
        prefixes: Prefixes,
        now: Tick,
        load: Load,
        charged: &mut Charged,
    ) -> Result<(), (&'static str, Millis)> {
        let Load { messages, bytes } = load;
        if *charged < Charged::Server {
            let units = if fault::is_on(Fault::ServerUncharged) { 0 } else { messages };
            self.server.charge(&quotas.policy.server, now, units).map_err(|wait| ("messages_of_server", wait))?;
            *charged = Charged::Server;
        }
        if *charged < Charged::Subject {
            if let Some(subject) = subject {
                // Without a slot the subject is judged by its address alone.
                let doubled = if fault::is_on(Fault::QuotaDoubled) { 2 } else { 1 };
                let quota = quotas.policy.messages.times(doubled);
                if let Charge::Over(wait) = self.subjects.charge_units(subject, now, (&quota, messages), None) {
                    return Err(("messages_of_subject", wait));
                }
            }
            *charged = Charged::Subject;
        }
        if *charged < Charged::Prefix {
            let of_bytes = (!fault::is_on(Fault::PrefixBytesUncharged)).then_some((&quotas.prefix_bytes, bytes));
            let units = if fault::is_on(Fault::PrefixMessagesUncharged) { 0 } else { messages };
            let count = (&quotas.prefix_messages, units);
            if let Charge::Over(wait) = self.prefixes.charge_units(prefixes.fine, now, count, of_bytes) {
                return Err(("quota_of_prefix", wait));
            }
            *charged = Charged::Prefix;
        }
        if *charged < Charged::All {
            let of_bytes = (!fault::is_on(Fault::WideBytesUncharged)).then_some((&quotas.wide_bytes, bytes));
            let units = if fault::is_on(Fault::WideMessagesUncharged) { 0 } else { messages };
            let count = (&quotas.wide_messages, units);
            match self.wide_prefixes.charge_units(prefixes.coarse, now, count, of_bytes) {
                Charge::Taken => *charged = Charged::All,
                Charge::Over(wait) => return Err(("quota_of_wide_prefix", wait)),
                Charge::NoSlot if fault::is_on(Fault::FullTableOpen) => {}
                Charge::NoSlot => return Err(("rate_table_full", Millis(1_000))),
            }
        }
        Ok(())
    }

    /// Charges one message of a type with a quota of its own.
    pub fn typed(&self, subject: Print, kind: u16, quota: &Quota, now: Tick) -> Result<(), Millis> {
        let mut key = [0; 10];
        let (of_subject, of_kind) = key.split_at_mut(8);
        of_subject.copy_from_slice(&subject.0.to_le_bytes());
        of_kind.copy_from_slice(&kind.to_le_bytes());
        match self.types.charge(self.key.print(b't', &key), now, quota, None) {
            Charge::Taken => Ok(()),
            Charge::Over(_) if fault::is_on(Fault::TypeQuotaUncharged) => Ok(()),
            Charge::Over(wait) => Err(wait),
            Charge::NoSlot if fault::is_on(Fault::FullTypesOpen) => Ok(()),
            Charge::NoSlot => Err(Millis(1_000)),
        }
    }

    /// How full the buckets of a peer are, for people to look at.
    pub fn levels(
        &self,
        quotas: &Quotas,
        subject: Option<Print>,
        prefixes: Prefixes,
        now: Tick,
    ) -> [(&'static str, Quota, f32); 3] {
        let of_subject = subject.map_or(Bucket::default(), |print| self.subjects.peek(print).0);
        let (count, bytes) = self.prefixes.peek(prefixes.fine);
        [
            ("messages of this subject", quotas.policy.messages, quotas.policy.messages.used(of_subject, now)),
            ("messages of this address", quotas.prefix_messages, quotas.prefix_messages.used(count, now)),
            ("bytes of this address", quotas.prefix_bytes, quotas.prefix_bytes.used(bytes, now)),
        ]
    }
}

/// Handshakes and messages of a wide prefix share a table but not a bucket.
fn hashed_apart(print: Print) -> Print {
    Print(print.0.rotate_left(32).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrintKey {
        PrintKey::new([7; 16])
    }

    #[test]
    fn a_quota_gives_its_burst_and_then_its_rate() {
        let quota = Quota::new(20, 60);
        let mut bucket = Bucket::default();
        let passed = (0..1_000).filter(|_| quota.charge(&mut bucket, Tick(5_000), 1).is_ok()).count();
        assert_eq!(passed, 60);
        assert_eq!(quota.charge(&mut bucket, Tick(5_000), 1), Err(Millis(50)), "the wait is exact");
        assert_eq!(quota.charge(&mut bucket, Tick(5_049), 1), Err(Millis(1)));
        assert_eq!(quota.charge(&mut bucket, Tick(5_050), 1), Ok(()));
        assert_eq!(
            quota.charge(&mut bucket, Tick(5_000), 1),
            Err(Millis(100)),
            "a clock that steps back gives nothing"
        );
    }

    #[test]
    fn a_full_table_falls_back_and_a_refilled_bucket_is_free() {
        let table = RateTable::new(8);
        let quota = Quota::new(1, 1);
        for number in 0..8_u8 {
            assert_eq!(table.charge(key().print(0, &[number]), Tick(0), &quota, None), Charge::Taken, "{number}");
        }
        assert_eq!(table.charge(key().print(0, &[8]), Tick(0), &quota, None), Charge::NoSlot);
        assert_eq!(table.charge(key().print(0, &[0]), Tick(0), &quota, None), Charge::Over(Millis(1_000)));
        assert_eq!(table.charge(key().print(0, &[8]), Tick(1_000), &quota, None), Charge::Taken);
    }

    #[test]
    fn addresses_fall_into_their_prefixes() {
        let of = |text: &str| Prefixes::of(&key(), text.parse().unwrap());
        for (name, left, right, fine, coarse) in [
            ("same host", "192.0.2.1", "192.0.2.1", true, true),
            ("same /24", "192.0.2.1", "192.0.2.200", false, true),
            ("other /24", "192.0.2.1", "192.0.3.1", false, false),
            ("mapped", "192.0.2.1", "::ffff:192.0.2.1", true, true),
            ("same /64", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true, true),
            ("same /48", "2001:db8:1:2::1", "2001:db8:1:3::1", false, true),
            ("other /48", "2001:db8:1:2::1", "2001:db8:2:2::1", false, false),
        ] {
            assert_eq!(of(left).fine == of(right).fine, fine, "{name}: fine");
            assert_eq!(of(left).coarse == of(right).coarse, coarse, "{name}: coarse");
        }
    }

    #[test]
    fn a_refused_message_costs_no_bytes() {
        let table = RateTable::new(64);
        let (count, bytes) = (Quota::new(1, 1), Quota::new(100, 100));
        let print = key().print(0, b"x");
        assert_eq!(table.charge(print, Tick(0), &count, Some((&bytes, 40))), Charge::Taken);
        let before = table.peek(print);
        assert!(matches!(table.charge(print, Tick(0), &count, Some((&bytes, 40))), Charge::Over(_)));
        assert_eq!(table.peek(print), before);
    }
}
