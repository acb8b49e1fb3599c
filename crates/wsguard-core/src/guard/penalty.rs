//! The quotas of a message, what a refusal does to a connection, and the ladder above it.

use wsguard_protocol::{CloseCode, ErrorCode};

use super::{Connection, Phase, REFUSALS_IN_A_ROW_MAX, Refused, reply};
use crate::control::envelope::Envelope;
use crate::control::order::Order;
use crate::control::penalty::{Answer, ERROR_EVERY, Payer, Rung, Standing, Step, Weight, never_limited};
use crate::control::rate::{Ahead, Charged, Load, Mode};
use crate::effect::Effects;
use crate::fault::{self, Fault};
use crate::json::{Value, canonical_text};
use crate::time::{Millis, Now, Tick};
use crate::verdict::{Closure, ControlId, Reason, Refusal, Verdict};

/// What a connection keeps of the ladder itself.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The session's own standing: judges alone where the shared table has no place for the subject.
    standing: Standing,
    /// Messages are discarded before this tick. Kept here so that a message asks no shared table.
    drop_until: Tick,
    /// No other `error` about a limit before this tick.
    quiet_until: Tick,
    /// Refusals since the last one.
    untold: u32,
    /// For a peer that asked for it.
    order: Option<Order>,
}

impl Held {
    pub(super) fn new(ordered: bool) -> Self {
        Self { order: ordered.then(Order::default), ..Self::default() }
    }

    /// The session brings its own, all but the order, which each connection is asked for anew.
    pub(super) fn go_on_with(&mut self, mut before: Self) {
        before.order = self.order.take();
        *self = before;
    }

    /// A message goes no further that would overtake one that was refused for a quota and is to be sent again.
    #[inline]
    pub(super) fn keep_order<'t>(&mut self, id: Option<Value<'t>>) -> Result<(), Refused<'t>> {
        match (&mut self.order, id) {
            (Some(order), Some(id)) => order_of(order, id),
            _ => Ok(()),
        }
    }
}

#[inline(never)]
fn order_of<'t>(order: &mut Order, id: Value<'t>) -> Result<(), Refused<'t>> {
    if id.as_u64_exact().is_none_or(|number| order.admits(number)) {
        return Ok(());
    }
    let refused = Refused::new(ControlId::Rate, ErrorCode::RateLimited, "behind_one_refused", Some(id));
    Err(refused.after(ERROR_EVERY).in_excess(Weight::ZERO))
}

/// Where a session stands on the ladder, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The rung: `calm`, `warn`, `slow`, `drop`.
    pub rung: &'static str,
    /// Points, rounded down.
    pub weight: u64,
    /// Points at which `slow`, `drop` and `close` begin.
    pub begins_at: [u32; 3],
    /// Offences that are remembered.
    pub offences: u8,
}

/// Above a quota.
pub(super) struct Over {
    pub(super) bucket: &'static str,
    pub(super) wait: Millis,
    pub(super) weight: Weight,
}

impl Connection {
    /// Several whole messages lie in one read: their quotas are charged together, where these have room for all. Each is
    /// still judged, and refused, by itself.
    pub fn on_messages_ahead(&mut self, now: Now, messages: u8, bytes: u32) {
        let Phase::Open(session) = &self.phase else {
            return;
        };
        let (policy, subject) = (&self.judged.policy, Some(session.identity.print));
        let load = Load { messages: messages.into(), bytes };
        // Whoever has no room for all of them is charged for none.
        if policy.rate.bytes.charge(&mut self.bytes, now.tick, load.bytes).is_err()
            && !fault::is_on(Fault::BytesUncharged)
        {
            return;
        }
        let mut charged = Charged::default();
        let limiter = &self.cx.limiter;
        let _ = limiter.messages(policy.quotas(), subject, self.prefixes, now.tick, load, &mut charged);
        self.ahead = Ahead::new(messages, bytes, charged);
    }

    /// Charges the message to session, server, subject and prefixes.
    #[inline]
    pub(super) fn charge(&mut self, now: Now, size: usize, effects: &mut Effects) -> Result<(), Over> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        match self.ahead.take(size) {
            Some(Charged::All) => Ok(()),
            charged => self.charge_alone(now, size, charged, effects),
        }
    }

    /// Charges the message to what it is not yet `charged` to; that of the session comes before all others.
    #[inline(never)]
    fn charge_alone(
        &mut self,
        now: Now,
        size: u32,
        charged: Option<Charged>,
        effects: &mut Effects,
    ) -> Result<(), Over> {
        let policy = &self.judged.policy;
        let subject = match &self.phase {
            Phase::Open(session) => Some(session.identity.print),
            _ => None,
        };
        let of_session = match charged {
            Some(_) => Ok(()),
            None if fault::is_on(Fault::BytesUncharged) => Ok(()),
            None => policy.rate.bytes.charge(&mut self.bytes, now.tick, size),
        };
        let load = Load { messages: 1, bytes: size };
        let charged = of_session.map_err(|wait| ("bytes_of_session", wait)).and_then(|()| {
            let mut charged = charged.unwrap_or_default();
            self.cx.limiter.messages(policy.quotas(), subject, self.prefixes, now.tick, load, &mut charged)
        });
        let Err((bucket, wait)) = charged else {
            return Ok(());
        };
        if self.judged.policy.shadows(ControlId::Rate) {
            effects.passed_in_shadow(ControlId::Rate, bucket);
            return Ok(());
        }
        // Where the neighbours or all together were too many, this peer is refused but has done nothing.
        let weight = match bucket {
            "bytes_of_session" => Weight::of_excess(&policy.rate.bytes, size),
            "messages_of_subject" => Weight::of_excess(&policy.rate.messages, 1),
            _ => Weight::ZERO,
        };
        Err(Over { bucket, wait, weight })
    }

    /// Counts what controls in shadow let pass of this message, and tells the first of each control.
    #[inline]
    pub(super) fn tell_shadow(&mut self, effects: &mut Effects) {
        if !effects.in_shadow.is_empty() {
            self.tell_all_in_shadow(effects);
        }
    }

    fn tell_all_in_shadow(&mut self, effects: &mut Effects) {
        while let Some((control, reason)) = effects.in_shadow.pop() {
            effects.shadowed = effects.shadowed.saturating_add(1);
            self.cx.shadow.count(control, reason.word);
            // Told once a connection: a log of every message is what a flood wants.
            if !self.shadow_told.contains(control) && self.shadow_told.insert(control) {
                let action = if control == ControlId::Rate { "rate_exceeded_in_shadow" } else { "refused_in_shadow" };
                let mut record = self.about(action);
                record.control = Some(control);
                record.note = Some(reason);
                effects.records.push(record);
            }
        }
    }

    /// Whether messages are discarded, on the rung `drop`.
    #[inline]
    pub(super) fn discards(&self, now: Now) -> bool {
        now.tick < self.held.drop_until
    }

    /// A message that is discarded goes no further, whatever it says, but those that are never limited.
    #[cold]
    pub(super) fn discard<'t>(&self, now: Now, envelope: Envelope<'t>, bytes: usize) -> Result<(), Refused<'t>> {
        if never_limited(envelope.kind(), bytes) {
            return Ok(());
        }
        let wait = self.held.drop_until.since(now.tick);
        let refused = Refused::new(ControlId::Penalty, ErrorCode::RateLimited, "discarded", envelope.id());
        Err(refused.after(wait).in_excess(Weight::ZERO))
    }

    /// Answers a message that goes no further, and climbs.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        mut refused: Refused<'_>,
        bytes: usize,
        effects: &mut Effects,
    ) -> Verdict {
        self.remember_refused(now, &refused);
        let weight = refused.weight.unwrap_or(Weight::of(refused.refusal.control));
        let step = self.penalize(now, weight, refused.refusal.control, effects);
        refused.close = self.ends_with(&mut refused, step);
        if refused.quiet && self.judged.policy.penalty.mode == Mode::Enforce {
            if refused.close.is_none() && !self.may_be_told(now) {
                self.held.untold = self.held.untold.saturating_add(1);
                effects.untold.push(refused.refusal.control);
                return Verdict::Refuse(*refused.refusal);
            }
        } else {
            self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
            let in_a_row = self.refused_in_a_row >= REFUSALS_IN_A_ROW_MAX;
            refused.close = refused.close.or(in_a_row.then_some(CloseCode::PolicyViolation));
        }
        self.tell_refused(refused, bytes, effects)
    }

    /// What others are asked about later: wrong credentials of an address, and where a peer's order was broken.
    fn remember_refused(&mut self, now: Now, refused: &Refused<'_>) {
        let refusal = &refused.refusal;
        if refusal.control == ControlId::Credential && !matches!(self.phase, Phase::Open(_)) {
            self.cx.anomalies.credential_refused(now.tick, self.prefixes);
        }
        if let (Some(order), ErrorCode::RateLimited, Some(id)) =
            (&mut self.held.order, refusal.code, refused.id.and_then(Value::as_u64_exact))
        {
            order.refuse(id);
        }
    }

    /// The code with which the connection ends, by what was refused or by the `step` of the ladder that it led to.
    fn ends_with(&self, refused: &mut Refused<'_>, step: Step) -> Option<CloseCode> {
        let refusal = &mut refused.refusal;
        // One try: a first message that cannot be read is no better than a wrong one.
        let unread = refusal.control == ControlId::Scan && !matches!(self.phase, Phase::Open(_));
        let close = refused.close.or(unread.then_some(CloseCode::Unauthenticated));
        if let (None, Some(length)) = (close, step.kept_out()) {
            let reason = Reason::with("penalties_used_up", format!("last: {}", refusal.reason.word));
            **refusal = Refusal::new(ControlId::Penalty, ErrorCode::RateLimited, reason).retry_after(length);
            return Some(CloseCode::RateLimited);
        }
        if let (Step::Slow(pause) | Step::Drop(_, pause), Some(wait)) = (step, refusal.retry_after) {
            // Earlier than the socket is read again no message can pass.
            refusal.retry_after = Some(wait.max(pause));
        }
        close
    }

    /// Whether it is time for another `error` about a limit.
    fn may_be_told(&mut self, now: Now) -> bool {
        let is_time = now.tick >= self.held.quiet_until;
        if is_time {
            self.held.quiet_until = now.tick.after(ERROR_EVERY);
        }
        is_time
    }

    /// The peer learns a code and a reference, the operator everything else.
    fn tell_refused(&mut self, refused: Refused<'_>, bytes: usize, effects: &mut Effects) -> Verdict {
        let Refused { mut refusal, id, kind, close, .. } = refused;
        self.tell_untold(&mut refusal.reason);
        let reference = self.cx.reference();
        let id = id.map(canonical_text);
        reply::write_error(&mut effects.out, id.as_deref(), &refusal, reference.as_str());
        let mut record = self.about("message_refused");
        record.refusal = Some((*refusal).clone());
        record.reference = Some(reference);
        record.message_type = kind.map(Into::into);
        record.message_id = id.map(Into::into);
        record.bytes = Some(bytes);
        record.close_code = close.map(CloseCode::number);
        effects.records.push(record);
        match close {
            None => Verdict::Refuse(*refusal),
            Some(code) => {
                self.end(code, effects);
                Verdict::Close(Closure { code, refusal: Some(*refusal) })
            }
        }
    }

    /// Adds to what the operator is told how many refusals of limits were not told since the last one.
    pub(super) fn tell_untold(&mut self, reason: &mut Reason) {
        let untold = std::mem::take(&mut self.held.untold);
        if untold > 0 {
            let more = format!("{untold} refusals of limits before it were not told");
            let told = reason.detail.take();
            reason.detail = Some(told.map_or_else(|| more.clone(), |told| format!("{told}; {more}")).into());
        }
    }

    /// The same at the end of a connection that needs no reason.
    pub(super) fn untold_at_end(&mut self) -> Option<Reason> {
        let mut reason = Reason::from("refusals_untold");
        self.tell_untold(&mut reason);
        reason.detail.is_some().then_some(reason)
    }

    /// Charges `weight` to the identity, or to the address while there is none, does what the ladder asks for within the
    /// connection (not reading, discarding), and returns the step: closing is the caller's.
    ///
    /// In shadow mode the step is counted and told, and nothing else comes of it.
    pub fn penalize(&mut self, now: Now, weight: Weight, control: ControlId, effects: &mut Effects) -> Step {
        if weight == Weight::ZERO {
            return Step::None;
        }
        let policy = &self.judged.policy.penalty;
        let (payer, own) = match &self.phase {
            Phase::Open(session) => (
                Payer::Subject(session.identity.print, &session.identity.claims.subject),
                Some(&mut self.held.standing),
            ),
            _ => (Payer::Prefix(self.prefixes.fine, self.client), None),
        };
        let Answer { step, climbed, weight } = self.cx.penalties.offend(policy, now, payer, own, weight, control);
        let shadow = policy.mode == Mode::Shadow;
        // A warning is the refusal's own record; what goes beyond it has a line of its own.
        if climbed
            && step != Step::Warn
            && let Some(name) = step.name()
        {
            let mut record = self.about(if shadow { "penalty_in_shadow" } else { "penalty_step" });
            record.control = Some(ControlId::Penalty);
            record.note = Some(Reason::with(name, format!("{} points, last for {}", weight.whole(), control.as_str())));
            effects.records.push(record);
        }
        if shadow {
            return Step::None;
        }
        match step {
            Step::Slow(pause) => self.pause(now, pause, effects),
            Step::Drop(until, pause) => {
                self.held.drop_until = until;
                self.pause(now, pause, effects);
            }
            Step::None | Step::Warn | Step::Close(_) | Step::Ban(_) => {}
        }
        step
    }

    /// Charges `weight` for something that refused no message by itself, such as a suspicious manner, and closes with 4429
    /// where the ladder ends there. The caller sends what stands in `effects.out`.
    pub fn charge_conduct(&mut self, now: Now, weight: Weight, control: ControlId, effects: &mut Effects) -> Verdict {
        match self.penalize(now, weight, control, effects).kept_out() {
            None => Verdict::Answered,
            Some(length) => {
                let reason = Reason::with("penalties_used_up", format!("last: {}", control.as_str()));
                let refusal = Refusal::new(ControlId::Penalty, ErrorCode::RateLimited, reason).retry_after(length);
                self.close(CloseCode::RateLimited, Some(refusal), effects)
            }
        }
    }

    /// Asks not to read for `length`. The peer cannot be heard meanwhile, so its silence must not count.
    pub(super) fn pause(&mut self, now: Now, length: Millis, effects: &mut Effects) {
        effects.ask_pause(length);
        let _ = self.heart.seen(now.tick.after(length));
    }

    /// A session begins where its subject stands: reconnecting resets nothing.
    pub(super) fn take_standing_up(&mut self, now: Now) {
        let Phase::Open(session) = &self.phase else {
            return;
        };
        let policy = &self.judged.policy.penalty;
        let standing = self.cx.penalties.standing(policy, session.identity.print, now.tick);
        if standing.rung() == Rung::Drop && policy.mode == Mode::Enforce {
            self.held.drop_until = now.tick.after(policy.drop_left(standing.weight()));
        }
    }

    /// Where the session stands on the ladder.
    pub(super) fn ladder(&self, now: Now) -> Ladder {
        let policy = &self.judged.policy.penalty;
        let mut own = self.held.standing;
        own.settle(policy, 1, now.tick);
        let shared = match &self.phase {
            Phase::Open(session) => self.cx.penalties.standing(policy, session.identity.print, now.tick),
            _ => Standing::default(),
        };
        let most = if shared.weight() >= own.weight() { shared } else { own };
        Ladder {
            rung: most.rung().as_str(),
            weight: most.weight().whole(),
            begins_at: [policy.slow_at, policy.drop_at, policy.close_at],
            offences: shared.offences().max(own.offences()),
        }
    }
}
