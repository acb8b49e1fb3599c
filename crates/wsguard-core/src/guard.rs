//! One connection: THE order of the controls of a message.
//!
//! Liveness, rate, scan, CSRF, authorization, rate of the type, schema, content, de-duplication. The first answer other than "allow"
//! wins. Read `Connection::inspect` from top to bottom: that is all that happens to a message.
//!
//! The driving contract: one event in, take the verdict, send `effects.out`, write `effects.records`, hand over
//! [`Connection::message`] of the same text after [`Verdict::Allow`], then sleep until [`Connection::deadline`] or the
//! next event. After [`Verdict::Close`] the close frame stands in `effects.out`, and no further event is accepted.

mod anomaly;
mod clock;
mod digits;
mod entry;
mod own;
mod penalty;
mod reconsider;
mod reply;
mod resume;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use wsguard_protocol::limits::FIRST_MESSAGE_BYTES_MAX;
use wsguard_protocol::{CloseCode, ErrorCode};

pub use penalty::Ladder;
pub use resume::{Overflowed, Resumption, Suspended};
pub use view::Snapshot;

use crate::control::anomaly::Conduct;
use crate::control::authorization::Permissions;
use crate::control::csrf::Csrf;
use crate::control::delivery::{CLOSING, Delivery, Encoded, Opening, ResumeRequest};
use crate::control::envelope::{self, Envelope};
use crate::control::heartbeat::Heartbeat;
use crate::control::penalty::{PAUSE_MAX, Weight, never_limited};
use crate::control::rate::{Ahead, Bucket, Prefixes};
use crate::control::session::{Seat, SessionId};
use crate::control::shadow::ShadowSet;
use crate::control::{content, schema};
use crate::effect::{Effects, Message, Readable, Record, frame_into, write_number};
use crate::fault::{self, Fault};
use crate::frame::{self, FrameError};
use crate::handshake::Judged;
use crate::json::{self, Document, ScanError, Value};
use crate::plan::Reading;
use crate::policy::{Context, Identity, MessageType};
use crate::probe::Probe;
use crate::time::{Millis, Now, Tick};
use crate::verdict::{Closure, ControlId, Reason, Refusal, Verdict};

/// Refused frames that one connection may cause before it is closed with 1008.
///
/// A page with a mistake in it sends a handful; a scanner sends thousands.
const REFUSALS_IN_A_ROW_MAX: u32 = 256;

/// A WebSocket connection behind the guard.
#[derive(Debug)]
pub struct Connection {
    cx: Arc<Context>,
    judged: Judged,
    phase: Phase,
    client: IpAddr,
    prefixes: Prefixes,
    heart: Heartbeat,
    bytes: Bucket,
    /// Of this read, what is charged and not yet judged.
    ahead: Ahead,
    refused_in_a_row: u32,
    closing: bool,
    bidi_told: bool,
    /// Controls in shadow whose first refusal stands in the log.
    shadow_told: ShadowSet,
    held: penalty::Held,
    aftermath: Aftermath,
    /// Rights may have changed since the application was last told.
    rights_changed: bool,
}

/// What becomes of the session when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aftermath {
    /// It is over as well.
    Over,
    /// The end is not one that somebody wanted: a session that was announced to be resumed stays.
    Kept,
}

#[derive(Debug)]
enum Phase {
    /// The first message must be `auth` with a token, before the deadline.
    FirstMessage { until: Tick, resume: Option<Box<ResumeRequest>> },
    /// The first message must be `auth` with the proof of the same origin, before the deadline.
    Proof { until: Tick, login: Box<Login> },
    /// Authenticated; waits for the session that it asked for.
    Resuming(Box<resume::Resuming>),
    /// Authenticated.
    Open(Box<Session>),
    /// Over; the session waits to be taken out.
    Suspended(Box<Session>),
    /// Over.
    Closed,
}

/// What came with a cookie. Boxed: nobody else is to carry its room.
#[derive(Debug)]
struct Login {
    identity: Arc<Identity>,
    fingerprint: [u8; 32],
    resume: Option<Box<ResumeRequest>>,
}

/// What an authenticated connection keeps.
#[derive(Debug)]
struct Session {
    id: SessionId,
    identity: Arc<Identity>,
    /// What the identity may send, by the connection's policy.
    permissions: Permissions,
    last_message: Tick,
    /// INVARIANT: grows by one for each application frame.
    seq: u64,
    csrf: Csrf,
    refreshes: Bucket,
    /// When the token ends, as far as the wall clock told when this was scheduled.
    token_ends_at: Tick,
    /// When the peer is warned of that; [`Tick::NEVER`] once it was.
    expiring_at: Tick,
    /// The next `ack` counts from here on.
    ack_from: Tick,
    /// `None` only while the session waits without a connection.
    seat: Option<Seat>,
    /// Nothing before the first id or the announcement of a resume.
    delivery: Option<Box<Delivery>>,
    conduct: Conduct,
}

/// A message that goes no further.
struct Refused<'a> {
    refusal: Box<Refusal>,
    id: Option<Value<'a>>,
    kind: Option<&'a str>,
    close: Option<CloseCode>,
    /// What it weighs where a quota says so; else its control does.
    weight: Option<Weight>,
    /// One of many alike: the peer is told now and then.
    quiet: bool,
}

impl<'a> Refused<'a> {
    fn new(control: ControlId, code: ErrorCode, reason: impl Into<Reason>, id: Option<Value<'a>>) -> Self {
        Self {
            refusal: Box::new(Refusal::new(control, code, reason)),
            id,
            kind: None,
            close: None,
            weight: None,
            quiet: false,
        }
    }

    #[cold]
    fn unreadable(error: ScanError) -> Self {
        let code = if error.kind().is_unsafe_content() { ErrorCode::UnsafeContent } else { ErrorCode::InvalidJson };
        let place = format!("byte {}", error.offset());
        Self::new(ControlId::Scan, code, Reason::with(error.kind().as_str(), place), None)
    }

    fn closing(mut self, code: CloseCode) -> Self {
        self.close = Some(code);
        self
    }

    fn after(mut self, wait: Millis) -> Self {
        self.refusal.retry_after = Some(wait);
        self
    }

    /// Above a quota of messages: weighs what was in excess, and is told at most every
    /// [`ERROR_EVERY`](crate::control::penalty::ERROR_EVERY).
    fn in_excess(mut self, weight: Weight) -> Self {
        self.weight = Some(weight);
        self.quiet = true;
        self
    }

    fn of(mut self, kind: &'a str) -> Self {
        self.kind = Some(kind);
        self
    }
}

impl From<Closure> for Refused<'_> {
    fn from(closure: Closure) -> Self {
        let refusal = closure
            .refusal
            .unwrap_or_else(|| Refusal::new(ControlId::Liveness, ErrorCode::SessionExpired, "session_over"));
        Self { refusal: Box::new(refusal), id: None, kind: None, close: Some(closure.code), weight: None, quiet: false }
    }
}

/// How a message passed.
enum Passed {
    ToApplication,
    Answered,
    /// Passed over: neither a fault nor a sign that the peer behaves.
    Ignored,
    Authenticated(Arc<Identity>, Option<ResumeRequest>),
    Proved(Option<ResumeRequest>),
    Refreshed(Arc<Identity>),
}

impl Connection {
    /// Judges one text message. After [`Verdict::Allow`] it stands in [`Connection::message`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a driver calls it from one place, which takes apart what it returns")]
    pub fn on_message(&mut self, now: Now, text: &str, effects: &mut Effects, probe: &mut impl Probe) -> Verdict {
        if self.closing {
            return Verdict::Answered;
        }
        let _ = self.heart.seen(now.tick);
        let duplicates = effects.duplicates;
        let mut reading = effects.take_reading();
        let passed = self.inspect(now, text, &mut reading, effects, probe);
        self.tell_shadow(effects);
        if let Ok(Passed::ToApplication) = passed {
            self.refused_in_a_row = 0;
            self.tell_passed(reading.tape.bidi_controls(), text.len(), effects);
            effects.reading = Some(reading);
            let changed = self.watch_passed(now, text, effects);
            probe.lap(ControlId::Anomaly);
            return changed.unwrap_or(Verdict::Allow);
        }
        let verdict = self.answer(now, passed, text.len(), effects);
        effects.reading = Some(reading);
        let changed = self.watch_answered(now, text.len(), duplicates, &verdict, effects);
        probe.lap(ControlId::Anomaly);
        changed.unwrap_or(verdict)
    }

    /// What becomes of a message that does not go to the application.
    #[inline(never)]
    fn answer(
        &mut self,
        now: Now,
        passed: Result<Passed, Refused<'_>>,
        bytes: usize,
        effects: &mut Effects,
    ) -> Verdict {
        match passed {
            Ok(Passed::ToApplication) => Verdict::Allow,
            Ok(Passed::Answered) => {
                self.refused_in_a_row = 0;
                Verdict::Answered
            }
            Ok(Passed::Ignored) => Verdict::Answered,
            Ok(Passed::Authenticated(identity, request)) => self.take_seat(now, identity, request, effects),
            Ok(Passed::Proved(request)) => match &self.phase {
                Phase::Proof { login, .. } => self.take_seat(now, Arc::clone(&login.identity), request, effects),
                _ => self.close(CloseCode::InternalError, None, effects),
            },
            Ok(Passed::Refreshed(identity)) => {
                self.refresh(now, identity, effects);
                Verdict::Answered
            }
            Err(refused) => self.refuse(now, refused, bytes, effects),
        }
    }

    /// Tells the operator what a message that passed held.
    #[inline]
    fn tell_passed(&mut self, bidi_controls: u32, bytes: usize, effects: &mut Effects) {
        let neutralised = effects.accepted.as_ref().map_or(0, |accepted| accepted.neutralised);
        if bidi_controls > 0 || neutralised > 0 {
            self.tell_noted(bidi_controls, neutralised, bytes, effects);
        }
    }

    #[cold]
    fn tell_noted(&mut self, bidi_controls: u32, neutralised: u32, bytes: usize, effects: &mut Effects) {
        if bidi_controls > 0 {
            self.note_bidi(bidi_controls, bytes, effects);
        }
        if neutralised > 0 {
            let mut record = self.about("content_neutralised");
            record.message_type = Some(self.accepted_kind(effects).into());
            record.control = Some(ControlId::Content);
            record.bytes = Some(bytes);
            effects.records.push(record);
        }
    }

    /// All that happens to a message, in order.
    fn inspect<'t>(
        &mut self,
        now: Now,
        text: &'t str,
        reading: &'t mut Reading,
        effects: &mut Effects,
        probe: &mut impl Probe,
    ) -> Result<Passed, Refused<'t>> {
        let Reading { tape, plans } = reading;
        self.live(now, text)?;
        probe.lap(ControlId::Liveness);

        let charged = self.charge(now, text.len(), effects);
        probe.lap(ControlId::Rate);

        let scanned = json::read(text, &self.judged.policy.scan, tape);
        // The bucket was charged before the scan, but the answer carries the message's id where there is one.
        if let Err(over) = charged {
            let document = scanned.is_ok().then(|| Document::new(text, tape));
            self.exceed(now, &over, document, text.len(), effects)?;
        }
        if let Err(error) = scanned {
            return Err(Refused::unreadable(error));
        }
        let document = Document::new(text, tape);
        let known = plans.known(document, &self.judged.policy);
        let envelope = match known.envelope() {
            Some(envelope) => envelope,
            None => envelope::read(document)
                .map_err(|fault| Refused::new(ControlId::Scan, ErrorCode::InvalidMessage, fault.reason, fault.id))?,
        };
        probe.lap(ControlId::Scan);

        if self.discards(now) {
            self.discard(now, envelope, text.len())?;
        }
        let Phase::Open(session) = &mut self.phase else {
            if fault::is_on(Fault::HandledUnauthenticated) {
                return Ok(self.pass_unauthenticated(document, envelope, effects));
            }
            return self.first(now, envelope);
        };
        session.settle();
        // No type of a policy is called like a frame of the guard's own.
        if known.number.is_none() {
            match envelope.kind() {
                "ping" => return own::answer_ping(now, envelope, effects),
                "ack" => return own::accept_ack(now, &self.cx, &self.judged.policy, session, envelope),
                "auth.refresh" => return self.accept_refresh(now, envelope),
                "auth" => {
                    let reason = "authenticated_already";
                    return Err(Refused::new(ControlId::Credential, ErrorCode::InvalidMessage, reason, envelope.id()));
                }
                _ => {}
            }
        }
        self.held.keep_order(envelope.id())?;

        if !envelope.csrf_token.is_some_and(|offered| session.csrf.accepts(now, offered)) {
            let reason = if envelope.csrf_token.is_some() { "csrf_wrong" } else { "csrf_missing" };
            if !self.judged.policy.shadows(ControlId::Csrf) {
                return Err(Refused::new(ControlId::Csrf, ErrorCode::CsrfInvalid, reason, envelope.id()));
            }
            effects.passed_in_shadow(ControlId::Csrf, reason);
        }
        probe.lap(ControlId::Csrf);

        let policy = &self.judged.policy;
        let named = || policy.message(envelope.kind());
        let Some((number, message)) = known.number.map_or_else(named, |number| policy.numbered(number)) else {
            return Err(Refused::new(ControlId::Authorization, ErrorCode::UnknownType, "type_unknown", envelope.id()));
        };
        if !session.permissions.allow(number) {
            return Err(Refused::new(ControlId::Authorization, ErrorCode::Forbidden, "type_forbidden", envelope.id())
                .of(envelope.kind()));
        }
        probe.lap(ControlId::Authorization);

        if let Some(quota) = message.own_quota()
            && let Err(wait) = self.cx.limiter.typed(session.identity.print, number, quota, now.tick)
            && !never_limited(envelope.kind(), text.len())
        {
            let bucket = "messages_of_type";
            if !self.judged.policy.shadows(ControlId::RateType) {
                let refused = Refused::new(ControlId::RateType, ErrorCode::RateLimited, bucket, envelope.id());
                return Err(refused.in_excess(Weight::of_excess(quota, 1)).after(wait).of(envelope.kind()));
            }
            effects.passed_in_shadow(ControlId::RateType, bucket);
        }
        probe.lap(ControlId::RateType);

        if !known.fits(number) {
            match schema::inspect(message, document, envelope.payload()) {
                Ok(()) => plans.learn(&self.judged.policy, number, document, envelope),
                Err(reason) if self.judged.policy.shadows(ControlId::Schema) => {
                    effects.passed_in_shadow(ControlId::Schema, reason);
                }
                Err(reason) => {
                    return Err(Refused::new(ControlId::Schema, ErrorCode::InvalidMessage, reason, envelope.id())
                        .of(envelope.kind()));
                }
            }
        }
        probe.lap(ControlId::Schema);

        let (accepted, scratch) = effects.accept();
        accepted.begin(number, envelope.id());
        if let Some(payload) = envelope.payload_place() {
            let refuse = |reason| {
                Refused::new(ControlId::Content, ErrorCode::UnsafeContent, reason, envelope.id()).of(envelope.kind())
            };
            let default = self.judged.policy.content_default;
            match content::write_checked(default, message, document, payload, (accepted, scratch)) {
                Ok(()) => {}
                Err(reason) if self.judged.policy.shadows(ControlId::Content) => {
                    if let Some(payload) = envelope.payload() {
                        content::write_neutralised(payload, effects.accept()).map_err(refuse)?;
                    }
                    effects.passed_in_shadow(ControlId::Content, reason);
                }
                Err(reason) => return Err(refuse(reason)),
            }
        }
        probe.lap(ControlId::Content);
        session.last_message = now.tick;
        if envelope.id().is_some()
            && let Some(delivery) = &session.delivery
            && let Some(known) = resume::deduplicate(&self.cx, delivery, envelope.id(), effects)?
        {
            probe.lap(ControlId::Delivery);
            return Ok(known);
        }
        probe.lap(ControlId::Delivery);
        Ok(Passed::ToApplication)
    }

    /// The message exceeds a quota and is refused, with its id where there is one; one that is never limited makes its peer
    /// wait instead.
    #[cold]
    fn exceed<'t>(
        &mut self,
        now: Now,
        over: &penalty::Over,
        document: Option<Document<'t>>,
        bytes: usize,
        effects: &mut Effects,
    ) -> Result<(), Refused<'t>> {
        let envelope = document.and_then(|document| envelope::read(document).ok());
        if envelope.is_some_and(|envelope| never_limited(envelope.kind(), bytes)) {
            self.pause(now, over.wait.min(PAUSE_MAX), effects);
            return Ok(());
        }
        let id = envelope.and_then(Envelope::id);
        let refused = Refused::new(ControlId::Rate, ErrorCode::RateLimited, over.bucket, id).after(over.wait);
        Err(refused.in_excess(over.weight))
    }

    /// What [`Fault::HandledUnauthenticated`] does.
    #[cold]
    fn pass_unauthenticated(&self, document: Document<'_>, envelope: Envelope<'_>, effects: &mut Effects) -> Passed {
        let (accepted, scratch) = effects.accept();
        if let Some((number, message)) = self.judged.policy.message(envelope.kind()) {
            accepted.begin(number, envelope.id());
            if let Some(payload) = envelope.payload_place() {
                let default = self.judged.policy.content_default;
                let _ = content::write_checked(default, message, document, payload, (accepted, scratch));
            }
        }
        Passed::ToApplication
    }

    /// Session and token still live; before there is a session, the message is small enough to be its first.
    #[inline]
    fn live<'t>(&mut self, now: Now, text: &str) -> Result<(), Refused<'t>> {
        match &self.phase {
            Phase::Open(session)
                if self.cx.epoch() == self.judged.epoch && session.over(now, &self.judged.policy).is_none() =>
            {
                Ok(())
            }
            _ => self.live_after_change(now, text),
        }
    }

    #[inline(never)]
    fn live_after_change<'t>(&mut self, now: Now, text: &str) -> Result<(), Refused<'t>> {
        if self.cx.epoch() != self.judged.epoch {
            self.look_again(now).map_err(Refused::from)?;
        }
        let expired = |reason| {
            Err(Refused::new(ControlId::Liveness, ErrorCode::SessionExpired, reason, None)
                .closing(CloseCode::Unauthenticated))
        };
        match &self.phase {
            Phase::Open(session) => session.over(now, &self.judged.policy).map_or(Ok(()), expired),
            Phase::Closed | Phase::Suspended(_) => expired("connection_over"),
            Phase::Resuming(_) => expired("session_not_there_yet"),
            Phase::FirstMessage { .. } | Phase::Proof { .. } if text.len() > FIRST_MESSAGE_BYTES_MAX => {
                Err(Refused::new(ControlId::Credential, ErrorCode::Unauthenticated, "first_message_too_large", None)
                    .closing(CloseCode::Unauthenticated))
            }
            Phase::FirstMessage { .. } | Phase::Proof { .. } => Ok(()),
        }
    }

    /// Ends the connection from the server's side: an `error` frame before every 44xx, then the close frame.
    pub fn close(&mut self, code: CloseCode, refusal: Option<Refusal>, effects: &mut Effects) -> Verdict {
        if self.closing {
            return Verdict::Answered;
        }
        let mut record = self.about("connection_closed");
        record.close_code = Some(code.number());
        if let Some(refusal) = &refusal {
            let reference = self.cx.reference();
            reply::write_error(&mut effects.out, None, refusal, reference.as_str());
            record.reference = Some(reference);
            let mut refusal = refusal.clone();
            self.tell_untold(&mut refusal.reason);
            record.refusal = Some(refusal);
        } else {
            record.note = self.untold_at_end();
        }
        effects.records.push(record);
        self.end(code, effects);
        Verdict::Close(Closure { code, refusal })
    }

    fn end(&mut self, code: CloseCode, effects: &mut Effects) {
        frame::write_close(&mut effects.out, code.number(), "");
        self.finish();
    }

    /// The peer broke the frame protocol.
    pub fn on_frame_error(&mut self, now: Now, error: FrameError, effects: &mut Effects) -> Verdict {
        if self.closing {
            return Verdict::Answered;
        }
        let number = error.close_code();
        let code = CloseCode::ALL.into_iter().find(|code| code.number() == number).unwrap_or(CloseCode::ProtocolError);
        let word = match code {
            CloseCode::TooBig => ErrorCode::TooLarge,
            CloseCode::PolicyViolation => ErrorCode::RateLimited,
            _ => ErrorCode::InvalidMessage,
        };
        // Whoever speaks the envelope learns a reference; whoever has not authenticated learns nothing but the code.
        let refusal = Refusal::new(ControlId::Frame, word, error.as_str());
        let _ = self.penalize(now, Weight::of(ControlId::Frame), ControlId::Frame, effects);
        if matches!(self.phase, Phase::Open(_)) {
            return self.close(code, Some(refusal), effects);
        }
        let mut record = self.about("connection_closed");
        record.refusal = Some(refusal.clone());
        record.close_code = Some(number);
        effects.records.push(record);
        self.end(code, effects);
        Verdict::Close(Closure { code, refusal: Some(refusal) })
    }

    /// The peer sent a close frame: it is echoed, and the connection is over. With 1000 or without a code the client is
    /// done, and so is its session.
    pub fn on_peer_close(&mut self, code: Option<u16>, effects: &mut Effects) {
        if self.closing {
            return;
        }
        let mut record = self.about("connection_closed_by_peer");
        record.close_code = code;
        record.note = self.untold_at_end();
        effects.records.push(record);
        frame::write_close(&mut effects.out, code.unwrap_or(CloseCode::Normal.number()), "");
        if code.is_some_and(|code| code != CloseCode::Normal.number()) {
            self.aftermath = Aftermath::Kept;
        }
        self.finish();
    }

    /// The message that [`Verdict::Allow`] let pass, read from the `text` that was judged.
    pub fn message<'a>(&'a self, text: &'a str, effects: &'a Effects) -> Message<'a> {
        let readable = Readable::of(effects.accepted.as_deref(), effects.reading.as_deref());
        readable.map_or(Message::NONE, |readable| readable.message(text, &self.judged.policy))
    }

    /// The type of the message that passed.
    fn accepted_kind(&self, effects: &Effects) -> &str {
        let number = usize::from(effects.accepted_number());
        self.judged.policy.messages().get(number).map_or("", MessageType::name)
    }

    /// The message of this `id` was handled: remembers it and writes its `ack`.
    pub fn acknowledge(&mut self, now: Now, id: &str, out: &mut Vec<u8>) {
        if let Phase::Open(session) = &mut self.phase {
            session.handled(&self.cx, now.tick, id);
        }
        reply::write_ack(out, id);
    }

    /// Writes the `error` of a message that the application refused, and its record. Its `id` is not remembered: the client
    /// may send it again.
    pub fn refuse_handled(&mut self, id: Option<&str>, refusal: &Refusal, effects: &mut Effects) {
        if let (Phase::Open(session), Some(id)) = (&mut self.phase, id) {
            session.refused(&self.cx, id);
        }
        if let Phase::Open(session) = &mut self.phase {
            session.conduct.refused_later();
        }
        let reference = self.cx.reference();
        reply::write_error(&mut effects.out, id, refusal, reference.as_str());
        let mut record = self.about("message_refused");
        record.refusal = Some(refusal.clone());
        record.reference = Some(reference);
        effects.records.push(record);
    }

    /// Writes an application frame: `{"seq":N` and then its tail, which is the same for every receiver. A client that
    /// announced to come back is kept it.
    pub fn write_application(&mut self, now: Now, frame: &Encoded, out: &mut Vec<u8>) {
        if let Phase::Open(session) = &mut self.phase {
            let seq = session.number(&self.judged.policy, now.tick, frame);
            session.conduct.sent(frame.tail().len());
            reply::write_application(out, seq, frame);
        }
    }

    /// Writes an application frame of type `kind` for this peer alone; `payload` is JSON text. Nothing is allocated, except to
    /// keep the frame for a client that announced to come back.
    #[inline]
    pub fn write_own(&mut self, now: Now, kind: &str, payload: &str, out: &mut Vec<u8>) {
        if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return self.write_parts(now, None, &Opening::new(kind, payload), [], out);
        }
        if self.is_replayed() {
            return self.write_application(now, &Encoded::new(kind, payload), out);
        }
        self.write_alone(br#","type":""#, [kind.as_bytes(), br#"","payload":"#, payload.as_bytes()], out);
    }

    /// As [`Connection::write_own`], of a message that begins with `opening` and whose payload goes on with `parts`. Who loses
    /// the `room` is not sent it again after a resume.
    #[inline]
    pub fn write_parts<const N: usize>(
        &mut self,
        now: Now,
        room: Option<&str>,
        opening: &Opening,
        parts: [&[u8]; N],
        out: &mut Vec<u8>,
    ) {
        if self.is_replayed() {
            // A copy of them, so that they themselves need not lie in memory.
            return self.write_application(now, &Encoded::of_parts(room, opening, &parts.map(|part| part)), out);
        }
        self.write_alone(opening.as_bytes(), parts, out);
    }

    /// Whether what is written is kept, for a client that announced to come back.
    #[inline]
    fn is_replayed(&self) -> bool {
        matches!(&self.phase, Phase::Open(session) if session.replay().is_some())
    }

    #[inline]
    fn write_alone<const N: usize>(&mut self, opening: &[u8], parts: [&[u8]; N], out: &mut Vec<u8>) {
        if let Phase::Open(session) = &mut self.phase {
            session.seq = session.seq.saturating_add(1);
            let tail_bytes = reply::write_numbered(out, session.seq, opening, parts, CLOSING);
            session.conduct.sent(tail_bytes);
        }
    }

    /// Writes `draining`.
    pub fn write_draining(&self, reconnect_after: Millis, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Open(_)) {
            frame_into(out, 70, |out| {
                out.extend_from_slice(br#"{"type":"draining","payload":{"reconnectAfterMs":"#);
                write_number(out, reconnect_after.0);
                out.extend_from_slice(b"}}");
            });
        }
    }

    /// Whether the connection is over: what stands in `out` is the last.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Who the connection speaks for, once it is authenticated.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match &self.phase {
            Phase::Open(session) => Some(&session.identity),
            _ => None,
        }
    }

    /// The session, once there is one.
    pub fn session(&self) -> Option<SessionId> {
        match &self.phase {
            Phase::Open(session) => Some(session.id),
            _ => None,
        }
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// What all connections share.
    pub fn context(&self) -> &Arc<Context> {
        &self.cx
    }

    fn about(&self, action: &'static str) -> Record {
        let mut record = Record::new(action);
        record.client = Some(self.client);
        if let Phase::Open(session) = &self.phase {
            record.session = Some(session.id.to_string());
            record.subject = Some(session.identity.claims.subject.clone());
        }
        record
    }

    fn record(&self, action: &'static str, effects: &mut Effects) {
        effects.records.push(self.about(action));
    }
}

// Every open connection pays for these: classes of the allocator end at 256, 320, 384 and 448 bytes.
const _: () = assert!(size_of::<Connection>() <= 256 && size_of::<Session>() <= 384);
