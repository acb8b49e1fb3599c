//! What others have for a connection: frames to send, an order to close.
//!
//! Attack: a peer that stops reading while others write to it (CWE-770). The queue is bounded in messages and bytes; a
//! peer that lets it run full is closed with 1013.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use tokio::sync::broadcast;
use wsguard_core::control::delivery::{Claim, Encoded};
use wsguard_core::fault::{self, Fault};
use wsguard_core::guard::Suspended;
use wsguard_core::time::{Millis, Tick};
use wsguard_core::verdict::Refusal;
use wsguard_protocol::CloseCode;

use crate::clock;
use crate::connections::{Asked, Inquiry};
use crate::socket::LateRefusal;

/// Limits of a send queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages that wait for one peer. 256: some seconds of a busy room.
    pub messages: usize,
    /// Bytes that wait for one peer. 256 KiB: four messages of the largest size.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { messages: 256, bytes: 256 * 1024 }
    }
}

/// What a connection is asked to do by others.
#[derive(Debug)]
pub enum Command {
    /// Send an application message.
    Send(Encoded),
    /// Acknowledge the message of this `id` (JSON text).
    Ack(Box<str>),
    /// Answer a message with an error.
    Refuse(LateRefusal),
    /// Close.
    Close(CloseCode, Option<Refusal>),
    /// Tell the client that the server goes away, and when to come back.
    Drain(Millis),
    /// Tell those who watch the state of the session.
    State,
    /// Look again at what may have changed: the policy, the keys, a revocation.
    Reconsider,
    /// Give the session up to the connection that summons it.
    HandOver(Claim, Summons),
    /// Look again for the session that was summoned.
    Continue,
    /// Say how the connection stands.
    Inquire(Inquiry),
    /// End as a lost network does: without a close frame.
    Lose,
}

/// Wakes the connection that asked for a session, whatever becomes of the order to give it up: it drops this.
#[derive(Debug)]
pub struct Summons {
    seeker: Outbox,
    number: u64,
}

impl Summons {
    /// For the connection behind `seeker`, which came with handshake `number`.
    pub(crate) fn new(seeker: Outbox, number: u64) -> Self {
        Self { seeker, number }
    }

    /// Whether the connection that asks came after handshake `number`.
    pub(crate) fn is_after(&self, number: u64) -> bool {
        self.number > number
    }
}

impl Drop for Summons {
    fn drop(&mut self) {
        let _ = self.seeker.command(Command::Continue);
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent states of a queue, under one lock")]
struct Queue {
    commands: VecDeque<Command>,
    /// Of what waits, as far as 32 bits count: every connection pays for it.
    bytes: u32,
    overflowed: bool,
    /// Something changed that the connection must look at, however much else waits and whether or not the peer reads.
    reconsider: bool,
    /// Questions of operators, which take no room in the queue either: one each of the pages that are looked at.
    inquiries: Vec<Inquiry>,
    /// A close waits: it goes out also to a peer that does not read.
    closing: bool,
    closed: bool,
    /// The connection is lost and its session waits: what is sent is kept in it.
    parked: Option<Box<Suspended>>,
}

impl Queue {
    /// Nobody can go on with the session. What was in it is dropped by the caller, outside of the lock.
    fn die(&mut self) -> (VecDeque<Command>, Option<Box<Suspended>>) {
        self.closed = true;
        self.inquiries = Vec::new();
        (std::mem::take(&mut self.commands), self.parked.take())
    }

    /// Does `command` to the parked session.
    fn keep(&mut self, now: Tick, command: Command) -> Kept {
        let Some(parked) = &mut self.parked else {
            return Kept::Other(command);
        };
        match command {
            Command::Ack(_) | Command::Refuse(_) if fault::is_on(Fault::AnswerToWaitingLost) => Kept::Done,
            Command::Send(frame) if parked.send(now, &frame).is_err() => Kept::Over,
            Command::Close(..) => Kept::Over,
            Command::Ack(id) => {
                parked.acknowledge(now, &id);
                Kept::Done
            }
            // Its peer does not hear of it: it may send the message again, and that is a new try.
            Command::Refuse(late) => {
                if let Some(id) = late.id() {
                    parked.refuse(id);
                }
                Kept::Other(Command::Refuse(late))
            }
            Command::Send(_) => Kept::Done,
            other => Kept::Other(other),
        }
    }
}

/// What became of a command to a session that waits.
enum Kept {
    Done,
    /// It is dropped outside of the lock: it says nothing to a session without a connection, or has something for the log,
    /// which others write as well.
    Other(#[expect(dead_code, reason = "held to be dropped")] Command),
    /// The session is over.
    Over,
}

/// The sending side of a connection: cheap to clone, usable from anywhere.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    waiting: AtomicBool,
    waker: AtomicWaker,
    limits: QueueLimits,
    watched: AtomicBool,
    watchers: Mutex<Option<broadcast::Sender<Watched>>>,
}

// With its two counters 160 bytes, which is a class of the allocator; every open connection pays for it.
const _: () = assert!(size_of::<Inner>() <= 144);

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

/// Whether a connection must be woken for what was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// It was told already, or its session waits for its client.
    No,
    /// It does not know yet.
    Yes,
    /// It must look also where its peer does not read.
    AtOnce,
}

/// Members of a room that are woken in a row. 32: a quarter of a millisecond of system calls.
const WOKEN_IN_A_ROW: usize = 32;

/// What a watcher is told, as JSON text.
#[derive(Clone, Debug)]
pub enum Watched {
    /// What the guard did with one message.
    Message(Arc<str>),
    /// The state of the session.
    State(Arc<str>),
}

/// Events that a watcher may lag behind before it loses some.
const WATCH_EVENTS_MAX: usize = 1_024;

impl Outbox {
    /// An outbox for a connection that is driven with [`crate::driver::run`].
    pub fn new(limits: QueueLimits) -> Self {
        Self(Arc::new(Inner {
            queue: Mutex::default(),
            waiting: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            limits,
            watched: AtomicBool::new(false),
            watchers: Mutex::new(None),
        }))
    }

    /// Queues a message. A peer whose queue is full is closed with 1013; that counts as sent here, since it is the
    /// peer's fault and the peer learns it.
    ///
    /// # Errors
    /// [`Closed`] when the connection is gone.
    pub fn send(&self, message: &Encoded) -> Result<(), Closed> {
        self.push(message.tail().len(), || Command::Send(message.clone()))
    }

    /// Queues a message for each of `members`, as [`Outbox::send`] does, and says for how many.
    ///
    /// Beyond 32 of them their connections are woken bit by bit, where there is a tokio runtime: a message to a
    /// thousand is a thousand system calls, and others have their turn between. Each member gets its messages in the order
    /// in which they were queued all the same.
    pub fn send_to_all<'a>(members: impl IntoIterator<Item = &'a Outbox>, message: &Encoded) -> usize {
        let runtime = tokio::runtime::Handle::try_current();
        let (mut reached, mut woken, mut later) = (0_usize, 0_usize, Vec::new());
        for member in members {
            let Ok(wake) = member.put(message.tail().len(), || Command::Send(message.clone())) else {
                continue;
            };
            reached = reached.saturating_add(1);
            match wake {
                Wake::No => {}
                Wake::Yes if woken >= WOKEN_IN_A_ROW && runtime.is_ok() => later.push(member.clone()),
                Wake::Yes | Wake::AtOnce => {
                    woken = woken.saturating_add(1);
                    member.wake();
                }
            }
        }
        if let (Ok(runtime), false) = (runtime, later.is_empty()) {
            runtime.spawn(async move {
                for some in later.chunks(WOKEN_IN_A_ROW) {
                    tokio::task::yield_now().await;
                    some.iter().for_each(Self::wake);
                }
            });
        }
        reached
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// [`Closed`] when the connection is gone.
    pub fn close(&self, code: CloseCode) -> Result<(), Closed> {
        self.push(0, || Command::Close(code, None))
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), Closed> {
        self.push(0, || command)
    }

    /// Makes the connection look again at what may have changed. Any number of these before it looks are one, so that
    /// they take no room in the queue.
    pub(crate) fn reconsider(&self) {
        {
            let mut queue = self.lock();
            if queue.closed {
                return;
            }
            if let Some(parked) = &mut queue.parked {
                let dead = (!parked.reconsider(clock::now())).then(|| queue.die());
                drop(queue);
                drop(dead);
                return;
            }
            queue.reconsider = true;
        }
        self.0.waiting.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks the connection how it stands, also where its peer does not read.
    pub(crate) fn inquire(&self, inquiry: Inquiry) -> Asked {
        {
            let mut queue = self.lock();
            if queue.closed || queue.parked.is_some() {
                return Asked::Nobody;
            }
            queue.inquiries.push(inquiry);
        }
        self.0.waiting.store(true, Ordering::Release);
        self.wake();
        Asked::Open
    }

    fn push(&self, size: usize, command: impl FnOnce() -> Command) -> Result<(), Closed> {
        if self.put(size, command)? != Wake::No {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        self.0.waker.wake();
    }

    /// Queues `command`, and leaves it to the caller to wake the connection.
    fn put(&self, size: usize, command: impl FnOnce() -> Command) -> Result<Wake, Closed> {
        let cannot_wait = {
            let mut queue = self.lock();
            if queue.closed {
                return Err(Closed);
            }
            if queue.parked.is_some() {
                let kept = queue.keep(clock::tick(), command());
                let dead = matches!(kept, Kept::Over).then(|| queue.die());
                drop(queue);
                drop((dead, kept));
                return Ok(Wake::No);
            }
            let bytes = queue.bytes.saturating_add(u32::try_from(size).unwrap_or(u32::MAX));
            let limits = &self.0.limits;
            let is_full = bytes == u32::MAX || bytes as usize > limits.bytes || queue.commands.len() >= limits.messages;
            if is_full && !fault::is_on(Fault::QueueUnbounded) {
                queue.overflowed = true;
            } else {
                let command = command();
                queue.closing |= matches!(command, Command::Close(..) | Command::HandOver(..) | Command::Lose);
                queue.bytes = bytes;
                queue.commands.push_back(command);
            }
            queue.overflowed || queue.closing
        };
        // Who was told that something waits takes all of it, or does so as soon as the peer reads again: telling it once
        // more would only make its task run for nothing.
        let was_told = self.0.waiting.swap(true, Ordering::AcqRel);
        Ok(if cannot_wait {
            Wake::AtOnce
        } else if was_told {
            Wake::No
        } else {
            Wake::Yes
        })
    }

    /// Takes what waits, or leaves `waker` to be woken; `Err` when the queue ran full.
    ///
    /// `is_blocked`: the peer has not read what was written before. Then messages stay here, where they are counted
    /// against the limits; taken out they would grow a buffer that has none.
    pub(crate) fn take(&self, waker: &Waker, is_blocked: bool, into: &mut VecDeque<Command>) -> Result<(), ()> {
        self.0.waker.register(waker);
        if !self.0.waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut queue = self.lock();
        if std::mem::take(&mut queue.reconsider) {
            into.push_back(Command::Reconsider);
        }
        if !queue.inquiries.is_empty() {
            into.extend(std::mem::take(&mut queue.inquiries).into_iter().map(Command::Inquire));
        }
        if queue.overflowed {
            self.0.waiting.store(false, Ordering::Release);
            return Err(());
        }
        if is_blocked && !queue.closing {
            return Ok(());
        }
        self.0.waiting.store(false, Ordering::Release);
        queue.bytes = 0;
        // The queue's memory goes with its content: an idle connection owns none.
        into.append(&mut std::mem::take(&mut queue.commands));
        Ok(())
    }

    pub(crate) fn shut(&self) {
        let dead = self.lock().die();
        drop(dead);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.lock().closed
    }

    /// Puts back what was taken and not done, before everything that came since.
    pub(crate) fn give_back(&self, commands: &mut VecDeque<Command>) {
        let mut queue = self.lock();
        commands.append(&mut queue.commands);
        std::mem::swap(&mut queue.commands, commands);
    }

    /// From now on what is sent is kept in `suspended`, what waits first. `Err` when that is impossible: something was lost
    /// already, or the session is to be closed.
    pub(crate) fn park(&self, now: Tick, suspended: Suspended) -> Result<(), ()> {
        let mut others = Vec::new();
        let mut queue = self.lock();
        let mut alive = !queue.closed && !queue.overflowed;
        let mut suspended = Box::new(suspended);
        // It may have been told to look again and not have come to it.
        alive &= suspended.reconsider(clock::now());
        queue.parked = Some(suspended);
        for command in std::mem::take(&mut queue.commands) {
            match queue.keep(now, command) {
                Kept::Done => {}
                Kept::Over => alive = false,
                other @ Kept::Other(_) => others.push(other),
            }
        }
        (queue.bytes, queue.closing) = (0, false);
        self.0.waiting.store(false, Ordering::Release);
        let dead = (!alive).then(|| queue.die());
        drop(queue);
        drop((others, dead));
        if alive { Ok(()) } else { Err(()) }
    }

    /// Takes the session that waits out, where `claim` is good for it. What is sent from now on waits in the queue again.
    pub(crate) fn unpark(&self, claim: &Claim) -> Option<Suspended> {
        let mut queue = self.lock();
        let good = queue.parked.as_ref().is_some_and(|parked| parked.is_claimed_by(claim));
        if good { queue.parked.take().map(|parked| *parked) } else { None }
    }

    /// Watches what the guard does with this connection.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Watched> {
        let mut watchers = self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.watched.store(true, Ordering::Relaxed);
        watchers.get_or_insert_with(|| broadcast::Sender::new(WATCH_EVENTS_MAX)).subscribe()
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, event: Watched) {
        let mut watchers = self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if watchers.as_ref().is_some_and(|sender| sender.send(event).is_err()) {
            *watchers = None;
            self.0.watched.store(false, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_told_once_and_a_shut_one_refuses() {
        let outbox = Outbox::new(QueueLimits { messages: 2, bytes: 1_000 });
        let message = Encoded::new("chat", "{}");
        let mut taken = VecDeque::new();
        for _ in 0..2 {
            outbox.send(&message).unwrap();
        }
        assert_eq!(outbox.take(Waker::noop(), false, &mut taken), Ok(()));
        assert_eq!(taken.len(), 2);
        for _ in 0..3 {
            outbox.send(&message).unwrap();
        }
        assert_eq!(outbox.take(Waker::noop(), false, &mut taken), Err(()));
        outbox.shut();
        assert_eq!(outbox.send(&message), Err(Closed));
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A room of a hundred, and how often its members were woken.
    fn room() -> (Vec<Outbox>, Arc<Woken>) {
        let woken = Arc::<Woken>::default();
        let members: Vec<_> = (0..100).map(|_| Outbox::new(QueueLimits::default())).collect();
        for member in &members {
            member.take(&Arc::clone(&woken).into(), false, &mut VecDeque::new()).unwrap();
        }
        (members, woken)
    }

    #[tokio::test]
    async fn a_large_room_is_woken_bit_by_bit_and_nobody_twice() {
        let (members, woken) = room();
        let message = Encoded::new("chat", "{}");
        members[7].shut();
        assert_eq!(Outbox::send_to_all(&members, &message), 99);
        assert_eq!(woken.0.load(Ordering::Relaxed), WOKEN_IN_A_ROW);
        assert_eq!(Outbox::send_to_all(&members, &message), 99, "all know already that something waits");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 99);
        for (index, member) in members.iter().enumerate().filter(|(index, _)| *index != 7) {
            let mut taken = VecDeque::new();
            member.take(Waker::noop(), false, &mut taken).unwrap();
            assert_eq!(taken.len(), 2, "{index}");
        }
    }

    #[test]
    fn without_a_runtime_a_large_room_is_woken_at_once() {
        let (members, woken) = room();
        assert_eq!(Outbox::send_to_all(&members, &Encoded::new("chat", "{}")), 100);
        assert_eq!(woken.0.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn what_a_blocked_peer_does_not_read_counts_until_it_is_too_much() {
        let outbox = Outbox::new(QueueLimits { messages: 2, bytes: 1_000 });
        let message = Encoded::new("chat", "{}");
        let mut taken = VecDeque::new();
        for sent in 1..=2 {
            outbox.send(&message).unwrap();
            assert_eq!(outbox.take(Waker::noop(), true, &mut taken), Ok(()));
            assert_eq!(taken.len(), 0, "{sent} wait");
        }
        assert_eq!(outbox.take(Waker::noop(), false, &mut taken), Ok(()));
        assert_eq!(taken.len(), 2, "they come when the peer reads again");
        outbox.close(CloseCode::Forbidden).unwrap();
        assert_eq!(outbox.take(Waker::noop(), true, &mut taken), Ok(()));
        assert_eq!(taken.len(), 3, "a close does not wait");
        for _ in 0..3 {
            outbox.send(&message).unwrap();
        }
        assert_eq!(outbox.take(Waker::noop(), true, &mut taken), Err(()));
    }

    #[test]
    fn a_change_is_looked_at_once_also_by_who_is_blocked() {
        let outbox = Outbox::new(QueueLimits { messages: 2, bytes: 1_000 });
        let message = Encoded::new("chat", "{}");
        for _ in 0..3 {
            outbox.reconsider();
        }
        outbox.send(&message).unwrap();
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(Waker::noop(), true, &mut taken), Ok(()));
        assert!(matches!(taken.make_contiguous(), [Command::Reconsider]), "{taken:?}");
        assert_eq!(outbox.take(Waker::noop(), false, &mut taken), Ok(()));
        assert!(matches!(taken.make_contiguous(), [Command::Reconsider, Command::Send(_)]), "{taken:?}");
    }

    #[test]
    fn a_question_reaches_who_is_blocked_and_takes_no_room() {
        let outbox = Outbox::new(QueueLimits { messages: 2, bytes: 1_000 });
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..5 {
            assert!(matches!(outbox.inquire(Inquiry::to(sender.clone())), Asked::Open));
        }
        for _ in 0..2 {
            outbox.send(&Encoded::new("chat", "{}")).unwrap();
        }
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(Waker::noop(), true, &mut taken), Ok(()));
        assert_eq!(taken.len(), 5, "the questions, and not what the peer does not read");
        assert!(matches!(outbox.inquire(Inquiry::to(sender.clone())), Asked::Open));
        outbox.shut();
        assert!(matches!(outbox.inquire(Inquiry::to(sender)), Asked::Nobody));
        drop(taken);
        assert!(answers.blocking_recv().is_none(), "nobody waits for a connection that is gone");
    }
}
