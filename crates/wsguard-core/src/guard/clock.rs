//! What time does to a connection: pings, silence, expiry, rotation.

use wsguard_protocol::{CloseCode, ErrorCode};

use super::resume::{Resumption, limits_of};
use super::{Aftermath, Connection, Phase, reply};
use crate::control::heartbeat::Beat;
use crate::effect::Effects;
use crate::frame::{self, Opcode};
use crate::time::{Millis, Now, Tick};
use crate::verdict::{ControlId, Refusal, Verdict};

impl Connection {
    /// The peer gave a sign of life that is no message. Returns the time since the ping that waited for it, if one did.
    pub fn on_sign_of_life(&mut self, now: Now) -> Option<Millis> {
        self.heart.seen(now.tick)
    }

    /// A message has been under way for longer than [`crate::control::heartbeat::HeartbeatPolicy::message`].
    pub fn on_message_overdue(&mut self, effects: &mut Effects) -> Verdict {
        let refusal = Refusal::new(ControlId::Heartbeat, ErrorCode::InvalidMessage, "message_unfinished");
        // A network that fails within a message looks like this.
        self.aftermath = Aftermath::Kept;
        self.close(CloseCode::PolicyViolation, Some(refusal), effects)
    }

    /// When [`Connection::on_deadline`] has something to do, at the latest.
    pub fn deadline(&self) -> Tick {
        let policy = &self.judged.policy;
        let beat = self.heart.deadline(&policy.heartbeat);
        match &self.phase {
            Phase::Closed | Phase::Suspended(_) => Tick::NEVER,
            Phase::Resuming(resuming) => resuming.until(),
            Phase::FirstMessage { until, .. } | Phase::Proof { until, .. } => *until,
            Phase::Open(session) => beat
                .min(session.last_message.after(policy.sessions.idle))
                .min(session.started().after(policy.sessions.max))
                .min(session.csrf.rotates_at)
                .min(session.token_ends_at)
                .min(session.expiring_at),
        }
    }

    /// Does what is due at `now`. [`Verdict::Allow`]: the session that was waited for did not come, and a new one began.
    pub fn on_deadline(&mut self, now: Now, effects: &mut Effects) -> Verdict {
        if self.closing {
            return Verdict::Answered;
        }
        if self.wait_is_over(now.tick) {
            return match self.resume(now, None, effects) {
                Some(Resumption::Refused) | None => Verdict::Answered,
                Some(_) => Verdict::Allow,
            };
        }
        let policy = &self.judged.policy;
        let (idle, max, rotate) = (policy.sessions.idle, policy.sessions.max, policy.csrf_rotate_every);
        let timed_out = |reason| Refusal::new(ControlId::Heartbeat, ErrorCode::Unauthenticated, reason);
        match &mut self.phase {
            Phase::Closed | Phase::Suspended(_) | Phase::Resuming(_) => return Verdict::Answered,
            Phase::FirstMessage { until, .. } | Phase::Proof { until, .. } => {
                return if now.tick >= *until {
                    self.close(CloseCode::TimedOut, Some(timed_out("first_message_missing")), effects)
                } else {
                    Verdict::Answered
                };
            }
            Phase::Open(session) => {
                let expired = |reason| Some(Refusal::new(ControlId::Liveness, ErrorCode::SessionExpired, reason));
                if now.unix >= session.ends_at(&self.judged.policy) {
                    return self.close(CloseCode::Unauthenticated, expired("token_ended"), effects);
                }
                if now.tick >= session.started().after(max) {
                    return self.close(CloseCode::Unauthenticated, expired("session_too_old"), effects);
                }
                if now.tick >= session.last_message.after(idle) {
                    return self.close(CloseCode::TimedOut, expired("session_idle"), effects);
                }
                if now.tick >= session.token_ends_at {
                    // The wall clock went back since the deadline was computed: the token is still good.
                    session.schedule_end(now, &self.judged.policy);
                }
                if now.tick >= session.expiring_at {
                    session.expiring_at = Tick::NEVER;
                    reply::write_auth(&mut effects.out, "auth.expiring", session.identity.claims.expires_at);
                }
                if now.tick >= session.csrf.rotates_at {
                    session.csrf.rotate(&self.cx.csrf, session.id, now, rotate);
                    reply::write_csrf(&mut effects.out, now, &session.csrf);
                }
            }
        }
        if let Phase::Open(session) = &mut self.phase
            && let Some(replay) = session.replay_mut()
        {
            replay.forget_old(&limits_of(&self.judged.policy), now.tick);
        }
        match self.heart.beat(&self.judged.policy.heartbeat, now.tick) {
            Beat::Quiet(_) => Verdict::Answered,
            Beat::Ping => {
                frame::write_frame(&mut effects.out, Opcode::Ping, b"");
                Verdict::Answered
            }
            Beat::Dead => {
                let refusal = Refusal::new(ControlId::Heartbeat, ErrorCode::SessionExpired, "peer_silent");
                self.aftermath = Aftermath::Kept;
                self.close(CloseCode::TimedOut, Some(refusal), effects)
            }
        }
    }
}
