//! What handles and driver share: the session behind a lock, and who waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::error::SendError;
use crate::event::{Closed, Event, State};
use crate::message::{Ack, Outgoing};
use crate::session::{ABNORMAL, Effect, Session, Settled};

/// Gets how a message ended.
pub(crate) type Answer = oneshot::Receiver<Result<Ack, SendError>>;

/// The session, and who waits for it. The lock is held for the time of a function call, never across an `await`.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Something is to be done: wakes the driver.
    wake: Notify,
    /// No message waits any more.
    drained: Notify,
    /// The state, and how many connections and attempts were lost.
    states: watch::Sender<(State, u64)>,
    finished: watch::Sender<bool>,
    /// What the session's times count from.
    epoch: Instant,
}

struct Inner {
    session: Session,
    answers: HashMap<u64, oneshot::Sender<Result<Ack, SendError>>>,
    reader: Option<Waker>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("state", &self.session.state()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            inner: Mutex::new(Inner { session, answers: HashMap::new(), reader: None }),
            wake: Notify::new(),
            drained: Notify::new(),
            states: watch::Sender::new((State::Connecting, 0)),
            finished: watch::Sender::new(false),
            epoch: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The instant of a time of the session.
    pub(crate) fn instant(&self, at: Duration) -> Option<Instant> {
        self.epoch.checked_add(at)
    }

    /// Changes the session, and wakes the driver for the effects.
    pub(crate) fn act<T>(&self, change: impl FnOnce(&mut Session, Duration) -> T) -> T {
        let result = self.drive(change);
        self.wake.notify_one();
        result
    }

    /// Changes the session on the driver's own task.
    pub(crate) fn drive<T>(&self, change: impl FnOnce(&mut Session, Duration) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner.session, self.now());
        self.report(inner);
        result
    }

    /// Tells everybody who waits what changed.
    fn report(&self, mut inner: MutexGuard<'_, Inner>) {
        let state = (inner.session.state(), inner.session.losses());
        let reader = inner.reader.take();
        let drained = inner.session.is_drained();
        drop(inner);
        self.states.send_if_modified(|told| std::mem::replace(told, state) != state);
        // The reader looks for itself whether there is something; that is cheaper than to count.
        if let Some(reader) = reader {
            reader.wake();
        }
        if drained {
            self.drained.notify_waiters();
        }
    }

    /// The next effect for the driver. Answers to those who sent a message are given on the way.
    pub(crate) fn next_effect(&self) -> Option<Effect> {
        let mut inner = self.lock();
        loop {
            match inner.session.poll_effect()? {
                Effect::Settle(settled) => inner.answer(settled),
                effect => return Some(effect),
            }
        }
    }

    /// Sends a message; its end comes over the channel, its id is for [`Session::abort`].
    pub(crate) fn send(
        &self,
        message: &Outgoing,
        acked: bool,
        timeout: Option<Duration>,
    ) -> Result<(u64, Answer), SendError> {
        let mut inner = self.lock();
        let sent = inner.session.send(self.now(), message, acked, timeout).map(|id| {
            // Nobody takes effects while the lock is held, so the answer cannot come before somebody waits for it.
            let (answer, receiver) = oneshot::channel();
            inner.answers.insert(id, answer);
            (id, receiver)
        });
        self.report(inner);
        self.wake.notify_one();
        sent
    }

    /// The next event, in the way of a stream.
    pub(crate) fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut inner = self.lock();
        let was_full = !inner.session.wants_to_read();
        let event = inner.session.pop_event();
        if event.is_none() && inner.session.end().is_none() {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let has_room = was_full && inner.session.wants_to_read();
        drop(inner);
        if has_room {
            // The driver stopped to read, and may go on.
            self.wake.notify_one();
        }
        Poll::Ready(event)
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until no message waits.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.lock().session.is_drained() {
                return;
            }
            drained.await;
        }
    }

    pub(crate) fn states(&self) -> watch::Receiver<(State, u64)> {
        self.states.subscribe()
    }

    /// The driver is gone: nothing happens any more.
    pub(crate) fn finish(&self) {
        // Only where the runtime took the driver away is there still something to end.
        self.drive(|session, _| session.close(ABNORMAL, "the runtime ended"));
        while self.next_effect().is_some() {}
        self.finished.send_replace(true);
    }

    /// Waits for the end, the closing handshake included.
    pub(crate) async fn finished(&self) -> Closed {
        // The sender is part of `self`: it outlives the wait.
        let _ = self.finished.subscribe().wait_for(|finished| *finished).await;
        let inner = self.lock();
        inner.session.end().cloned().unwrap_or(Closed { code: ABNORMAL, reason: String::new(), error: None })
    }
}

impl Inner {
    fn answer(&mut self, Settled { id, written, outcome }: Settled) {
        if let Some(answer) = self.answers.remove(&id) {
            // Whoever asked may be gone.
            let _ = answer.send(outcome.map(|()| Ack { id }).map_err(|error| SendError::new(error, written)));
        }
    }
}
