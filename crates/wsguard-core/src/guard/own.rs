//! Client frames that the guard answers itself: no application sees them.

use wsguard_protocol::ErrorCode;

use super::{Passed, Refused, Session, reply};
use crate::control::envelope::Envelope;
use crate::effect::Effects;
use crate::policy::{Context, Policy};
use crate::time::Now;
use crate::verdict::ControlId;

pub(super) fn answer_ping<'t>(now: Now, envelope: &Envelope<'t>, effects: &mut Effects) -> Result<Passed, Refused<'t>> {
    let wrong = || Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, "ping_payload_invalid", envelope.id);
    let mut t = None;
    if let Some(payload) = envelope.payload {
        if !payload.is_object() {
            return Err(wrong());
        }
        for member in payload.members() {
            match member.value.as_u64_exact() {
                Some(number) if member.key.str_eq("t") => t = Some(number),
                _ => return Err(wrong()),
            }
        }
    }
    reply::write_pong(&mut effects.out, envelope.id, t, now.unix);
    Ok(Passed::Answered)
}

/// The client has everything up to `seq`: what was kept for it up to there is let go.
pub(super) fn accept_ack<'t>(
    cx: &Context,
    policy: &Policy,
    session: &mut Session,
    envelope: &Envelope<'t>,
) -> Result<Passed, Refused<'t>> {
    let seq = envelope.payload.filter(|payload| payload.is_object()).and_then(|payload| {
        let mut members = payload.members();
        let first = members.next().filter(|member| member.key.str_eq("seq"))?;
        members.next().is_none().then(|| first.value.as_u64_exact())?
    });
    let Some(seq) = seq else {
        return Err(Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, "ack_payload_invalid", envelope.id));
    };
    session.acknowledged(cx, policy, seq);
    Ok(Passed::Answered)
}
