//! What must happen outside after an event: bytes to send, a message to hand over, records for the operator.
//!
//! [`Effects`] belongs to a thread, not to a connection: its buffers grow once and serve every connection of the
//! thread, and an idle connection owns none of them.

use std::net::IpAddr;

use crate::control::session::SessionId;
use crate::frame::{self, Opcode};
use crate::json::{Canonical, NodeId, Tape, Value, canonical_text};
use crate::plan::Reading;
use crate::policy::{MessageType, Policy, Reference};
use crate::schema::ContentClass;
use crate::time::Millis;
use crate::verdict::{ControlId, Reason, Refusal};

/// Buffers for one event at a time.
#[derive(Debug, Default)]
pub struct Effects {
    /// WebSocket frames for the peer, encoded.
    pub out: Vec<u8>,
    /// What the operator learns.
    pub records: Vec<Record>,
    /// Messages that a control in shadow would have refused.
    pub shadowed: u32,
    /// Bidirectional control characters in the messages that passed.
    pub bidi_controls: u32,
    /// Messages with an `id` that was known: answered, not handled.
    pub duplicates: u32,
    /// Refusals that neither the peer nor the log is told one by one: whoever drives takes them out and counts them.
    pub untold: Vec<ControlId>,
    /// How long not to read this socket: the peer goes too fast. Whoever drives takes it out; writes, timers and
    /// deadlines go on meanwhile.
    pub pause: Option<Millis>,
    /// A session of the same subject that has lost its seat to this connection: to be woken, so that it closes.
    pub displaced: Option<SessionId>,
    pub(crate) in_shadow: Vec<(ControlId, Reason)>,
    /// What messages are read with; the accepted one as well, until the next.
    pub(crate) reading: Option<Box<Reading>>,
    pub(crate) scratch: Scratch,
    pub(crate) accepted: Option<Box<Accepted>>,
}

/// Room for the work on one message.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) classes: Vec<(NodeId, ContentClass)>,
    pub(crate) text: String,
    pub(crate) cleaned: String,
}

/// The accepted message in its canonical form.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) number: u16,
    /// As canonical JSON text; empty for none.
    pub(crate) id: String,
    pub(crate) payload: Canonical,
    pub(crate) neutralised: u32,
}

impl Effects {
    /// Notes that `control` let pass, being in shadow, what it would have refused for `reason`.
    pub(crate) fn passed_in_shadow(&mut self, control: ControlId, reason: impl Into<Reason>) {
        self.in_shadow.push((control, reason.into()));
    }

    /// Whether nothing is to be told or counted: no record, nothing untold, nobody displaced.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let counted = self.shadowed | self.bidi_controls | self.duplicates;
        counted == 0 && self.untold.is_empty() && self.displaced.is_none() && self.records.is_empty()
    }

    /// Asks not to read for `length`, or longer where that was asked for already.
    pub(crate) fn ask_pause(&mut self, length: Millis) {
        self.pause = Some(self.pause.map_or(length, |asked| asked.max(length)));
    }

    /// The number of the accepted message's type, without a look at its text.
    #[inline]
    pub fn accepted_number(&self) -> u16 {
        self.accepted.as_ref().map_or(0, |accepted| accepted.number)
    }

    /// The accepted message, to be read while frames are written to what stands beside it.
    #[inline]
    pub fn accepted(&mut self) -> (Option<Readable<'_>>, &mut Vec<u8>) {
        let Self { accepted, reading, out, .. } = self;
        (Readable::of(accepted.as_deref(), reading.as_deref()), out)
    }

    /// What the next message is read with, to be put back behind it. The message before cannot be read any more.
    #[inline]
    pub(crate) fn take_reading(&mut self) -> Box<Reading> {
        if let Some(accepted) = &mut self.accepted {
            accepted.payload.clear();
        }
        self.reading.take().unwrap_or_default()
    }

    /// Where the message that passes is written to, and room for the work on it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a look whether it is there")]
    pub(crate) fn accept(&mut self) -> (&mut Accepted, &mut Scratch) {
        (self.accepted.get_or_insert_default(), &mut self.scratch)
    }
}

/// A message that every control let pass.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The number of its type in [`crate::policy::Policy::messages`].
    pub number: u16,
    /// Its type.
    pub kind: &'a str,
    /// Its `id`, as JSON text.
    pub id: Option<&'a str>,
    /// Its payload, canonical JSON; `null` where it had none.
    pub payload: &'a str,
    /// The payload again, already parsed: `message.value.get("room")` costs a walk over the members, and what it finds is
    /// what the schema has checked.
    pub value: Value<'a>,
    /// How many strings were neutralised.
    pub neutralised: u32,
}

impl Message<'_> {
    /// What stands in the place of a message where none was accepted.
    pub(crate) const NONE: Self =
        Self { number: 0, kind: "", id: None, payload: "null", value: Value::NULL, neutralised: 0 };
}

impl Accepted {
    /// Begins anew with `id`; the payload was forgotten with [`Effects::take_reading`].
    #[inline]
    pub(crate) fn begin(&mut self, number: u16, id: Option<Value<'_>>) {
        self.number = number;
        self.neutralised = 0;
        self.id.clear();
        if let Some(id) = id {
            self.name(id);
        }
    }

    fn name(&mut self, id: Value<'_>) {
        if id.is_canonical() {
            self.id.push_str(id.raw());
        } else {
            self.id = canonical_text(id);
        }
    }

    /// The number of its type, and its canonical payload in the `text` that was judged.
    #[inline]
    pub(crate) fn number_and_payload<'a>(&'a self, text: &'a str) -> (u16, &'a [u8]) {
        (self.number, self.payload.bytes(text))
    }

    /// The message's `id` as canonical JSON text.
    pub(crate) fn id(&self) -> Option<&str> {
        Some(&*self.id).filter(|id| !id.is_empty())
    }
}

/// The accepted message, with what it is read with.
#[derive(Clone, Copy, Debug)]
pub struct Readable<'a> {
    accepted: &'a Accepted,
    tape: Option<&'a Tape>,
}

impl<'a> Readable<'a> {
    #[inline]
    pub(crate) fn of(accepted: Option<&'a Accepted>, reading: Option<&'a Reading>) -> Option<Self> {
        accepted.map(|accepted| Self { accepted, tape: reading.map(|reading| &reading.tape) })
    }

    /// The message, which may lie in the `text` that was judged; its type is named by `policy`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the message is taken apart where it is put together")]
    pub fn message(self, text: &'a str, policy: &'a Policy) -> Message<'a> {
        let Self { accepted, tape } = self;
        let payload = accepted.payload.text(text);
        Message {
            number: accepted.number,
            kind: policy.messages().get(usize::from(accepted.number)).map_or("", MessageType::name),
            id: accepted.id(),
            payload: if payload.is_empty() { "null" } else { payload },
            value: accepted.payload.value(payload, tape),
            neutralised: accepted.neutralised,
        }
    }
}

/// One event of security, for the operator's log.
#[derive(Clone, Debug)]
pub struct Record {
    /// What happened, such as `message_refused`.
    pub action: &'static str,
    /// The control that acted without refusing, such as one that neutralised markup.
    pub control: Option<ControlId>,
    /// Who answered and why; `None` where nothing was refused.
    pub refusal: Option<Refusal>,
    /// What is to be said where nothing was refused.
    pub note: Option<Reason>,
    /// Joins the record with the peer's error.
    pub reference: Option<Reference>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The session, as hexadecimal digits.
    pub session: Option<String>,
    /// Who.
    pub subject: Option<Box<str>>,
    /// The message type, where the policy knows it.
    pub message_type: Option<Box<str>>,
    /// The message's `id` as JSON text: the peer's own words, so not for a log.
    pub message_id: Option<Box<str>>,
    /// Size of the message in bytes.
    pub bytes: Option<usize>,
    /// The close code, where the connection ended.
    pub close_code: Option<u16>,
    /// What a refused handshake asked for; boxed, since no message has it.
    pub request: Option<Box<RefusedRequest>>,
}

/// An HTTP request that was refused, as far as a log may tell. All of it is the peer's own words: to be escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The status of the answer.
    pub status: u16,
    /// The path, without the query, which may hold a credential; `None` where the request could not be read.
    pub path: Option<Box<str>>,
    /// `Origin`, where it was sent.
    pub origin: Option<Box<str>>,
}

impl Record {
    /// A record of `action` with nothing else known.
    pub fn new(action: &'static str) -> Self {
        Self {
            action,
            control: None,
            refusal: None,
            note: None,
            reference: None,
            client: None,
            session: None,
            subject: None,
            message_type: None,
            message_id: None,
            bytes: None,
            close_code: None,
            request: None,
        }
    }
}

/// Writes one text frame whose JSON `write` appends.
#[inline]
pub(crate) fn frame_into(out: &mut Vec<u8>, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let mark = frame::begin_frame(out, Opcode::Text, expected);
    write(out);
    frame::end_frame(out, mark);
}

/// Appends `number` in decimal.
#[inline]
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
