//! One guarded connection: the core's state, the application behind it, and the records between them.

mod endpoint;
mod watched;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsguard_core::control::delivery::Claim;
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::Effects;
use wsguard_core::guard::{Connection, Resumption};
use wsguard_core::handshake::Admission;
use wsguard_core::in_force::InForce;
use wsguard_core::probe::{NoProbe, Probe as _};
use wsguard_core::time::Now;
use wsguard_core::verdict::{ControlId, Refusal, Verdict};
use wsguard_protocol::{CloseCode, ErrorCode};

use crate::connections::Figures;
use crate::detached::Found;
use crate::guard::Shared;
use crate::handler::{Handled, Handler, Peer};
use crate::mailbox::{Outbox, Summons, Watched};
use crate::registry::Registered;
use crate::stats::{Counted, Tally};
use crate::waiting::Place;

use watched::{Laps, event_of, told_of};

pub(crate) struct Guarded<H> {
    shared: Arc<Shared>,
    /// The connection's, here as well so that a message named by it can be handed over with the connection.
    policy: Arc<InForce>,
    outbox: Outbox,
    state: State,
    /// `None` once it waits with its session.
    handler: Option<H>,
    registered: Option<SessionId>,
    waiting: Option<Place>,
    /// The outbox of the session that the connection went on with, until the driver has it.
    switched: Option<Outbox>,
    /// The connection that takes the session over.
    summons: Option<Summons>,
    /// Which of the guard's handshakes it came with.
    number: u64,
    /// How often another connection was asked for the session that this one waits for.
    searches: u8,
    figures: Figures,
    /// Messages of this read that the statistics are yet to be told of.
    tally: Tally,
}

/// Connections that are asked for one session, each after the answer of the one before. One is usual; more where a
/// client tried several times in a row and the session changed hands in between.
const SEARCHES_MAX: u8 = 8;

enum State {
    Waiting(Option<Box<Admission>>),
    Running(Box<Connection>),
}

impl<H: Handler> Guarded<H> {
    pub(crate) fn new(shared: Arc<Shared>, admission: Admission, outbox: Outbox, handler: H, number: u64) -> Self {
        shared.stats.connections_open.fetch_add(1, Ordering::Relaxed);
        shared.stats.connections_total.fetch_add(1, Ordering::Relaxed);
        let policy = Arc::clone(admission.policy());
        Self {
            shared,
            policy,
            outbox,
            state: State::Waiting(Some(Box::new(admission))),
            handler: Some(handler),
            registered: None,
            waiting: None,
            switched: None,
            summons: None,
            number,
            searches: 0,
            figures: Figures::default(),
            tally: Tally::default(),
        }
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Running(connection) => Some(connection),
            State::Waiting(_) => None,
        }
    }

    /// Where the connection is authenticated for the first time, the application learns of it.
    #[inline]
    fn announce(&mut self, now: Now, effects: &mut Effects) {
        if self.registered.is_none() {
            self.announce_first(now, effects);
        }
    }

    fn announce_first(&mut self, now: Now, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let (Some(session), Some(identity)) = (connection.session(), connection.identity()) else {
            return;
        };
        let outbox = self.outbox.clone();
        let (identity, client) = (Arc::clone(identity), connection.client());
        self.shared.sessions.insert(session, Registered { identity, client, opened_at: now.unix, outbox });
        self.registered = Some(session);
        if let Some(place) = self.waiting.take() {
            self.shared.waiting.leave(place);
        }
        if self.shared.draining.load(Ordering::SeqCst) {
            // Its 101 was under way when the drain began, so the drain may have missed it.
            let _ = self.outbox.close(CloseCode::GoingAway);
        }
        // What changed before this session could be found is looked at here; what changes from now on wakes it.
        if let Verdict::Close(_) = connection.reconsider(now, effects) {
            return;
        }
        self.shared.stats.sessions_total.fetch_add(1, Ordering::Relaxed);
        let Effects { out, .. } = effects;
        if let Some(handler) = &mut self.handler {
            handler.opened(&mut Peer { now, connection, out, outbox: &self.outbox });
        }
        self.follow(now, effects);
    }

    /// The connection may have moved to another policy or token: what stands here and in the table of sessions follows,
    /// and the application is told.
    #[inline]
    fn follow(&mut self, now: Now, effects: &mut Effects) {
        if self.connection().is_some_and(Connection::take_rights_changed) {
            self.follow_rights(now, effects);
        }
    }

    fn follow_rights(&mut self, now: Now, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        self.policy = Arc::clone(connection.policy());
        if let (Some(session), Some(identity)) = (self.registered, connection.identity()) {
            self.shared.sessions.renew(session, identity);
            let Effects { out, .. } = effects;
            if let Some(handler) = &mut self.handler {
                handler.reconsidered(&mut Peer { now, connection, out, outbox: &self.outbox });
            }
        }
    }

    /// The peer still has to say who it is. A drain that began before it could be told is told now.
    fn wait(&mut self) {
        self.waiting = Some(self.shared.waiting.enter(&self.outbox));
        if self.shared.draining.load(Ordering::SeqCst) {
            let _ = self.outbox.close(CloseCode::GoingAway);
        }
    }

    /// Looks for the session that the connection waits for, if it waits for one.
    #[inline]
    fn seek(&mut self, now: Now, effects: &mut Effects) {
        if let Some(claim) = self.connection().and_then(|connection| connection.wanted().copied()) {
            self.seek_for(now, claim, effects);
        }
    }

    fn seek_for(&mut self, now: Now, claim: Claim, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let found = match self.shared.find(now, &claim, &self.outbox, self.number) {
            Found::Summoned if self.searches < SEARCHES_MAX => {
                self.searches = self.searches.saturating_add(1);
                return;
            }
            Found::Parked(parked, suspended) => Some((parked, suspended)),
            Found::Summoned | Found::Nothing => None,
        };
        let Some((parked, suspended)) = found else {
            let outcome = connection.resume(now, None, effects);
            return self.landed(now, outcome, effects);
        };
        let session = suspended.session();
        let (outbox, subject, handler) = (parked.outbox, parked.subject, parked.handler.downcast::<H>());
        // A session of another endpoint with another application is none that this connection can go on with.
        let fits = handler.is_ok();
        let outcome = connection.resume(now, fits.then_some(suspended), effects);
        if let (Some(Resumption::Resumed { .. }), Ok(handler)) = (outcome, handler) {
            self.handler = Some(*handler);
            self.outbox = outbox.clone();
            self.switched = Some(outbox);
            self.registered = Some(session);
            self.shared.sessions.moved(session, connection.client());
        } else {
            self.shared.drop_session(now, session, &outbox, subject, "not_resumed");
        }
        self.landed(now, outcome, effects);
    }

    /// The search for a session is over: the application learns how.
    fn landed(&mut self, now: Now, outcome: Option<Resumption>, effects: &mut Effects) {
        let Some(outcome) = outcome else {
            return;
        };
        self.shared.stats.resumption(outcome);
        if !matches!(outcome, Resumption::Resumed { .. }) {
            return self.announce(now, effects);
        }
        let Effects { out, .. } = effects;
        if let (State::Running(connection), Some(handler)) = (&mut self.state, &mut self.handler) {
            handler.resumed(&mut Peer { now, connection, out, outbox: &self.outbox });
        }
        self.follow(now, effects);
    }

    #[inline]
    fn settle(&mut self, now: Now, effects: &mut Effects) {
        if !effects.is_quiet() {
            self.settle_noted(now, effects);
        }
    }

    fn settle_noted(&mut self, now: Now, effects: &mut Effects) {
        if effects.bidi_controls > 0 {
            let seen = std::mem::take(&mut effects.bidi_controls);
            self.shared.stats.bidi_controls.fetch_add(u64::from(seen), Ordering::Relaxed);
        }
        if effects.shadowed > 0 {
            let shadowed = std::mem::take(&mut effects.shadowed);
            self.shared.stats.shadowed.fetch_add(u64::from(shadowed), Ordering::Relaxed);
        }
        if effects.duplicates > 0 {
            let duplicates = std::mem::take(&mut effects.duplicates);
            self.shared.stats.duplicates.fetch_add(u64::from(duplicates), Ordering::Relaxed);
        }
        for control in effects.untold.drain(..) {
            self.shared.stats.refused(control);
            self.figures.refused(control);
        }
        if let Some(displaced) = effects.displaced.take() {
            self.shared.sessions.with(displaced, |session| session.outbox.reconsider());
        }
        if effects.records.is_empty() {
            return;
        }
        for record in effects.records.drain(..) {
            if let Some(refusal) = &record.refusal {
                self.figures.refused(refusal.control);
            }
            self.shared.record(now.unix, record);
        }
        self.shared.tell_bans(now);
    }

    fn judge(&mut self, now: Now, text: &str, effects: &mut Effects) {
        if self.outbox.is_watched() {
            return self.judge_watched(now, text, effects);
        }
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let verdict = connection.on_message(now, text, effects, &mut NoProbe);
        if verdict == Verdict::Allow {
            self.count(&Verdict::Allow, text, effects);
            self.follow(now, effects);
            return self.hand_over(now, text, effects);
        }
        self.count(&verdict, text, effects);
        self.follow(now, effects);
        self.announce(now, effects);
        self.seek(now, effects);
    }

    /// [`Self::judge`] with the time that each control takes, for whoever looks on.
    #[inline(never)]
    fn judge_watched(&mut self, now: Now, text: &str, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let mut laps = Laps::start();
        let verdict = connection.on_message(now, text, effects, &mut laps);
        let told = told_of(connection, &verdict, text, effects);
        self.count(&verdict, text, effects);
        self.follow(now, effects);
        if verdict == Verdict::Allow {
            self.hand_over(now, text, effects);
            laps.lap(ControlId::Application);
        }
        self.announce(now, effects);
        self.seek(now, effects);
        if let State::Running(connection) = &self.state {
            let event = event_of(now, &told, &laps.taken, connection.snapshot(now).as_ref());
            self.outbox.report(Watched::Message(event.into()));
        }
    }

    #[inline]
    fn count(&mut self, verdict: &Verdict, text: &str, effects: &Effects) {
        let (number, counted) = match verdict {
            Verdict::Allow => (Some(effects.accepted_number()), Counted::Allow),
            Verdict::Answered => (None, Counted::Allow),
            Verdict::Refuse(_) => (None, Counted::Refuse),
            Verdict::Close(_) => (None, Counted::Close),
        };
        self.shared.stats.message(&mut self.tally, &mut self.figures, number, counted, text.len());
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the message is taken apart where it is put together")]
    fn hand_over(&mut self, now: Now, text: &str, effects: &mut Effects) {
        let (State::Running(connection), Some(handler)) = (&mut self.state, &mut self.handler) else {
            return;
        };
        debug_assert!(Arc::ptr_eq(&self.policy, connection.policy()), "a number is named by the policy it is of");
        // The message is read while the answer is written.
        let (Some(accepted), out) = effects.accepted() else {
            return;
        };
        let message = accepted.message(text, &self.policy);
        let id = message.id;
        match handler.message(message, &mut Peer { now, connection, out, outbox: &self.outbox }) {
            Handled::Done => {
                if let Some(id) = id {
                    connection.acknowledge(now, id, out);
                }
            }
            Handled::Later => {
                if let Some(id) = id {
                    connection.defer(id);
                }
            }
            Handled::Refused(code, reason) => {
                let (id, refusal) = (id.map(str::to_owned), Refusal::new(ControlId::Application, code, reason));
                connection.refuse_handled(id.as_deref(), &refusal, effects);
            }
        }
    }

    /// Runs `act`; a panic in the application closes this connection with 1011 and no other.
    fn isolated(&mut self, now: Now, effects: &mut Effects, act: impl FnOnce(&mut Self, &mut Effects)) {
        let whole = effects.out.len();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| act(self, effects)));
        if outcome.is_err() {
            effects.out.truncate(whole);
            self.shared.stats.panics.fetch_add(1, Ordering::Relaxed);
            let refusal = Refusal::new(ControlId::Application, ErrorCode::Internal, "panic");
            if let Some(connection) = self.connection() {
                let _ = connection.close(CloseCode::InternalError, Some(refusal), effects);
            }
        }
        self.settle(now, effects);
    }
}

impl<H> Guarded<H> {
    fn stop_waiting(&mut self) {
        if let Some(place) = self.waiting.take() {
            self.shared.waiting.leave(place);
        }
    }
}

impl<H> Drop for Guarded<H> {
    fn drop(&mut self) {
        self.stop_waiting();
        self.shared.stats.connections_open.fetch_sub(1, Ordering::Relaxed);
        if let Some(session) = self.registered {
            self.outbox.shut();
            self.shared.sessions.remove(session);
        }
    }
}
