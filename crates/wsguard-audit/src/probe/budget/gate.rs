//! What a run knows of its target's limits: how fast it may knock, how many connections it may hold, and when to pause.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// Handshakes in 10 s to begin with.
const PACE_FIRST: usize = 26;

/// A limit of handshakes in 10 s that is none, for a target of one's own.
pub(crate) const UNPACED: usize = usize::MAX;

/// More of them after 10 s without a limit.
const PACE_STEP: usize = 6;

/// Fewest handshakes in 10 s, whatever the target says: fewer would be no audit.
const PACE_MIN: usize = 6;

/// So few handshakes before a limit tell of no pace.
const LOCKED_OUT_MAX: usize = 2;

/// Into so many parts the 10 s fall, once the target has limited the audit.
const PARTS: u32 = 4;

/// Messages in 10 s, once the target has limited the audit: who counts handshakes counts messages as well, and may drop
/// without a word what is too much.
pub(super) const MESSAGES_PACED: usize = 50;

/// Fewest connections at a time: one that waits, one that is used, and a look at the target's health.
pub(super) const SOCKETS_MIN: u32 = 3;

/// What a limit taught of the pace, as long as something else may explain it.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    /// The pace before.
    pace: usize,
    /// Handshakes of the last 10 s when the limit was met, those under way included.
    recent: usize,
    /// Most connections that were let in at a time.
    let_in: u32,
    /// Messages were paced before.
    paces_messages: bool,
}

/// The connections with which a limit was met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    /// Those that are open, the one that was refused among them.
    pub(super) open: u32,
    /// Most that were ever let in at a time.
    pub(super) let_in: u32,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of the target, each by itself")]
pub(super) struct Gate {
    /// What a target is counted in: 10 s.
    window: Duration,
    pub(super) handshakes: u64,
    /// Handshakes in any 10 s: fewer than the budget allows, once the target said that these are too many.
    pub(super) pace: usize,
    /// The target counts handshakes: they come evenly.
    pub(super) is_even: bool,
    /// Why.
    lesson: Option<Lesson>,
    /// Handshakes that were refused because of the same limit as the one before.
    refused: usize,
    /// The target may count messages.
    pub(super) paces_messages: bool,
    /// A limit was met that neither explains.
    pub(super) is_puzzled: bool,
    /// When the pace was last thought over.
    paced_at: Instant,
    /// Connections at a time, once the target said the same of them.
    pub(super) sockets_max: u32,
    /// That was tried, and is no guess.
    pub(super) is_capped: bool,
    /// The last limit was met with more connections open than were ever let in: it may be one of these.
    pub(super) may_be_full: bool,
    /// When the target said that it wants the next handshake.
    pub(super) told_at: Option<Instant>,
    pub(super) sockets_most: u32,
    /// Times of the handshakes of the last 10 s.
    pub(super) recent: VecDeque<Instant>,
    /// Requests of any kind are limited.
    pub(super) counts_requests: bool,
    /// Times of the messages of the last 10 s.
    messages: VecDeque<Instant>,
    /// No handshake before this.
    pub(super) resume_at: Option<Instant>,
    /// When the target last said "enough", in what words.
    pub(super) limited_at: Option<(Instant, String)>,
    pub(super) limited: u64,
}

impl Gate {
    pub(super) fn new(limits: Limits, window: Duration) -> Self {
        Self {
            window,
            handshakes: 0,
            pace: if limits.handshakes_per_10_s == UNPACED {
                UNPACED
            } else {
                limits.handshakes_per_10_s.min(PACE_FIRST)
            },
            is_even: false,
            lesson: None,
            refused: 0,
            paces_messages: false,
            is_puzzled: false,
            paced_at: Instant::now(),
            sockets_max: limits.sockets,
            is_capped: false,
            may_be_full: false,
            told_at: None,
            sockets_most: 0,
            recent: VecDeque::new(),
            counts_requests: false,
            messages: VecDeque::new(),
            resume_at: None,
            limited_at: None,
            limited: 0,
        }
    }

    /// Handshakes of the last 10 s.
    pub(super) fn recent(&self, now: Instant) -> usize {
        self.recent.iter().filter(|at| now.saturating_duration_since(**at) < self.window).count()
    }

    /// Raises the pace after each 10 s without a limit.
    pub(super) fn quicken(&mut self, now: Instant, most: usize) {
        if self.limited == 0 && now.saturating_duration_since(self.paced_at) >= self.window {
            // Only what was used shows that it does no harm.
            if self.recent.len().saturating_add(PACE_STEP) >= self.pace {
                self.pace = self.pace.saturating_add(PACE_STEP).min(most);
            }
            self.paced_at = now;
        }
    }

    /// When the pace allows the next handshake; `None`: now. A target that counts handshakes gets them evenly: many
    /// limiters guess what is recent from the time before.
    pub(super) fn slot(&mut self, now: Instant) -> Option<Instant> {
        while self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.window) {
            self.recent.pop_front();
        }
        let full = self.recent.len() >= self.pace;
        let slot = self.recent.front().filter(|_| full).and_then(|at| at.checked_add(self.window));
        let part = self.window.div_f64(f64::from(PARTS));
        let share = self.pace.div_ceil(PARTS as usize).max(2);
        let newest = self.recent.len().checked_sub(share).and_then(|at| self.recent.get(at));
        let evenly = newest.filter(|_| self.is_even).and_then(|at| at.checked_add(part)).filter(|at| *at > now);
        slot.into_iter().chain(evenly).max()
    }

    /// When the pace allows the next message; `None`: now, and it is booked.
    pub(super) fn message(&mut self, now: Instant) -> Option<Instant> {
        while self.messages.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.window) {
            self.messages.pop_front();
        }
        let is_full = self.paces_messages && self.messages.len() >= MESSAGES_PACED;
        let slot = self.messages.front().filter(|_| is_full).and_then(|at| at.checked_add(self.window));
        if slot.is_none() {
            self.messages.push_back(now);
        }
        slot
    }

    /// A handshake was limited. Whether that is news: several that were under way meet the same limit.
    pub(super) fn limited(&mut self, now: Instant, crowd: Crowd, says_when: bool) -> bool {
        if self.resume_at.is_some_and(|at| at > now) {
            self.refused = self.refused.saturating_add(1);
            self.learn_more();
            return false;
        }
        self.limited = self.limited.saturating_add(1);
        self.refused = 0;
        self.may_be_full = !self.is_capped && crowd.open > crowd.let_in;
        let was_puzzled = self.is_puzzled;
        self.learn(now, crowd.let_in);
        // Who says when to come back counts handshakes, those of somebody before this run among them.
        self.is_even |= self.is_puzzled && !was_puzzled && says_when;
        true
    }

    /// A message was. The same.
    pub(super) fn message_limited(&mut self, now: Instant) -> bool {
        let is_new = self.resume_at.is_none_or(|at| at <= now);
        self.limited = self.limited.saturating_add(u64::from(is_new));
        self.paces_messages = true;
        is_new
    }

    /// Nothing is opened before.
    pub(super) fn rest_until(&mut self, resume: Instant, now: Instant, how: &str) {
        self.resume_at = Some(self.resume_at.map_or(resume, |at| at.max(resume)));
        self.limited_at = Some((now, how.to_owned()));
    }

    /// So many connections at a time are all that the target lets in: that was tried. The limit was none of handshakes.
    pub(super) fn is_full_at(&mut self, settled: u32) {
        self.sockets_max = settled.max(SOCKETS_MIN);
        self.is_capped = true;
        self.may_be_full = false;
        if let Some(lesson) = self.lesson.take() {
            self.pace = lesson.pace;
        }
        self.is_even = false;
        self.is_puzzled = false;
        self.resume_at = None;
    }

    /// Fewer than were too many: of handshakes in time, and of connections at a time where it was not the handshakes.
    fn learn(&mut self, now: Instant, let_in: u32) {
        let recent = self.recent(now);
        let is_slow = recent < self.pace.saturating_mul(3).div_euclid(5);
        if is_slow && self.may_be_full && let_in > SOCKETS_MIN && let_in < self.sockets_max {
            self.sockets_max = let_in;
            // The limit before may have been the same: then the pace is one that did no harm, and no more is known of it.
            if let Some(lesson) = self.lesson.take().filter(|lesson| lesson.let_in.saturating_add(1) >= let_in) {
                self.is_even = false;
                self.paces_messages = lesson.paces_messages;
            }
        } else if is_slow && !self.is_puzzled {
            // Bad credentials may have been too many, which says nothing about good ones; the next time it does.
            self.is_puzzled = true;
            self.paces_messages = true;
        } else {
            self.lesson = Some(Lesson { pace: self.pace, recent, let_in, paces_messages: self.paces_messages });
            self.paces_messages = true;
            self.learn_more();
        }
    }

    /// Fewer than were let in before the limit: what was under way then was refused as well.
    fn learn_more(&mut self) {
        let Some(lesson) = self.lesson else { return };
        let let_in = lesson.recent.saturating_sub(self.refused);
        // Where nobody is let in, no pace is too fast: what was met before lasts.
        self.is_even = let_in > LOCKED_OUT_MAX;
        if !self.is_even {
            self.pace = lesson.pace;
            return;
        }
        self.pace = lesson.pace.min(let_in.saturating_mul(17).div_euclid(20)).max(PACE_MIN);
    }
}
