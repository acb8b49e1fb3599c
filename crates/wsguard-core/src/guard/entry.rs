//! How a connection becomes a session and keeps its identity: admission, the first message, `auth.refresh`.

use std::sync::Arc;

use wsguard_protocol::limits::AUTH_EXPIRING_MS;
use wsguard_protocol::{CloseCode, ErrorCode};

use super::penalty::Held;
use super::{Aftermath, Connection, Login, Passed, Phase, Refused, Session, reply};
use crate::control::csrf::Csrf;
use crate::control::delivery::{ResumeRequest, resume_in_payload};
use crate::control::envelope::Envelope;
use crate::control::heartbeat::Heartbeat;
use crate::control::rate::{Ahead, Bucket, Quota};
use crate::control::session::{Seat, SessionId};
use crate::control::shadow::ShadowSet;
use crate::effect::Effects;
use crate::handshake::{Admission, Entry, kept_out};
use crate::json::Value;
use crate::policy::{Context, Identity, Policy};
use crate::time::{Millis, Now, Tick, UnixMs};
use crate::token::TokenError;
use crate::verdict::{ControlId, Verdict};

/// Time that one refresh of the token costs. Each one checks a signature, and a token lives for minutes.
const REFRESH_EVERY: Millis = Millis(5_000);

/// Refreshes at once: a client that tries again after a bad token.
const REFRESHES_AT_ONCE: u32 = 4;

impl Connection {
    /// The connection that begins with `admission`. Its first frames stand in `effects.out`; after
    /// [`Verdict::Close`] it is over already.
    pub fn open(cx: Arc<Context>, now: Now, admission: Admission, effects: &mut Effects) -> (Self, Verdict) {
        let until = now.tick.after(admission.judged.policy.heartbeat.first_message);
        let mut connection = Self {
            phase: Phase::Closed,
            client: admission.client,
            prefixes: admission.prefixes,
            heart: Heartbeat::new(now.tick),
            bytes: Bucket::default(),
            ahead: Ahead::default(),
            refused_in_a_row: 0,
            closing: false,
            bidi_told: false,
            shadow_told: ShadowSet::default(),
            held: Held::new(admission.ordered),
            aftermath: Aftermath::Over,
            rights_changed: false,
            judged: admission.judged,
            cx,
        };
        let resume = admission.resume;
        let verdict = match admission.entry {
            Entry::Open(identity, seat) => connection.begin(now, identity, seat, resume.as_deref(), effects),
            Entry::FirstMessage => {
                connection.phase = Phase::FirstMessage { until, resume };
                Verdict::Answered
            }
            Entry::Proof { identity, fingerprint } => {
                let login = Box::new(Login { identity, fingerprint, resume });
                connection.phase = Phase::Proof { until, login };
                Verdict::Answered
            }
            Entry::Refused(refusal) => {
                let code = match refusal.control {
                    ControlId::SessionCap => CloseCode::Replaced,
                    ControlId::Penalty => CloseCode::RateLimited,
                    _ if refusal.code == ErrorCode::Forbidden => CloseCode::Forbidden,
                    _ => CloseCode::Unauthenticated,
                };
                connection.close(code, Some(refusal), effects)
            }
        };
        // While the 101 travelled, something may have changed.
        let verdict = match connection.reconsider(now, effects) {
            closed @ Verdict::Close(_) => closed,
            _ => verdict,
        };
        (connection, verdict)
    }

    /// The first message of a connection that is not authenticated: one try.
    pub(super) fn first<'t>(&self, now: Now, envelope: Envelope<'t>) -> Result<Passed, Refused<'t>> {
        let refuse =
            |code, reason, close| Err(Refused::new(ControlId::Credential, code, reason, envelope.id()).closing(close));
        let unauthenticated = |reason| refuse(ErrorCode::Unauthenticated, reason, CloseCode::Unauthenticated);
        if let Phase::Proof { login, .. } = &self.phase {
            let Ok((None, resume)) = resume_in_payload(envelope.payload()) else {
                return refuse(ErrorCode::CsrfInvalid, "auth_payload_invalid", CloseCode::Forbidden);
            };
            return match envelope.csrf_token {
                _ if envelope.kind() != "auth" => {
                    refuse(ErrorCode::CsrfInvalid, "first_message_not_auth", CloseCode::Forbidden)
                }
                Some(proof) if self.cx.proof_is_good(now, &login.fingerprint, proof) => Ok(Passed::Proved(resume)),
                Some(_) => refuse(ErrorCode::CsrfInvalid, "proof_wrong", CloseCode::Forbidden),
                None => refuse(ErrorCode::CsrfInvalid, "proof_missing", CloseCode::Forbidden),
            };
        }
        if envelope.kind() != "auth" {
            return unauthenticated("first_message_not_auth");
        }
        let Ok((Some(token), resume)) = resume_in_payload(envelope.payload()) else {
            return unauthenticated("auth_payload_invalid");
        };
        match self.cx.identify_under(&self.judged.policy, now, token) {
            Ok(identity) => Ok(Passed::Authenticated(Arc::new(identity), resume)),
            Err(error @ TokenError::Revoked(_)) => refuse(ErrorCode::Forbidden, error.as_str(), CloseCode::Forbidden),
            Err(error) => unauthenticated(error.as_str()),
        }
    }

    pub(super) fn accept_refresh<'t>(&mut self, now: Now, envelope: Envelope<'t>) -> Result<Passed, Refused<'t>> {
        let Phase::Open(session) = &mut self.phase else {
            return Err(Refused::new(ControlId::Credential, ErrorCode::Internal, "no_session", envelope.id()));
        };
        let Some(token) = only_string(envelope.payload(), "token") else {
            let reason = "refresh_payload_invalid";
            return Err(Refused::new(ControlId::Credential, ErrorCode::InvalidMessage, reason, envelope.id()));
        };
        let quota = Quota::per(1, REFRESH_EVERY, REFRESHES_AT_ONCE);
        if let Err(wait) = quota.charge(&mut session.refreshes, now.tick, 1) {
            let reason = "refreshes_of_session";
            return Err(Refused::new(ControlId::RateType, ErrorCode::RateLimited, reason, envelope.id()).after(wait));
        }
        match self.cx.identify_under(&self.judged.policy, now, token) {
            Ok(fresh) if fresh.claims.subject == session.identity.claims.subject => {
                Ok(Passed::Refreshed(Arc::new(fresh)))
            }
            Ok(_) => Err(Refused::new(
                ControlId::Credential,
                ErrorCode::Forbidden,
                "refresh_of_another_subject",
                envelope.id(),
            )
            .closing(CloseCode::Forbidden)),
            Err(error @ TokenError::Revoked(_)) => {
                let reason = error.as_str();
                let refused = Refused::new(ControlId::Credential, ErrorCode::Forbidden, reason, envelope.id());
                Err(refused.closing(CloseCode::Forbidden))
            }
            Err(error) => {
                Err(Refused::new(ControlId::Credential, ErrorCode::Unauthenticated, error.as_str(), envelope.id()))
            }
        }
    }

    /// The first message proved who this is. `request` stands in it; without one the handshake's counts.
    pub(super) fn take_seat(
        &mut self,
        now: Now,
        identity: Arc<Identity>,
        request: Option<ResumeRequest>,
        effects: &mut Effects,
    ) -> Verdict {
        if let Some(left) = self.cx.kept_out(&identity, now) {
            return self.close(CloseCode::RateLimited, Some(kept_out("subject_kept_out", left)), effects);
        }
        let offered = match &mut self.phase {
            Phase::FirstMessage { resume, .. } => resume.take(),
            Phase::Proof { login, .. } => login.resume.take(),
            _ => None,
        };
        let request = request.or(offered.map(|request| *request));
        match self.begin(now, identity, None, request.as_ref(), effects) {
            Verdict::Allow => Verdict::Answered,
            other => other,
        }
    }

    pub(super) fn begin_session(
        &mut self,
        now: Now,
        identity: Arc<Identity>,
        seat: Seat,
        announced: bool,
        effects: &mut Effects,
    ) {
        let policy = &self.judged.policy;
        let id = SessionId(self.cx.random_id());
        seat.begin(id);
        let conduct = self.cx.begin_conduct(now.tick, &identity, self.prefixes, id.0);
        let mut session = Box::new(Session {
            id,
            last_message: now.tick,
            seq: 0,
            csrf: Csrf::new(&self.cx.csrf, id, now, policy.csrf_rotate_every),
            expiring_at: Tick::NEVER,
            refreshes: Bucket::default(),
            token_ends_at: Tick::NEVER,
            ack_from: now.tick,
            permissions: policy.permissions_of(&identity.claims),
            identity,
            seat: Some(seat),
            delivery: None,
            conduct,
        });
        session.schedule_end(now, policy);
        if announced {
            session.announce(&self.cx, policy);
        }
        let token = session.resume_token(&self.cx, policy);
        reply::write_welcome(&mut effects.out, now, &session, policy, token.as_deref(), false);
        self.phase = Phase::Open(session);
        self.take_standing_up(now);
        self.record("session_opened", effects);
    }

    pub(super) fn refresh(&mut self, now: Now, identity: Arc<Identity>, effects: &mut Effects) {
        if let Phase::Open(session) = &mut self.phase {
            session.identity = identity;
            session.permissions = self.judged.policy.permissions_of(&session.identity.claims);
            session.schedule_end(now, &self.judged.policy);
            session.move_conduct(&self.cx, now.tick, self.prefixes);
            session.purge_rooms(&self.judged.policy);
            self.rights_changed = true;
            reply::write_auth(&mut effects.out, "auth.refreshed", session.identity.claims.expires_at);
            self.record("token_refreshed", effects);
        }
    }
}

impl Session {
    pub(super) fn started(&self) -> Tick {
        self.conduct.begun()
    }

    /// The first moment at which the token is no longer good.
    pub(super) fn ends_at(&self, policy: &Policy) -> UnixMs {
        self.identity.claims.ends_at(policy.tokens.leeway)
    }

    /// Why it is over, where it is.
    #[inline]
    pub(super) fn over(&self, now: Now, policy: &Policy) -> Option<&'static str> {
        if now.unix >= self.ends_at(policy) {
            Some("token_ended")
        } else if now.tick >= self.started().after(policy.sessions.max) {
            Some("session_too_old")
        } else {
            None
        }
    }

    /// Puts the end of the token, and the warning before it, on the tick clock.
    pub(super) fn schedule_end(&mut self, now: Now, policy: &Policy) {
        let life = self.identity.claims.expires_at.since(now.unix);
        let warning = Millis(AUTH_EXPIRING_MS.min(life.0 / 5));
        self.token_ends_at = now.tick.after(self.ends_at(policy).since(now.unix));
        self.expiring_at = now.tick.after(Millis(life.0.saturating_sub(warning.0)));
    }
}

/// The one string member `name` of an object that has no other.
fn only_string<'t>(payload: Option<Value<'t>>, name: &str) -> Option<&'t str> {
    let payload = payload.filter(|value| value.is_object())?;
    let mut members = payload.members();
    let member = members.next()?;
    if members.next().is_some() || !member.key.str_eq(name) {
        return None;
    }
    member.value.as_plain_str()
}
