//! One guarded connection: the core's state, the application behind it, and the records between them.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wsguard_core::control::authorization;
use wsguard_core::control::delivery::Encoded;
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::{Effects, Message};
use wsguard_core::frame::{FrameError, FrameLimits};
use wsguard_core::guard::{Connection, OwnFrame, Resumption, Snapshot};
use wsguard_core::handshake::Admission;
use wsguard_core::in_force::InForce;
use wsguard_core::policy::Identity;
use wsguard_core::probe::{NoProbe, Probe};
use wsguard_core::time::{Millis, Now, Tick};
use wsguard_core::verdict::{ControlId, Refusal, Verdict};
use wsguard_protocol::{CloseCode, ErrorCode};

use crate::connections::Figures;
use crate::detached::Found;
use crate::driver::Endpoint;
use crate::guard::Shared;
use crate::mailbox::{Command, Outbox, Summons, Watched};
use crate::registry::Registered;
use crate::stats::Counted;
use crate::waiting::Place;

/// What became of a message in the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// Done: a message with an `id` is acknowledged.
    Done,
    /// Not yet: the application answers later.
    Later,
    /// Refused with a code; the word is for the operator.
    Refused(ErrorCode, &'static str),
}

/// An application behind the guard, called on the connection's own task: it must not block.
pub trait Handler: Send + 'static {
    /// The peer is authenticated.
    fn opened(&mut self, peer: &mut Peer<'_>);
    /// A message that every control let pass.
    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled;
    /// The peer came back to this session after a lost connection. Whatever was sent to [`Peer::outbox`] meanwhile it has by
    /// now, except what its credential no longer lets it read; [`Handler::reconsidered`] is called next.
    fn resumed(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }
    /// What the peer may do has changed, by a new policy or by a token with other roles: leave what it may no longer be
    /// in, and forget what was kept to be sent to it and it may no longer read. Called before the next message.
    ///
    /// By default nothing happens, which is right for an application that asks [`Peer`] at each message.
    fn reconsidered(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }
}

/// The other end, during one call of a [`Handler`].
pub struct Peer<'a> {
    now: Now,
    connection: &'a mut Connection,
    out: &'a mut Vec<u8>,
    outbox: &'a Outbox,
}

impl Peer<'_> {
    /// Who this is.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.connection.identity()
    }

    /// The session.
    pub fn session(&self) -> Option<SessionId> {
        self.connection.session()
    }

    /// What others use to write to this peer.
    pub fn outbox(&self) -> &Outbox {
        self.outbox
    }

    /// The time of this call, which was read once for all that it concerns.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Sends a message whose payload is the JSON text `payload`, with the writes of this turn.
    pub fn send(&mut self, kind: &str, payload: &str) {
        let own = OwnFrame { kind, room: None, expected: payload.len() };
        self.send_written(own, |out| out.extend_from_slice(payload.as_bytes()));
    }

    /// As [`Peer::send`]; `write` appends the payload, JSON text, straight to what is sent.
    pub fn send_written(&mut self, own: OwnFrame<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.connection.write_own(self.now, own, write, self.out);
    }

    /// Sends a message that was encoded for many.
    pub fn send_encoded(&mut self, message: &Encoded) {
        self.connection.write_application(self.now, message, self.out);
    }

    /// Whether the peer may enter `room`.
    pub fn may_enter(&self, room: &str) -> bool {
        let rules = &self.connection.policy().rooms;
        self.connection.identity().is_some_and(|identity| authorization::may_enter(rules, &identity.claims, room))
    }
}

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
}

/// Connections that are asked for one session, each after the answer of the one before. One is usual; more where a
/// client tried several times in a row and the session changed hands in between.
const SEARCHES_MAX: u8 = 8;

enum State {
    Waiting(Option<Box<Admission>>),
    Running(Box<Connection>),
}

/// Times controls, for a connection that somebody watches.
struct Laps {
    last: Instant,
    taken: Vec<(ControlId, u64)>,
}

impl Laps {
    fn start() -> Self {
        Self { last: Instant::now(), taken: Vec::with_capacity(10) }
    }
}

impl Probe for Laps {
    fn lap(&mut self, control: ControlId) {
        let now = Instant::now();
        let nanos = u64::try_from(now.duration_since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.taken.push((control, nanos));
        self.last = now;
    }
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
        }
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Running(connection) => Some(connection),
            State::Waiting(_) => None,
        }
    }

    /// The connection is authenticated for the first time: the application learns of it.
    fn announce(&mut self, now: Now, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let (Some(session), Some(identity), None) = (connection.session(), connection.identity(), self.registered)
        else {
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
    fn follow(&mut self, now: Now, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        if !connection.take_rights_changed() {
            return;
        }
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
    fn seek(&mut self, now: Now, effects: &mut Effects) {
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let Some(claim) = connection.wanted().copied() else {
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
        let (outbox, handler) = (parked.outbox, parked.handler.downcast::<H>());
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
            outbox.shut();
            self.shared.sessions.remove(session);
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

    fn settle(&mut self, now: Now, effects: &mut Effects) {
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
        let watched = self.outbox.is_watched();
        let State::Running(connection) = &mut self.state else {
            return;
        };
        let mut laps = watched.then(Laps::start);
        let verdict = match &mut laps {
            Some(laps) => connection.on_message(now, text, effects, laps),
            None => connection.on_message(now, text, effects, &mut NoProbe),
        };
        let stats = &self.shared.stats;
        stats.bytes_in.fetch_add(text.len() as u64, Ordering::Relaxed);
        self.figures.message(text.len());
        let (number, counted) = match &verdict {
            Verdict::Allow => (Some(effects.accepted_number()), Counted::Allow),
            Verdict::Answered => (None, Counted::Allow),
            Verdict::Refuse(_) => (None, Counted::Refuse),
            Verdict::Close(_) => (None, Counted::Close),
        };
        stats.message(number, counted);
        let told = laps.as_ref().map(|_| told_of(connection, &verdict, text, effects));
        self.follow(now, effects);
        if verdict == Verdict::Allow {
            self.hand_over(now, effects);
            if let Some(laps) = &mut laps {
                laps.lap(ControlId::Application);
            }
        }
        self.announce(now, effects);
        self.seek(now, effects);
        if let (Some(laps), Some(told), State::Running(connection)) = (laps, told, &self.state) {
            let event = event_of(now, &told, &laps.taken, connection.snapshot(now).as_ref());
            self.outbox.report(Watched::Message(event.into()));
        }
    }

    fn hand_over(&mut self, now: Now, effects: &mut Effects) {
        let (State::Running(connection), Some(handler)) = (&mut self.state, &mut self.handler) else {
            return;
        };
        // The message is read while the answer is written: it leaves the effects for the time of the call.
        let accepted = effects.take_accepted();
        debug_assert!(Arc::ptr_eq(&self.policy, connection.policy()), "a number is named by the policy it is of");
        let message = accepted.message(&self.policy);
        let id = message.id;
        let Effects { out, .. } = effects;
        let answer = handler.message(message, &mut Peer { now, connection, out, outbox: &self.outbox });
        match answer {
            Handled::Done => {
                if let Some(id) = id {
                    connection.acknowledge(now, id, &mut effects.out);
                }
            }
            Handled::Later => {
                if let Some(id) = id {
                    connection.defer(id);
                }
            }
            Handled::Refused(code, reason) => {
                let refusal = Refusal::new(ControlId::Application, code, reason);
                connection.refuse_handled(id, &refusal, effects);
            }
        }
        effects.give_back(accepted);
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

impl<H: Handler> Endpoint for Guarded<H> {
    fn limits(&self) -> &FrameLimits {
        &self.policy.frames
    }

    fn opened(&mut self, now: Now, effects: &mut Effects) {
        self.isolated(now, effects, |this, effects| {
            if let State::Waiting(admission) = &mut this.state
                && let Some(admission) = admission.take()
            {
                let (connection, verdict) = Connection::open(Arc::clone(&this.shared.cx), now, *admission, effects);
                this.state = State::Running(Box::new(connection));
                this.follow(now, effects);
                match verdict {
                    Verdict::Allow => this.announce(now, effects),
                    Verdict::Answered => this.wait(),
                    Verdict::Refuse(_) | Verdict::Close(_) => {}
                }
                this.seek(now, effects);
            }
        });
    }

    fn text(&mut self, now: Now, text: &str, effects: &mut Effects) {
        self.isolated(now, effects, |this, effects| this.judge(now, text, effects));
    }

    fn binary(&mut self, now: Now, _: &[u8], effects: &mut Effects) {
        // The frame layer refuses binary at its header; whoever permits it there has no application for it here.
        self.isolated(now, effects, |this, effects| {
            if let Some(connection) = this.connection() {
                let _ = connection.on_frame_error(now, FrameError::BinaryRefused, effects);
            }
        });
    }

    fn pinged(&mut self, now: Now) {
        if let Some(connection) = self.connection() {
            let _ = connection.on_sign_of_life(now);
        }
    }

    fn ponged(&mut self, now: Now) {
        let round_trip = self.connection().and_then(|connection| connection.on_sign_of_life(now));
        if let Some(round_trip) = round_trip {
            self.shared.stats.round_trip(round_trip);
            self.figures.round_trip(round_trip);
        }
    }

    fn peer_closed(&mut self, code: Option<u16>, effects: &mut Effects) {
        if let Some(connection) = self.connection() {
            connection.on_peer_close(code, effects);
        }
        self.settle(crate::clock::now(), effects);
    }

    fn lost(&mut self, effects: &mut Effects) {
        if let Some(connection) = self.connection() {
            connection.on_lost(effects);
        }
        self.settle(crate::clock::now(), effects);
    }

    fn broken(&mut self, error: FrameError, effects: &mut Effects) {
        if let Some(connection) = self.connection() {
            let _ = connection.on_frame_error(crate::clock::now(), error, effects);
        }
        self.settle(crate::clock::now(), effects);
    }

    fn overdue(&mut self, effects: &mut Effects) {
        if let Some(connection) = self.connection() {
            let _ = connection.on_message_overdue(effects);
        }
        self.settle(crate::clock::now(), effects);
    }

    fn stalled(&mut self, effects: &mut Effects) {
        self.shared.stats.queue_drops.fetch_add(1, Ordering::Relaxed);
        if let Some(connection) = self.connection() {
            let _ = connection.on_stalled(effects);
        }
        self.settle(crate::clock::now(), effects);
    }

    fn command(&mut self, now: Now, command: Command, effects: &mut Effects) {
        match command {
            Command::Continue => return self.isolated(now, effects, |this, effects| this.seek(now, effects)),
            Command::Reconsider => {
                return self.isolated(now, effects, |this, effects| {
                    if let Some(connection) = this.connection() {
                        let _ = connection.reconsider(now, effects);
                    }
                    this.follow(now, effects);
                });
            }
            _ => {}
        }
        let outbox = self.outbox.clone();
        let (mut summons, number) = (None, self.number);
        if let State::Running(connection) = &mut self.state {
            match command {
                Command::Send(message) => connection.write_application(now, &message, &mut effects.out),
                Command::Ack(id) => connection.acknowledge(now, &id, &mut effects.out),
                Command::Refuse(id, refusal) => connection.refuse_handled(id.as_deref(), &refusal, effects),
                Command::Drain(after) => connection.write_draining(after, &mut effects.out),
                Command::State => {
                    if let Some(snapshot) = connection.snapshot(now) {
                        let mut state = String::with_capacity(512);
                        write_state(now, &snapshot, &mut state);
                        outbox.report(Watched::State(state.into()));
                    }
                }
                Command::HandOver(claim, by) => {
                    let gives_up = by.is_after(number) && connection.give_up(&claim, effects);
                    summons = gives_up.then_some(by);
                }
                Command::Close(code, refusal) => {
                    let refusal = refusal.or_else(|| refusal_of(code));
                    let _ = connection.close(code, refusal, effects);
                }
                Command::Inquire(inquiry) => {
                    if let Some(snapshot) = connection.snapshot(now) {
                        inquiry.answer(self.figures.with(snapshot));
                    }
                }
                Command::Lose => connection.on_lost(effects),
                Command::Reconsider | Command::Continue => {}
            }
        }
        if summons.is_some() {
            self.summons = summons;
        }
        self.settle(now, effects);
    }

    fn deadline(&self) -> Tick {
        match &self.state {
            State::Running(connection) => connection.deadline(),
            State::Waiting(_) => Tick::NEVER,
        }
    }

    fn due(&mut self, now: Now, effects: &mut Effects) {
        self.isolated(now, effects, |this, effects| {
            let before = this.connection().is_some_and(|connection| connection.wanted().is_some());
            if let Some(connection) = this.connection()
                && connection.on_deadline(now, effects) == Verdict::Allow
                && before
            {
                this.landed(now, Some(Resumption::Unknown), effects);
            }
        });
    }

    fn message_time_max(&self) -> Millis {
        self.policy.heartbeat.message
    }

    fn stall_time_max(&self) -> Millis {
        self.policy.heartbeat.stall
    }

    fn is_over(&self) -> bool {
        matches!(&self.state, State::Running(connection) if connection.is_closing())
    }

    fn is_waiting(&self) -> bool {
        matches!(&self.state, State::Running(connection) if connection.wanted().is_some())
    }

    fn outbox(&mut self) -> Option<Outbox> {
        self.switched.take()
    }

    fn ended(&mut self) -> bool {
        let summons = self.summons.take();
        let suspended = self.connection().and_then(Connection::take_suspended);
        let (Some(suspended), Some(_)) = (suspended, self.registered) else {
            return false;
        };
        let Some(handler) = self.handler.take() else {
            return false;
        };
        let now = crate::clock::now();
        let parked = self.shared.park(now, suspended, Box::new(handler), &self.outbox, self.number, summons.is_some());
        if parked {
            self.registered = None;
        }
        // Whoever takes the session over looks for it now.
        drop(summons);
        parked
    }
}

/// What stands in the `error` that goes before a 44xx close which somebody asked for without saying why.
fn refusal_of(code: CloseCode) -> Option<Refusal> {
    let refusal = |control, error, reason| Some(Refusal::new(control, error, reason));
    match code {
        CloseCode::Forbidden => refusal(ControlId::Liveness, ErrorCode::Forbidden, "disconnected_by_operator"),
        CloseCode::Unauthenticated => refusal(ControlId::Application, ErrorCode::Unauthenticated, "application_closed"),
        CloseCode::TimedOut => refusal(ControlId::Application, ErrorCode::SessionExpired, "application_closed"),
        CloseCode::Replaced => refusal(ControlId::Application, ErrorCode::Forbidden, "application_closed"),
        CloseCode::RateLimited => refusal(ControlId::Application, ErrorCode::RateLimited, "application_closed")
            .map(|refusal| refusal.retry_after(RETRY_AFTER)),
        _ => None,
    }
}

/// What a client is told to wait that the application closes with 4429.
const RETRY_AFTER: Millis = Millis(10_000);

/// What a watcher is told of a message, taken before the application runs.
struct Told {
    kind: String,
    /// JSON text.
    id: Option<String>,
    bytes: usize,
    verdict: &'static str,
    refusal: Option<Refusal>,
    reference: Option<String>,
    neutralised: u32,
}

fn told_of(connection: &Connection, verdict: &Verdict, text: &str, effects: &Effects) -> Told {
    let refusal = match verdict {
        Verdict::Refuse(refusal) => Some(refusal.clone()),
        Verdict::Close(closure) => closure.refusal.clone(),
        Verdict::Allow | Verdict::Answered => None,
    };
    let message = (*verdict == Verdict::Allow).then(|| connection.message(effects));
    let recorded = effects.records.last().and_then(|record| record.message_type.as_deref());
    Told {
        kind: message.map_or_else(|| recorded.unwrap_or_default().to_owned(), |message| message.kind.to_owned()),
        id: match message {
            Some(message) => message.id.map(str::to_owned),
            None => effects.records.last().and_then(|record| record.message_id.as_deref()).map(str::to_owned),
        },
        bytes: text.len(),
        verdict: verdict.as_str(),
        reference: effects.records.last().and_then(|record| record.reference).map(|reference| reference.to_string()),
        neutralised: message.map_or(0, |message| message.neutralised),
        refusal,
    }
}

fn event_of(now: Now, told: &Told, laps: &[(ControlId, u64)], snapshot: Option<&Snapshot>) -> String {
    let quoted = |text: Option<&str>| serde_json::to_string(&text).unwrap_or_else(|_| "null".into());
    let refusal = told.refusal.as_ref();
    let total = laps.iter().fold(0_u64, |sum, (_, nanos)| sum.saturating_add(*nanos));
    let mut event = String::with_capacity(1_024);
    let _ = write!(
        event,
        r#"{{"at":{},"session":{},"type":{},"id":{},"bytes":{},"verdict":"{}","control":{},"code":{},"reason":{},"detail":{},"ref":{},"neutralised":{},"ns":{{"total":{total},"controls":["#,
        now.unix.0,
        quoted(snapshot.map(|snapshot| snapshot.session.to_string()).as_deref()),
        quoted(Some(&told.kind)),
        told.id.as_deref().unwrap_or("null"),
        told.bytes,
        told.verdict,
        quoted(refusal.map(|refusal| refusal.control.as_str())),
        quoted(refusal.map(|refusal| refusal.code.as_str())),
        quoted(refusal.map(|refusal| refusal.reason.word)),
        quoted(refusal.and_then(|refusal| refusal.reason.detail.as_deref())),
        quoted(told.reference.as_deref()),
        told.neutralised,
    );
    for (index, (control, nanos)) in laps.iter().enumerate() {
        let name = if *control == ControlId::Application { "deliver" } else { control.as_str() };
        let _ = write!(event, r#"{}["{name}",{nanos}]"#, if index == 0 { "" } else { "," });
    }
    event.push_str("]},\"state\":");
    match snapshot {
        None => event.push_str("null"),
        Some(snapshot) => write_state(now, snapshot, &mut event),
    }
    event.push('}');
    event
}

fn write_state(now: Now, snapshot: &Snapshot, event: &mut String) {
    let subject = serde_json::to_string(&*snapshot.subject).unwrap_or_else(|_| "\"\"".into());
    let _ = write!(
        event,
        r#"{{"subject":{subject},"sessionStartedAt":{},"authExpiresAt":{},"csrfExpiresAt":{},"buckets":["#,
        now.unix.0.saturating_sub(snapshot.age.0),
        snapshot.auth_expires_at.0,
        snapshot.csrf_expires_at.0,
    );
    for (index, (name, quota, used)) in snapshot.buckets.iter().enumerate() {
        let unit = if name.starts_with("bytes") { "bytes" } else { "messages" };
        let _ = write!(
            event,
            r#"{}{{"name":"{name}","used":{used:.3},"burst":{},"perSecond":{},"unit":"{unit}"}}"#,
            if index == 0 { "" } else { "," },
            quota.burst(),
            quota.per_second(),
        );
    }
    let ladder = &snapshot.ladder;
    let [slow, drop, close] = ladder.begins_at;
    let _ = write!(
        event,
        r#"],"expiring":{},"frames":{},"kept":{},"ladder":{{"rung":"{}","weight":{},"slowAt":{slow},"dropAt":{drop},"closeAt":{close},"offences":{}}},"anomaly":{}}}"#,
        snapshot.is_expiring,
        snapshot.seq,
        snapshot.kept_frames.map_or_else(|| "null".to_owned(), |kept| kept.to_string()),
        ladder.rung,
        ladder.weight,
        ladder.offences,
        snapshot.anomaly.to_json(),
    );
}
