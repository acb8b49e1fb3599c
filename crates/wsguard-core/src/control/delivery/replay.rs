//! What was sent to a client that may come back: numbered frames, until the client has them.
//!
//! Bounded four ways: bytes of one session, bytes of all, age while the client is there, and the window in which it may
//! come back. What does not fit pushes the oldest out, and a client that would need it is told that the session could
//! not be resumed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::claim::Claim;
use super::encoded::Encoded;
use crate::fault::{self, Fault};
use crate::time::{Millis, Tick};

/// What one kept frame costs beside its bytes: its place in the ring and its share of what is shared.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

/// The bytes that all replay buffers of a guard hold together.
#[derive(Debug, Default)]
pub struct ReplayPool(AtomicUsize);

impl ReplayPool {
    /// The bytes that are held.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize, limit: usize) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
    }
}

/// How much may be kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayLimits {
    /// Bytes of one session.
    pub(crate) bytes: usize,
    /// Bytes of all sessions.
    pub(crate) total: usize,
    /// Age of a frame while the client is there.
    pub(crate) window: Millis,
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) seq: u64,
    at: Tick,
    pub(crate) frame: Encoded,
}

fn cost(frame: &Encoded) -> usize {
    frame.tail().len().saturating_add(FRAME_OVERHEAD_BYTES)
}

/// The replay buffer of one session, and the claims that may take the session over.
#[derive(Debug)]
pub(crate) struct Replay {
    frames: VecDeque<Kept>,
    bytes: usize,
    /// INVARIANT: every frame with a higher number is in `frames`, unless it was purged.
    lost: u64,
    /// The generation of the token in the latest welcome.
    newest: u32,
    /// The generation by which the connection came, until its first message.
    used: Option<u32>,
    pool: Arc<ReplayPool>,
}

impl Replay {
    /// The buffer of a session that has sent `seq` frames and kept none of them.
    pub(crate) fn new(pool: Arc<ReplayPool>, seq: u64) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, lost: seq, newest: 0, used: None, pool }
    }

    /// Keeps `frame`, pushing out what is too old or too much.
    pub(crate) fn push(&mut self, limits: &ReplayLimits, now: Tick, seq: u64, frame: &Encoded) {
        let cost = cost(frame);
        let unbounded = ReplayLimits { bytes: usize::MAX, total: usize::MAX, ..*limits };
        let limits = if fault::is_on(Fault::ReplayUnbounded) { &unbounded } else { limits };
        while self.bytes.saturating_add(cost) > limits.bytes && self.pop() {}
        if cost > limits.bytes {
            self.lost = seq;
            return;
        }
        while !self.pool.take(cost, limits.total) {
            if !self.pop() {
                self.lost = seq;
                return;
            }
        }
        self.bytes = self.bytes.saturating_add(cost);
        self.frames.push_back(Kept { seq, at: now, frame: frame.clone() });
    }

    fn pop(&mut self) -> bool {
        let Some(kept) = self.frames.pop_front() else {
            // An empty buffer owns no memory: a client that acknowledges is an idle one most of the time.
            self.frames = VecDeque::new();
            return false;
        };
        self.lost = self.lost.max(kept.seq);
        self.release(cost(&kept.frame));
        true
    }

    fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.pool.give_back(bytes);
    }

    fn pop_while(&mut self, done: impl Fn(&Kept) -> bool) {
        while self.frames.front().is_some_and(&done) {
            self.pop();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// The client has everything up to `seq`.
    pub(crate) fn acknowledged(&mut self, seq: u64) {
        self.pop_while(|kept| kept.seq <= seq);
    }

    /// Lets go of what the client had for a whole window: it would have asked by now.
    pub(crate) fn forget_old(&mut self, limits: &ReplayLimits, now: Tick) {
        self.pop_while(|kept| now.since(kept.at) >= limits.window);
    }

    /// Lets go of what `keep` refuses and says how many frames that were. Their numbers are passed over in a replay.
    pub(crate) fn purge(&mut self, mut keep: impl FnMut(&Encoded) -> bool) -> usize {
        let before = self.frames.len();
        let mut freed = 0_usize;
        self.frames.retain(|kept| {
            let stays = keep(&kept.frame);
            if !stays {
                freed = freed.saturating_add(cost(&kept.frame));
            }
            stays
        });
        self.release(freed);
        before.saturating_sub(self.frames.len())
    }

    /// Whether everything after `last_seq` is here, of a session that has sent `seq` frames.
    pub(crate) const fn reaches(&self, last_seq: u64, seq: u64) -> bool {
        self.lost <= last_seq && last_seq <= seq
    }

    /// Whether no frame after `seq` was pushed out.
    pub(crate) const fn has_all_after(&self, seq: u64) -> bool {
        self.lost <= seq
    }

    /// What is kept, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Kept> {
        let skipped = usize::from(fault::is_on(Fault::ReplaySkips));
        let repeated = self.frames.iter().take(usize::from(fault::is_on(Fault::ReplayRepeats)));
        repeated.chain(self.frames.iter().skip(skipped))
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The generation of the token to hand out.
    pub(crate) const fn generation(&self) -> u32 {
        self.newest
    }

    /// Whether `claim` may take the session over: its token is the newest one, or the one by which the connection came
    /// and on which no message has arrived since, so that a lost `welcome` does not lose the session.
    pub(crate) fn accepts(&self, claim: &Claim) -> bool {
        claim.generation == self.newest || Some(claim.generation) == self.used
    }

    /// The session was taken over by `claim`: the next token is another one.
    pub(crate) fn rotate(&mut self, claim: &Claim) {
        self.newest = self.newest.saturating_add(1);
        self.used = Some(claim.generation);
    }

    /// A message arrived: the welcome did, too.
    pub(crate) fn settle(&mut self) {
        self.used = None;
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::SessionId;

    const LIMITS: ReplayLimits = ReplayLimits { bytes: 1_000, total: 1_500, window: Millis(100) };

    fn frame(bytes: usize) -> Encoded {
        Encoded::new("t", &"1".repeat(bytes))
    }

    fn seqs(replay: &Replay) -> Vec<u64> {
        replay.frames().map(|kept| kept.seq).collect()
    }

    #[test]
    fn every_bound_pushes_the_oldest_out() {
        let pool = Arc::new(ReplayPool::default());
        let mut replay = Replay::new(Arc::clone(&pool), 0);
        for seq in 1..=5 {
            replay.push(&LIMITS, Tick(seq), seq, &frame(200));
        }
        assert_eq!(seqs(&replay), [3, 4, 5], "bytes of the session");
        assert_eq!(pool.bytes(), replay.bytes());
        assert!(replay.reaches(2, 5) && !replay.reaches(1, 5) && !replay.reaches(6, 5));
        let mut other = Replay::new(Arc::clone(&pool), 0);
        for seq in 1..=3 {
            other.push(&LIMITS, Tick(0), seq, &frame(200));
        }
        assert!(pool.bytes() <= LIMITS.total, "bytes of all");
        assert_eq!(seqs(&other), [2, 3], "its own frames give way, not those of another");
        assert_eq!(seqs(&replay), [3, 4, 5]);
        drop(other);
        assert_eq!(pool.bytes(), replay.bytes());
        replay.forget_old(&LIMITS, Tick(104));
        assert_eq!(seqs(&replay), [5], "age");
        replay.acknowledged(9);
        assert_eq!((seqs(&replay), pool.bytes()), (vec![], 0), "acknowledged");
        replay.push(&LIMITS, Tick(0), 6, &frame(2_000));
        assert!(seqs(&replay).is_empty() && !replay.reaches(5, 6), "one that is larger than everything");
    }

    #[test]
    fn purged_frames_are_passed_over() {
        let pool = Arc::new(ReplayPool::default());
        let mut replay = Replay::new(Arc::clone(&pool), 0);
        for (seq, room) in [(1, "a"), (2, "b"), (3, "a")] {
            replay.push(&LIMITS, Tick(0), seq, &Encoded::in_room(room, "t", "1"));
        }
        assert_eq!(replay.purge(|frame| frame.room() != Some("a")), 2);
        assert_eq!(seqs(&replay), [2]);
        assert!(replay.reaches(0, 3), "what may be read is all there");
        assert_eq!(pool.bytes(), replay.bytes());
    }

    #[test]
    fn tokens_rotate_and_survive_a_lost_welcome() {
        let claim = |generation| Claim { session: SessionId([0; 16]), generation };
        let accepted = |replay: &Replay| (0..5).filter(|number| replay.accepts(&claim(*number))).collect::<Vec<_>>();
        let mut replay = Replay::new(Arc::default(), 0);
        assert_eq!(accepted(&replay), [0], "the first welcome");
        replay.rotate(&claim(0));
        assert_eq!(accepted(&replay), [0, 1], "the second welcome may be lost");
        replay.rotate(&claim(0));
        assert_eq!(accepted(&replay), [0, 2], "it was: nobody has the token of a welcome that never came");
        replay.settle();
        assert_eq!(accepted(&replay), [2], "a message came behind the third");
        replay.rotate(&claim(2));
        assert_eq!(accepted(&replay), [2, 3]);
    }
}
