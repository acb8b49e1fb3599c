//! Client frames that the guard answers itself: no application sees them.

use wsguard_protocol::ErrorCode;

use super::{Passed, Refused, reply};
use crate::control::envelope::Envelope;
use crate::effect::Effects;
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

/// The client has everything up to `seq`: nothing is kept for it, so there is nothing to trim.
pub(super) fn accept_ack<'t>(envelope: &Envelope<'t>) -> Result<Passed, Refused<'t>> {
    let good = envelope.payload.filter(|payload| payload.is_object()).is_some_and(|payload| {
        let mut members = payload.members();
        let seq =
            members.next().is_some_and(|member| member.key.str_eq("seq") && member.value.as_u64_exact().is_some());
        seq && members.next().is_none()
    });
    if good {
        Ok(Passed::Answered)
    } else {
        Err(Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, "ack_payload_invalid", envelope.id))
    }
}
