//! Client frames that the guard answers itself: no application sees them.

use wsguard_protocol::ErrorCode;
use wsguard_protocol::limits::{CLIENT_ACK_INTERVAL_MS, ID_CHARS_MAX};

use super::{Connection, Passed, Refused, Session, reply};
use crate::control::envelope::Envelope;
use crate::effect::Effects;
use crate::json::{Kind, Value};
use crate::policy::{Context, Policy};
use crate::time::{Millis, Now};
use crate::verdict::ControlId;

/// `t` comes back as it was sent: any number, since pages measure with `performance.now()` as well as with `Date.now()`, or
/// a string of at most [`ID_CHARS_MAX`] characters, since others number their pings with ids.
pub(super) fn answer_ping<'t>(now: Now, envelope: Envelope<'t>, effects: &mut Effects) -> Result<Passed, Refused<'t>> {
    let wrong = || Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, "ping_payload_invalid", envelope.id());
    let mut t = None;
    if let Some(payload) = envelope.payload() {
        if !payload.is_object() {
            return Err(wrong());
        }
        for member in payload.members() {
            if !member.key.str_eq("t") || !may_come_back(member.value) {
                return Err(wrong());
            }
            t = Some(member.value);
        }
    }
    reply::write_pong(&mut effects.out, envelope.id(), t, now.unix);
    Ok(Passed::Answered)
}

fn may_come_back(t: Value<'_>) -> bool {
    match t.kind() {
        Kind::Number => true,
        Kind::String => t.chars().nth(ID_CHARS_MAX).is_none(),
        _ => false,
    }
}

/// The client has everything up to `seq`: what was kept for it up to there is let go.
///
/// One that comes within [`CLIENT_ACK_INTERVAL_MS`] of the last is passed over in silence: an `ack` is never refused for its rate,
/// and the next one says all that this one said.
pub(super) fn accept_ack<'t>(
    now: Now,
    cx: &Context,
    policy: &Policy,
    session: &mut Session,
    envelope: Envelope<'t>,
) -> Result<Passed, Refused<'t>> {
    if now.tick < session.ack_from {
        return Ok(Passed::Ignored);
    }
    let seq = envelope.payload().filter(|payload| payload.is_object()).and_then(|payload| {
        let mut members = payload.members();
        let first = members.next().filter(|member| member.key.str_eq("seq"))?;
        members.next().is_none().then(|| first.value.as_u64_exact())?
    });
    let Some(seq) = seq else {
        return Err(Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, "ack_payload_invalid", envelope.id()));
    };
    session.ack_from = now.tick.after(Millis(CLIENT_ACK_INTERVAL_MS));
    session.acknowledged(cx, policy, seq);
    Ok(Passed::Answered)
}

impl Connection {
    /// Counts characters that turn the direction of text (CWE-1007, "Trojan Source"). They pass, since languages need
    /// them; the operator is told once a connection.
    #[cold]
    pub(super) fn note_bidi(&mut self, count: u32, bytes: usize, effects: &mut Effects) {
        effects.bidi_controls = effects.bidi_controls.saturating_add(count);
        if !std::mem::replace(&mut self.bidi_told, true) {
            let mut record = self.about("bidi_controls_passed");
            record.control = Some(ControlId::Scan);
            record.message_type = Some(self.accepted_kind(effects).into());
            record.bytes = Some(bytes);
            effects.records.push(record);
        }
    }
}
