//! Sessions whose connection is lost: they wait here for their clients, with the application behind them.
//!
//! Attack: connections that are broken on purpose, so that what they leave fills the memory (CWE-770). A subject has a
//! few such sessions, the server a fixed number, and what is kept to be replayed has bounds of its own. When one too many
//! comes, the one that waited longest goes.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wsguard_core::control::delivery::Claim;
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::Record;
use wsguard_core::fault::{self, Fault};
use wsguard_core::guard::Suspended;
use wsguard_core::time::{Millis, Now, Tick};
use wsguard_core::verdict::{ControlId, Reason};

use crate::clock;
use crate::guard::Shared;
use crate::mailbox::{Command, Outbox, Summons};

/// Time between two looks for sessions whose window is over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A session that waits: how others reach it (what they send is kept in it), and the application behind it.
pub(crate) struct Parked {
    pub(crate) outbox: Outbox,
    /// The handler, of whatever type it is.
    pub(crate) handler: Box<dyn Any + Send>,
    pub(crate) subject: Box<str>,
    ends_at: Tick,
    /// Its place in the order of all.
    serial: u64,
    /// The number of the handshake that had it last.
    holder: u64,
}

/// All sessions that wait.
#[derive(Default)]
pub(crate) struct Detached {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<SessionId, Parked>,
    /// From the one that waited longest.
    order: BTreeMap<u64, SessionId>,
    /// The counted ones of each subject, from the one that waited longest. Bounded by the policy to a few.
    of_subject: HashMap<Box<str>, Vec<SessionId>>,
    next: u64,
    is_swept: bool,
}

impl Inner {
    fn remove(&mut self, id: SessionId) -> Option<Parked> {
        let parked = self.sessions.remove(&id)?;
        self.order.remove(&parked.serial);
        if let Some(others) = self.of_subject.get_mut(&parked.subject) {
            others.retain(|other| *other != id);
            if others.is_empty() {
                self.of_subject.remove(&parked.subject);
            }
        }
        Some(parked)
    }
}

impl Detached {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn count(&self) -> usize {
        self.with(|inner| inner.sessions.len())
    }
}

/// What became of a search for a session.
pub(crate) enum Found {
    /// Here it is.
    Parked(Box<Parked>, Suspended),
    /// Another connection has it and was told to give it up: look again when the outbox says so.
    Summoned,
    /// It is gone, or the claim is not good.
    Nothing,
}

impl Shared {
    /// Keeps a session for its client; `holder` is the number of the handshake that had it last. `false` when it cannot be kept; then it is over.
    ///
    /// `handed_over`: another connection asked for it. Then it keeps its seat among the attached ones of its subject, and is
    /// counted there rather than among those that wait.
    pub(crate) fn park(
        self: &Arc<Self>,
        now: Now,
        mut suspended: Suspended,
        handler: Box<dyn Any + Send>,
        outbox: &Outbox,
        holder: u64,
        handed_over: bool,
    ) -> bool {
        let policy = self.cx.policy();
        let sessions = &policy.sessions;
        let cap = usize::try_from(sessions.detached_per_subject).unwrap_or(usize::MAX);
        let most = usize::try_from(sessions.detached_max).unwrap_or(usize::MAX);
        let (cap, most) = if fault::is_on(Fault::DetachedUnbounded) { (usize::MAX, usize::MAX) } else { (cap, most) };
        let cap = if fault::is_on(Fault::DetachedOfSubjectUncounted) { usize::MAX } else { cap };
        if !handed_over {
            if self.draining.load(Ordering::Relaxed) || cap == 0 {
                return false;
            }
            suspended.leave_seat();
        }
        let id = suspended.session();
        let subject = suspended.identity().claims.subject.clone();
        let ends_at = suspended.ends_at(now);
        if ends_at <= now.tick {
            return false;
        }
        // It stands in the table before it is parked: a connection that looks for it in between either finds it here or
        // finds the outbox open, and parking wakes whoever waits there.
        let (evicted, must_sweep) = self.detached.with(|inner| {
            let mut evicted = Vec::new();
            if !handed_over && inner.of_subject.get(&subject).is_some_and(|others| others.len() >= cap) {
                let oldest = inner.of_subject.get(&subject).and_then(|others| others.first()).copied();
                evicted.extend(oldest.and_then(|oldest| Some((oldest, inner.remove(oldest)?))));
            }
            if inner.sessions.len() >= most {
                let oldest = inner.order.first_key_value().map(|(_, oldest)| *oldest);
                evicted.extend(oldest.and_then(|oldest| Some((oldest, inner.remove(oldest)?))));
            }
            let serial = inner.next;
            inner.next = inner.next.saturating_add(1);
            inner.order.insert(serial, id);
            if !handed_over {
                inner.of_subject.entry(subject.clone()).or_default().push(id);
            }
            let parked = Parked { outbox: outbox.clone(), handler, subject: subject.clone(), ends_at, serial, holder };
            inner.sessions.insert(id, parked);
            (evicted, !std::mem::replace(&mut inner.is_swept, true))
        });
        for (session, parked) in evicted {
            self.drop_session(now, session, &parked.outbox, parked.subject, "too_many_detached");
        }
        let kept = outbox.park(now.tick, suspended).is_ok();
        if !kept {
            // Somebody may have taken it out as dead meanwhile.
            drop(self.detached.with(|inner| inner.remove(id)));
        } else if !handed_over {
            let mut record = Record::new("session_detached");
            record.control = Some(ControlId::Delivery);
            record.session = Some(id.to_string());
            record.subject = Some(subject);
            self.record(now.unix, record);
        }
        if must_sweep {
            tokio::spawn(sweep(Arc::clone(self)));
        }
        kept
    }

    /// Looks for the session of `claim`, to be handed to the connection behind `seeker`, which came with handshake `number`.
    ///
    /// A session goes to later connections only: the task of one that its client gave up must not take the session from
    /// the one that the client opened next.
    pub(crate) fn find(&self, now: Now, claim: &Claim, seeker: &Outbox, number: u64) -> Found {
        let found = self.detached.with(|inner| {
            let parked = inner.sessions.get(&claim.session);
            let parked = parked.filter(|parked| now.tick < parked.ends_at && number > parked.holder)?;
            let suspended = parked.outbox.unpark(claim)?;
            Some((inner.remove(claim.session)?, suspended))
        });
        if let Some((parked, suspended)) = found {
            return Found::Parked(Box::new(parked), suspended);
        }
        let holder = self.sessions.with(claim.session, |session| session.outbox.clone());
        let asked =
            holder.map(|holder| holder.command(Command::HandOver(*claim, Summons::new(seeker.clone(), number))));
        if matches!(asked, Some(Ok(()))) { Found::Summoned } else { Found::Nothing }
    }

    /// Ends a session that waits.
    pub(crate) fn drop_session(
        &self,
        now: Now,
        session: SessionId,
        outbox: &Outbox,
        subject: Box<str>,
        reason: &'static str,
    ) {
        outbox.shut();
        self.sessions.remove(session);
        let mut record = Record::new("session_dropped");
        record.control = Some(ControlId::Delivery);
        record.session = Some(session.to_string());
        record.subject = Some(subject);
        record.note = Some(Reason::from(reason));
        self.record(now.unix, record);
    }

    /// Ends what waited too long or was closed meanwhile; `false` when nothing is left to look after.
    fn sweep(&self) -> bool {
        let now = clock::now();
        let (ended, goes_on) = self.detached.with(|inner| {
            let over: Vec<SessionId> = inner
                .sessions
                .iter()
                .filter(|(_, parked)| parked.ends_at <= now.tick || parked.outbox.is_shut())
                .map(|(id, _)| *id)
                .collect();
            let ended: Vec<_> = over.into_iter().filter_map(|id| Some((id, inner.remove(id)?))).collect();
            inner.is_swept = !inner.sessions.is_empty();
            (ended, inner.is_swept)
        });
        for (session, parked) in ended {
            // Closed by an order, or by more than can be kept: the outbox knows no more which.
            let reason = if parked.ends_at <= now.tick { "resume_window_over" } else { "closed_while_detached" };
            self.drop_session(now, session, &parked.outbox, parked.subject, reason);
        }
        goes_on
    }
}

async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY.min(window(&shared))).await;
        if !shared.sweep() {
            return;
        }
    }
}

/// A window that is shorter than the usual time between two looks is looked at in time.
fn window(shared: &Shared) -> Duration {
    let Millis(window) = shared.cx.policy().sessions.resume_window;
    Duration::from_millis(window.max(10))
}
