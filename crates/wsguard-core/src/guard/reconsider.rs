//! What changed while the connection was open: the policy, the keys, the rights.
//!
//! Attack: a socket that outlives the reason for which it was opened (CWE-613). An open connection is held to what a
//! handshake would be held to now; what the new policy still allows is not touched.
//!
//! # Specification
//! OWASP ASVS 5.0 7.4.1, 7.4.2, 8.3.2

use std::sync::Arc;

use wsguard_protocol::{CloseCode, ErrorCode};

use super::{Connection, Phase};
use crate::control::session::Seat;
use crate::effect::Effects;
use crate::fault::{self, Fault};
use crate::handshake::{Judged, kept_out};
use crate::in_force::InForce;
use crate::policy::{Identity, Policy};
use crate::time::Now;
use crate::verdict::{Closure, ControlId, Refusal, Verdict};

impl Connection {
    /// Looks at everything again that may have changed since the connection last looked. For the driver, after
    /// [`crate::policy::Context::advance_epoch`]: a connection whose peer is silent would not notice by itself.
    pub fn reconsider(&mut self, now: Now, effects: &mut Effects) -> Verdict {
        if self.closing || self.cx.epoch() == self.judged.epoch {
            return Verdict::Answered;
        }
        match self.look_again(now) {
            Ok(()) => Verdict::Answered,
            Err(closure) => self.close(closure.code, closure.refusal, effects),
        }
    }

    /// Whether rights may have changed since this was last asked: by a new policy, or by a new token. The application is
    /// to be told before it gets the next message.
    pub fn take_rights_changed(&mut self) -> bool {
        std::mem::take(&mut self.rights_changed)
    }

    /// The policy that the connection is judged by.
    pub fn policy(&self) -> &Arc<InForce> {
        &self.judged.policy
    }

    pub(super) fn look_again(&mut self, now: Now) -> Result<(), Closure> {
        // Before all that it stands for: a change in the meantime moves it once more, and is looked at then.
        self.judged.epoch = self.cx.epoch();
        self.still_good(now)?;
        let policy = self.cx.policy();
        if Arc::ptr_eq(&policy, &self.judged.policy) {
            return Ok(());
        }
        self.judged.move_to(&policy)?;
        let old = std::mem::replace(&mut self.judged.policy, policy);
        self.rights_changed = true;
        let policy = &self.judged.policy;
        match &mut self.phase {
            Phase::Open(session) => {
                still_identified(&old, policy, &session.identity)?;
                session.permissions = policy.permissions_of(&session.identity.claims);
                session.schedule_end(now, policy);
                session.purge_rooms(policy);
            }
            Phase::Proof { login, .. } => still_identified(&old, policy, &login.identity)?,
            Phase::Resuming(resuming) => still_identified(&old, policy, resuming.identity())?,
            Phase::FirstMessage { .. } | Phase::Suspended(_) | Phase::Closed => {}
        }
        Ok(())
    }

    /// Whether the seat and the key that verified the token are still there, neither token nor session was revoked, and
    /// neither subject nor session is banned.
    pub(super) fn still_good(&self, now: Now) -> Result<(), Closure> {
        if let Phase::Open(session) = &self.phase
            && session.seat.as_ref().is_some_and(Seat::is_displaced)
        {
            let refusal = Refusal::new(ControlId::SessionCap, ErrorCode::Forbidden, "session_displaced");
            return Err(Closure { code: CloseCode::Replaced, refusal: Some(refusal) });
        }
        if let Phase::Open(session) = &self.phase {
            let penalties = &self.cx.penalties;
            let banned = penalties.banned(session.identity.print, now.tick);
            if let Some(left) = banned.max(penalties.session_banned(session.id, now.tick)) {
                return Err(Closure { code: CloseCode::RateLimited, refusal: Some(kept_out("kept_out", left)) });
            }
        }
        let identity = match &self.phase {
            Phase::Open(session) => Some(&session.identity),
            Phase::Proof { login, .. } => Some(&login.identity),
            Phase::Resuming(resuming) => Some(resuming.identity()),
            Phase::FirstMessage { .. } | Phase::Suspended(_) | Phase::Closed => None,
        };
        if identity.is_some_and(|identity| !identity.is_static && !self.cx.key_is_known(identity)) {
            let refusal = Refusal::new(ControlId::Liveness, ErrorCode::SessionExpired, "token_key_withdrawn");
            return Err(Closure { code: CloseCode::Unauthenticated, refusal: Some(refusal) });
        }
        let revoked = match &self.phase {
            Phase::Open(session) => self.cx.revocations.refuse(&session.identity.claims, Some(session.id)),
            Phase::Proof { .. } if fault::is_on(Fault::RevocationSparesProof) => None,
            Phase::Proof { login, .. } => self.cx.revocations.refuse(&login.identity.claims, None),
            Phase::Resuming(resuming) => self.cx.revocations.refuse(&resuming.identity().claims, None),
            Phase::FirstMessage { .. } | Phase::Suspended(_) | Phase::Closed => None,
        };
        let Some(revoked) = revoked.filter(|_| !fault::is_on(Fault::RevocationForHandshakesAlone)) else {
            return Ok(());
        };
        let refusal = Refusal::new(ControlId::Liveness, ErrorCode::Forbidden, revoked.as_str());
        Err(Closure { code: CloseCode::Forbidden, refusal: Some(refusal) })
    }
}

impl Judged {
    /// Whether host, origin and way of the handshake also pass `policy`; their places become those of `policy`.
    fn move_to(&mut self, policy: &Policy) -> Result<(), Closure> {
        let forbidden = |control, reason| {
            let refusal = Refusal::new(control, ErrorCode::Forbidden, reason);
            Err(Closure { code: CloseCode::Forbidden, refusal: Some(refusal) })
        };
        let (place, port) = self.host;
        let host = self.policy.hosts.get(place).and_then(|host| host.place_in(port, &policy.hosts));
        let Some(host) = host else {
            return forbidden(ControlId::Host, "host_withdrawn");
        };
        let origin = match self.origin {
            None => None,
            Some(place) => {
                let origin = self.policy.origins.get(place);
                let Some(place) = policy.origins.iter().position(|known| Some(known) == origin) else {
                    return forbidden(ControlId::Origin, "origin_withdrawn");
                };
                Some(place)
            }
        };
        if !policy.methods.allow(self.way, policy.allow_query_token) {
            return forbidden(ControlId::Credential, "method_withdrawn");
        }
        (self.host, self.origin) = ((host, port), origin);
        Ok(())
    }
}

/// Whether the token of `identity`, which passed `old`, also passes `new`. Where that cannot be known without the token,
/// which is not kept, the client is asked for it again: 4401 makes it come back with one.
pub(super) fn still_identified(old: &Policy, new: &Policy, identity: &Identity) -> Result<(), Closure> {
    let fixed = |policy: &Policy| policy.static_token.as_ref().map(|fixed| fixed.token.clone());
    let reason = if identity.is_static {
        (fixed(old) != fixed(new)).then_some("static_token_withdrawn")
    } else if new.tokens.audience != old.tokens.audience {
        Some("token_audience_changed")
    } else if new.tokens.issuer.is_some() && old.tokens.issuer != new.tokens.issuer {
        Some("token_issuer_changed")
    } else {
        None
    };
    let Some(reason) = reason else {
        return Ok(());
    };
    let refusal = Refusal::new(ControlId::Liveness, ErrorCode::SessionExpired, reason);
    Err(Closure { code: CloseCode::Unauthenticated, refusal: Some(refusal) })
}
