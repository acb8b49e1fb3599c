//! What the audit may cost its target: counted, printed, kept. And when the target says "enough", the audit listens.

mod gate;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::measure::Record;
use crate::pace::Pace;
pub(crate) use gate::UNPACED;
use gate::{Crowd, Gate};

/// Most that a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections opened.
    pub handshakes: u64,
    /// Of these in any 10 s, unless a check asks for a burst. The audit begins with 26, since many servers allow 30 or
    /// 45, and adds 6 after each 10 s without a limit.
    pub handshakes_per_10_s: usize,
    /// Connections open at a time.
    pub sockets: u32,
    /// Messages sent, control frames and fragments not counted.
    pub messages: u64,
    /// Frames sent, of any kind.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Duration in seconds.
    pub seconds: u64,
}

impl Limits {
    /// A stranger's server, looked at once.
    pub const DEFAULT: Self = Self {
        handshakes: 400,
        handshakes_per_10_s: 44,
        sockets: 16,
        messages: 1_000,
        frames: 12_000,
        bytes: 12 * 1024 * 1024,
        seconds: 116,
    };

    /// With `--full`.
    pub const FULL: Self = Self {
        handshakes: 2_000,
        handshakes_per_10_s: 44,
        sockets: 72,
        messages: 20_000,
        frames: 120_000,
        bytes: 160 * 1024 * 1024,
        seconds: 45 * 60,
    };
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Spent {
    /// The budget for connections.
    #[error("the budget for handshakes is used up")]
    Handshakes,
    /// The budget for messages or frames.
    #[error("the budget for messages is used up")]
    Messages,
    /// The budget for bytes.
    #[error("the budget for bytes is used up")]
    Bytes,
    /// The time.
    #[error("the time of the audit is used up")]
    Time,
    /// The target limited the audit too often.
    #[error("the target limits the audit again and again")]
    Limited,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// Connections opened.
    pub handshakes: u64,
    /// Most connections open at a time.
    pub sockets: u32,
    /// Messages sent.
    pub messages: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Times that the target limited the audit, and the audit paused.
    pub limited: u64,
}

/// Times that the target may limit the audit before it stops knocking.
const LIMITED_MAX: u64 = 8;

/// Longest pause after a limit, in seconds: an audit waits out a window, not an hour.
const PAUSE_SECONDS_MAX: f64 = 31.0;

/// How often a full house is looked at.
const PLACE_POLL: Duration = Duration::from_millis(50);

/// How long a target may count a connection that we have closed, in seconds.
const LINGER_SECONDS: f64 = 0.3;

/// The account of a run.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    pace: Pace,
    started: Instant,
    sockets: Arc<Semaphore>,
    places: Arc<Places>,
    messages: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    gate: Mutex<Gate>,
    record: Record,
}

/// Connections that are open now.
#[derive(Debug, Default)]
struct Places {
    /// All that the target may count.
    open: AtomicU32,
    /// Of these, those that it let in.
    settled: AtomicU32,
    /// Of these, those of checks that wait.
    waiting: AtomicU32,
    /// Most that were ever let in at a time.
    let_in: AtomicU32,
    /// When the last ones were closed that had been let in.
    closed: Mutex<VecDeque<Instant>>,
}

impl Places {
    /// Connections that the target may still count though they are closed.
    fn lingering(&self, now: Instant, linger: Duration) -> u32 {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        while closed.front().is_some_and(|at| now.saturating_duration_since(*at) >= linger) {
            closed.pop_front();
        }
        u32::try_from(closed.len()).unwrap_or(u32::MAX)
    }
}

/// The right to one connection, as long as it is open.
#[derive(Debug)]
pub(crate) struct Permit {
    places: Arc<Places>,
    is_settled: bool,
    is_waiting: bool,
    is_aside: bool,
    _socket: OwnedSemaphorePermit,
}

impl Permit {
    /// The target let the connection in.
    pub(crate) fn settle(&mut self) {
        if !self.is_settled {
            self.is_settled = true;
            let settled = self.places.settled.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            self.places.let_in.fetch_max(settled, Ordering::Relaxed);
        }
    }

    /// It will be held for long.
    pub(crate) fn wait(&mut self) {
        if !self.is_waiting && !self.is_aside {
            self.is_waiting = true;
            self.places.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It will never be let in, and so takes no place among those that are.
    pub(crate) fn set_aside(&mut self) {
        if !self.is_aside {
            self.is_aside = true;
            self.leave();
        }
    }

    fn leave(&self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        if self.is_waiting {
            self.places.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_aside {
            self.leave();
        }
        if self.is_settled {
            self.places.settled.fetch_sub(1, Ordering::Relaxed);
            self.places.closed.lock().unwrap_or_else(PoisonError::into_inner).push_back(Instant::now());
        }
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits, pace: Pace) -> Self {
        Self {
            limits,
            pace,
            started: Instant::now(),
            sockets: Arc::new(Semaphore::new(limits.sockets as usize)),
            places: Arc::default(),
            messages: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            gate: Mutex::new(Gate::new(limits, pace.seconds(10.0))),
            record: Record::default(),
        }
    }

    /// What was measured until now.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// When the time of the run is over.
    pub(crate) fn ends_at(&self) -> Instant {
        self.after(
            self.started,
            self.pace.seconds(1.0).saturating_mul(u32::try_from(self.limits.seconds).unwrap_or(u32::MAX)),
        )
    }

    fn after(&self, from: Instant, by: Duration) -> Instant {
        // A clock at its end is no reason to fail; the run ends at once then.
        from.checked_add(by).unwrap_or(self.started)
    }

    /// How much of the run is left.
    pub(crate) fn left(&self) -> Duration {
        self.ends_at().saturating_duration_since(Instant::now())
    }

    /// Connections that are open and were let in.
    pub(crate) fn settled(&self) -> u32 {
        self.places.settled.load(Ordering::Relaxed)
    }

    /// Connections that are open and belong to checks that wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.places.waiting.load(Ordering::Relaxed)
    }

    /// How many connections at a time the target allows, once that was met.
    pub(crate) fn cap(&self) -> Option<u32> {
        let most = self.gate().sockets_max;
        (most < self.limits.sockets).then_some(most)
    }

    /// Connections that may still be opened beside those that are open.
    pub(crate) fn room(&self) -> u32 {
        self.gate().sockets_max.saturating_sub(self.places.open.load(Ordering::Relaxed))
    }

    /// The target was found to count handshakes.
    pub(crate) fn counts_handshakes(&self) -> bool {
        self.gate().is_even
    }

    /// A limit was met that neither the pace nor the connections at a time explain.
    pub(crate) fn is_puzzled(&self) -> bool {
        self.gate().is_puzzled
    }

    /// Most connections that were ever let in at a time.
    pub(crate) fn let_in(&self) -> u32 {
        self.places.let_in.load(Ordering::Relaxed)
    }

    /// The last limit may have been one of connections at a time. Asked once.
    pub(crate) fn may_be_full(&self) -> bool {
        std::mem::take(&mut self.gate().may_be_full)
    }

    /// Waits for the time that the target named, if it did, and keeps everybody but the caller from knocking meanwhile
    /// and for so many seconds more.
    pub(crate) async fn keep_off(&self, seconds: f64) {
        let named = {
            let mut gate = self.gate();
            let from = gate.told_at.unwrap_or_else(Instant::now).max(Instant::now());
            let until = self.after(from, self.pace.seconds(seconds));
            gate.resume_at = gate.resume_at.max(Some(until));
            gate.told_at
        };
        if let Some(named) = named {
            sleep_until(named.min(self.ends_at())).await;
        }
    }

    /// So many connections at a time are all that the target lets in, as was tried.
    pub(crate) fn is_full_at(&self, settled: u32) {
        self.gate().is_full_at(settled);
    }

    /// They were not what the target limited.
    pub(crate) fn is_not_full(&self) {
        self.gate().sockets_max = self.limits.sockets;
    }

    /// Waits until another connection may be opened.
    pub(crate) async fn handshake(&self) -> Result<Permit, Spent> {
        self.take(true, true).await
    }

    /// The same though the target may have said that so many at a time are too many: for the check that asks for that.
    pub(crate) async fn handshake_beyond(&self) -> Result<Permit, Spent> {
        self.take(true, false).await
    }

    /// The same without regard for the pace: for checks that look for a limit, which rest afterwards.
    pub(crate) async fn handshake_at_once(&self) -> Result<Permit, Spent> {
        self.take(false, false).await
    }

    /// The target limits requests of any kind.
    pub(crate) fn counts_requests(&self) -> bool {
        self.gate().counts_requests
    }

    /// It said so.
    pub(crate) fn request_limited(&self) {
        self.gate().counts_requests = true;
    }

    /// Waits until another request may be sent on a connection that is open.
    pub(crate) async fn request(&self) -> Result<(), Spent> {
        loop {
            let wait_until = {
                let mut gate = self.gate();
                let now = Instant::now();
                if now >= self.ends_at() {
                    return Err(Spent::Time);
                }
                let Some(at) = gate.slot(now) else {
                    gate.recent.push_back(now);
                    return Ok(());
                };
                at
            };
            sleep_until(wait_until.min(self.ends_at())).await;
        }
    }

    async fn take(&self, paced: bool, within_cap: bool) -> Result<Permit, Spent> {
        let ends_at = self.ends_at();
        let socket = tokio::time::timeout_at(ends_at, Arc::clone(&self.sockets).acquire_owned())
            .await
            .map_err(|_| Spent::Time)?
            .map_err(|_| Spent::Handshakes)?;
        loop {
            let wait_until = {
                let mut gate = self.gate();
                let now = Instant::now();
                if now >= ends_at {
                    return Err(Spent::Time);
                }
                if gate.limited >= LIMITED_MAX {
                    return Err(Spent::Limited);
                }
                if gate.handshakes >= self.limits.handshakes {
                    return Err(Spent::Handshakes);
                }
                gate.quicken(now, self.limits.handshakes_per_10_s);
                let slot = gate.slot(now).filter(|_| paced);
                let resume = gate.resume_at.filter(|at| paced && *at > now);
                let open = self.places.open.load(Ordering::Relaxed);
                // A place becomes free when some check gives one up, which nobody announces.
                let counted = if gate.sockets_max < self.limits.sockets {
                    open.saturating_add(self.places.lingering(now, self.pace.seconds(LINGER_SECONDS)))
                } else {
                    open
                };
                let place = (within_cap && counted >= gate.sockets_max).then(|| self.after(now, PLACE_POLL));
                let Some(at) = slot.into_iter().chain(resume).chain(place).max() else {
                    gate.handshakes = gate.handshakes.saturating_add(1);
                    self.record.sent(self.elapsed(), 1, 0);
                    gate.recent.push_back(now);
                    gate.sockets_most = gate.sockets_most.max(open.saturating_add(1));
                    self.places.open.fetch_add(1, Ordering::Relaxed);
                    return Ok(Permit {
                        places: Arc::clone(&self.places),
                        is_settled: false,
                        is_waiting: false,
                        is_aside: false,
                        _socket: socket,
                    });
                };
                at
            };
            sleep_until(wait_until.min(ends_at)).await;
        }
    }

    /// Waits until another message may be sent to a target that has limited the audit.
    pub(crate) async fn message(&self) {
        loop {
            let slot = self.gate().message(Instant::now());
            let Some(at) = slot else { return };
            sleep_until(at.min(self.ends_at())).await;
            if Instant::now() >= self.ends_at() {
                return;
            }
        }
    }

    /// Books frames that are about to be sent.
    pub(crate) fn send(&self, messages: u64, frames: u64, bytes: u64) -> Result<(), Spent> {
        if Instant::now() >= self.ends_at() {
            return Err(Spent::Time);
        }
        let book = |counter: &AtomicU64, more: u64, max: u64| {
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|sum| *sum <= max)
            })
        };
        book(&self.messages, messages, self.limits.messages).map_err(|_| Spent::Messages)?;
        book(&self.frames, frames, self.limits.frames).map_err(|_| Spent::Messages)?;
        book(&self.bytes, bytes, self.limits.bytes).map_err(|_| Spent::Bytes)?;
        self.record.sent(self.elapsed(), 0, messages);
        Ok(())
    }

    /// The target said "enough" to a handshake: nothing is opened until it has had its rest.
    pub(crate) fn limited(&self, how: &str, retry_after: Option<Duration>) {
        let mut gate = self.gate();
        let now = Instant::now();
        let open = self.places.open.load(Ordering::Relaxed);
        // It counts one that is on its way out.
        if gate.is_capped && open >= gate.sockets_max {
            let resume = self.after(now, self.pace.seconds(1.0));
            gate.rest_until(resume, now, how);
            return;
        }
        if gate.limited(now, Crowd { open, let_in: self.let_in() }, retry_after.is_some()) {
            self.record.limited(self.elapsed());
        }
        self.rest_until(&mut gate, now, how, retry_after);
    }

    /// It said so to a message, which tells nothing of handshakes.
    pub(crate) fn message_limited(&self, how: &str) {
        let mut gate = self.gate();
        let now = Instant::now();
        if gate.message_limited(now) {
            self.record.limited(self.elapsed());
        }
        self.rest_until(&mut gate, now, how, None);
    }

    fn rest_until(&self, gate: &mut Gate, now: Instant, how: &str, retry_after: Option<Duration>) {
        let pause = match retry_after {
            Some(real) => real.min(self.pace.seconds(PAUSE_SECONDS_MAX)),
            None => self.pace.seconds(10.0),
        };
        let resume = self.after(now, pause);
        gate.told_at = retry_after.map(|_| resume);
        gate.rest_until(resume, now, how);
    }

    /// Handshakes of the last 10 s.
    pub(crate) fn recent(&self) -> usize {
        self.gate().recent(Instant::now())
    }

    /// Whether the target limited the audit since `then`, and how.
    pub(crate) fn limited_since(&self, then: Instant) -> Option<String> {
        self.gate().limited_at.as_ref().filter(|(at, _)| *at >= then).map(|(_, how)| how.clone())
    }

    /// Lets a full window pass in which nothing is opened.
    pub(crate) async fn rest(&self, seconds: f64) {
        let until = self.after(Instant::now(), self.pace.seconds(seconds)).min(self.ends_at());
        sleep_until(until).await;
    }

    pub(crate) fn used(&self) -> Used {
        let gate = self.gate();
        Used {
            handshakes: gate.handshakes,
            sockets: gate.sockets_most,
            messages: self.messages.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            limited: gate.limited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gate::MESSAGES_PACED;
    use super::*;

    fn budget(limits: Limits) -> Budget {
        Budget::new(limits, Pace::REAL)
    }

    /// Connections that the target let in.
    async fn let_in(budget: &Budget, count: usize) -> Vec<Permit> {
        let mut held = Vec::new();
        for _ in 0..count {
            let mut permit = budget.handshake().await.unwrap();
            permit.settle();
            held.push(permit);
        }
        held
    }

    /// The pace, and whether it is even.
    fn pace_of(budget: &Budget) -> (usize, bool) {
        let gate = budget.gate();
        (gate.pace, gate.is_even)
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_keep_their_pace() {
        let budget = budget(Limits { handshakes_per_10_s: 5, ..Limits::DEFAULT });
        let started = Instant::now();
        for _ in 0..11 {
            drop(budget.handshake().await.unwrap());
        }
        assert_eq!(started.elapsed().as_secs(), 20);
        assert_eq!(budget.used().handshakes, 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_the_target_pauses_everything_and_counts_once() {
        let budget = budget(Limits::DEFAULT);
        let started = Instant::now();
        budget.limited("429", Some(Duration::from_secs(7)));
        budget.limited("429", Some(Duration::from_secs(3)));
        drop(budget.handshake().await.unwrap());
        assert_eq!((started.elapsed().as_secs(), budget.used().limited), (7, 1));
        assert!(budget.limited_since(started).is_some());
        for _ in 1..LIMITED_MAX {
            budget.limited("429", None);
            budget.rest(10.0).await;
        }
        assert_eq!(budget.handshake().await.unwrap_err(), Spent::Limited);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_rises_while_the_target_takes_it() {
        let budget = budget(Limits::DEFAULT);
        let started = Instant::now();
        for _ in 0..=(26 + 32 + 38 + 44 + 44) {
            drop(budget.handshake().await.unwrap());
        }
        assert_eq!(started.elapsed().as_secs(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_paced_once_the_target_limits() {
        let budget = budget(Limits::DEFAULT);
        let started = Instant::now();
        for _ in 0..100 {
            budget.message().await;
        }
        assert_eq!(started.elapsed().as_secs(), 0);
        budget.limited("429", None);
        let limited = Instant::now();
        for _ in 0..=(2 * MESSAGES_PACED) {
            budget.message().await;
        }
        assert_eq!(limited.elapsed().as_secs(), 30, "100 were sent before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_the_target_is_learnt_once() {
        let budget = budget(Limits::DEFAULT);
        for _ in 0..20 {
            drop(budget.handshake().await.unwrap());
        }
        budget.limited("429", None);
        let resumed = Instant::now();
        for _ in 0..6 {
            drop(budget.handshake().await.unwrap());
        }
        assert_eq!(resumed.elapsed().as_millis(), 12_500, "five, and the next a quarter of the window later");
        for _ in 6..35 {
            drop(budget.handshake().await.unwrap());
        }
        assert_eq!(resumed.elapsed().as_secs(), 30, "17 in 10 s from now on");
        assert_eq!(budget.used().limited, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_of_connections_is_told_from_a_limit_of_handshakes() {
        let budget = budget(Limits::DEFAULT);
        let mut held = let_in(&budget, 5).await;
        // What is refused is open as well, for a moment.
        let refused = budget.handshake().await.unwrap();
        budget.limited("429", None);
        drop(refused);
        assert_eq!(budget.room(), 0, "five at a time");
        held.truncate(3);
        assert_eq!(budget.room(), 2);
        budget.rest(10.0).await;
        let started = Instant::now();
        for _ in 0..20 {
            drop(budget.handshake().await.unwrap());
        }
        assert_eq!(started.elapsed().as_secs(), 0, "the pace is what it was, and nothing is spread");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_below_what_was_let_in_is_no_cap() {
        let budget = budget(Limits::DEFAULT);
        let mut held = let_in(&budget, 8).await;
        held.truncate(4);
        let refused = budget.handshake().await.unwrap();
        budget.limited("429", Some(Duration::from_secs(30)));
        drop(refused);
        assert_eq!((budget.cap(), budget.is_puzzled(), budget.may_be_full()), (None, true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_that_was_tried_stays_and_pauses_nothing() {
        let budget = budget(Limits::DEFAULT);
        for _ in 0..14 {
            drop(budget.handshake().await.unwrap());
        }
        let _held = let_in(&budget, 6).await;
        let refused = budget.handshake().await.unwrap();
        budget.limited("429", None);
        drop(refused);
        assert!(budget.may_be_full() && !budget.may_be_full(), "asked once");
        assert_eq!(pace_of(&budget), (17, true), "looks like a limit of handshakes");
        budget.is_full_at(6);
        assert_eq!((budget.cap(), pace_of(&budget)), (Some(6), (26, false)));
        let started = Instant::now();
        let lagging = budget.handshake_beyond().await.unwrap();
        budget.limited("429", None);
        drop(lagging);
        assert_eq!(budget.used().limited, 1, "one that is on its way out was counted");
        assert_eq!(budget.cap(), Some(6));
        drop(budget.handshake_beyond().await.unwrap());
        assert_eq!(started.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_closed_may_be_counted_for_a_moment() {
        let budget = budget(Limits::DEFAULT);
        let mut held = let_in(&budget, 5).await;
        budget.is_full_at(5);
        held.pop();
        let started = Instant::now();
        held.extend(let_in(&budget, 1).await);
        assert_eq!(started.elapsed().as_millis(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_of_connections_explains_the_limit_before() {
        let budget = budget(Limits::DEFAULT);
        let mut held = Vec::new();
        for number in 0..20 {
            let mut permit = budget.handshake().await.unwrap();
            if number < 5 {
                permit.settle();
                held.push(permit);
            }
        }
        budget.limited("429", None);
        assert_eq!(pace_of(&budget), (17, true), "looks like a limit of handshakes");
        budget.rest(10.0).await;
        let refused = budget.handshake().await.unwrap();
        budget.limited("429", None);
        drop(refused);
        assert_eq!(budget.cap(), Some(5));
        assert_eq!(pace_of(&budget), (17, false), "a pace that did no harm, in any rhythm");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_at_a_limit_was_not_let_in() {
        let budget = budget(Limits::DEFAULT);
        for _ in 0..26 {
            drop(budget.handshake().await.unwrap());
        }
        for _ in 0..6 {
            budget.limited("429", None);
        }
        assert_eq!(pace_of(&budget), (17, true), "of 26 five were under way at the first refusal");
        assert_eq!(budget.used().limited, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_locked_out_learns_no_pace() {
        let budget = budget(Limits::DEFAULT);
        for round in 0..3 {
            for _ in 0..6 {
                drop(budget.handshake().await.unwrap());
            }
            for _ in 0..6 {
                budget.limited("close 4429", None);
            }
            assert_eq!(pace_of(&budget), (26, false), "round {round}");
        }
        assert!(budget.is_puzzled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_when_to_come_back_counts_handshakes() {
        for (retry_after, is_even) in [(None, false), (Some(Duration::from_secs(1)), true)] {
            let budget = budget(Limits::DEFAULT);
            drop(budget.handshake().await.unwrap());
            budget.limited("429", retry_after);
            assert_eq!(pace_of(&budget), (26, is_even), "{retry_after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_messages_tells_nothing_of_handshakes() {
        let budget = budget(Limits::DEFAULT);
        let _held = let_in(&budget, 5).await;
        budget.message_limited("too fast");
        assert_eq!((budget.cap(), pace_of(&budget)), (None, (26, false)));
        assert!(budget.gate().paces_messages);
        assert_eq!(budget.used().limited, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_once() {
        let budget = budget(Limits { sockets: 4, ..Limits::DEFAULT });
        let (mut slow, mut waits) = (budget.handshake().await.unwrap(), budget.handshake().await.unwrap());
        slow.set_aside();
        slow.wait();
        waits.wait();
        assert_eq!((budget.room(), budget.waiting()), (3, 1));
        drop(slow);
        assert_eq!((budget.room(), budget.waiting()), (3, 1));
        waits.set_aside();
        assert_eq!((budget.room(), budget.waiting()), (4, 0));
        drop(waits);
        assert_eq!((budget.room(), budget.waiting()), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_check_that_asks_for_the_cap_goes_beyond_it() {
        let budget = budget(Limits { seconds: 30, ..Limits::DEFAULT });
        let mut held = let_in(&budget, 5).await;
        let refused = budget.handshake().await.unwrap();
        budget.limited("429", None);
        drop(refused);
        held.push(budget.handshake_beyond().await.unwrap());
        assert_eq!(budget.handshake().await.unwrap_err(), Spent::Time, "for all others the house is full");
    }

    #[tokio::test(start_paused = true)]
    async fn every_part_of_the_budget_ends() {
        let few = budget(Limits { handshakes: 1, messages: 1, bytes: 10, ..Limits::DEFAULT });
        drop(few.handshake().await.unwrap());
        assert_eq!(few.handshake().await.unwrap_err(), Spent::Handshakes);
        assert_eq!(few.send(1, 1, 11), Err(Spent::Bytes));
        assert_eq!(few.send(1, 1, 1), Err(Spent::Messages));
        let short = budget(Limits { seconds: 1, ..Limits::DEFAULT });
        short.rest(5.0).await;
        assert_eq!(short.handshake().await.unwrap_err(), Spent::Time);
        assert_eq!(short.send(0, 0, 0), Err(Spent::Time));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_sockets_at_a_time_than_allowed() {
        let budget = budget(Limits { sockets: 2, seconds: 5, ..Limits::DEFAULT });
        let first = budget.handshake().await.unwrap();
        let _second = budget.handshake().await.unwrap();
        assert_eq!(budget.handshake().await.unwrap_err(), Spent::Time);
        drop(first);
        assert_eq!(budget.used().sockets, 2);
    }
}
