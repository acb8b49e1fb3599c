//! The events of the driver, each answered by the core or the application.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wsguard_core::effect::Effects;
use wsguard_core::fault::{self, Fault};
use wsguard_core::frame::{FrameError, FrameLimits};
use wsguard_core::guard::{Connection, Resumption};
use wsguard_core::time::{Millis, Now, Tick};
use wsguard_core::verdict::{ControlId, Refusal, Verdict};
use wsguard_protocol::{CloseCode, ErrorCode};

use super::watched::write_state;
use super::{Guarded, State};
use crate::driver::Endpoint;
use crate::handler::Handler;
use crate::mailbox::{Command, Outbox, Watched};

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

    fn ahead(&mut self, now: Now, messages: u8, bytes: u32) {
        if let Some(connection) = self.connection() {
            connection.on_messages_ahead(now, messages, bytes);
        }
    }

    fn text(&mut self, now: Now, text: &str, effects: &mut Effects) {
        self.isolated(now, effects, |this, effects| this.judge(now, text, effects));
    }

    fn digested(&mut self) {
        self.shared.stats.add(&mut self.tally, &mut self.figures);
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
        assert!(!fault::is_on(Fault::Panic), "a deliberate fault");
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
        let (mut summons, number) = (None, self.number);
        if let State::Running(connection) = &mut self.state {
            match command {
                Command::Send(message) => connection.write_application(now, &message, &mut effects.out),
                Command::Ack(id) => connection.acknowledge(now, &id, &mut effects.out),
                Command::Refuse(late) => {
                    if let (id, Some(refusal)) = late.take() {
                        connection.refuse_handled(id.as_deref(), &refusal, effects);
                    }
                }
                Command::Drain(after) => connection.write_draining(after, &mut effects.out),
                Command::State => {
                    if let Some(snapshot) = connection.snapshot(now) {
                        let mut state = String::with_capacity(512);
                        write_state(now, &snapshot, &mut state);
                        self.outbox.report(Watched::State(state.into()));
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
