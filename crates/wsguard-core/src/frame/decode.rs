//! The decoder of client frames: whole messages are lent from the read buffer, unfinished ones carried over.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use super::header::{HEADER_BYTES_MAX, Header, OpenMessage};
use super::utf8::{TextBuffer, room};
use super::{FrameError, FrameLimits, Opcode, is_wire_close_code, rotate_key, unmask};
use crate::time::{Millis, Tick};

/// Reads the frames of one client; one per connection.
///
/// 24 bytes. Between messages it owns no heap memory; while a message, frame or header is unfinished it owns one
/// small record and a buffer that grows with the bytes that arrived, at most doubling and never beyond
/// [`FrameLimits::message_bytes_max`] together.
///
/// After an error it answers every call with the same error; after a close frame it ignores every byte
/// (RFC 6455 section 1.4). A fragmented message may be mixed with control frames (section 5.4).
#[derive(Default)]
pub struct Decoder {
    /// INVARIANT: present exactly while something is unfinished.
    carried: Option<Box<Carried>>,
    /// When the control-frame bucket is full again, in microseconds since the start of [`Tick`].
    control_full_at_us: u64,
    state: State,
}

/// What one call to [`Decoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the bytes of the event are consumed and will not come again"]
pub struct Decoded<'a> {
    /// The one event.
    pub event: Event<'a>,
    /// The bytes behind it, to be decoded by the next call; empty with [`Event::Incomplete`].
    pub rest: &'a mut [u8],
}

/// What arrived. Payloads are unmasked; they lie in the read buffer (`Cow::Borrowed`) when the frame arrived whole,
/// else in memory of their own, which is freed with the event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing yet: every byte is consumed and no message is complete.
    Incomplete,
    /// A text message, reassembled, valid UTF-8.
    Text(Cow<'a, str>),
    /// A binary message, reassembled; only with [`FrameLimits::binary`].
    Binary(Cow<'a, [u8]>),
    /// Asks for a pong with these 0 to 125 bytes.
    Ping(Cow<'a, [u8]>),
    /// Answers a ping, or comes unasked; 0 to 125 bytes.
    Pong(Cow<'a, [u8]>),
    /// The peer sends nothing more; `None` when it gave no code. Answered by a close frame with the same code.
    Close(Option<Close<'a>>),
}

/// Code and reason of a close frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// One that [`is_wire_close_code`] allows.
    pub code: u16,
    /// 0 to 123 bytes, written by the peer: hostile until escaped.
    pub reason: Cow<'a, str>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// A close frame came.
    Closed,
    Failed(FrameError),
}

/// Everything that outlives a read, apart from the decoder so that idle connections do not pay for it.
struct Carried {
    /// When the first of the unfinished bytes came.
    since: Tick,
    /// The start of a header, `header_len` bytes of it. INVARIANT: empty while `frame` is present.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    frame: Option<Frame>,
    message: Option<Message>,
    /// Payload so far of a control frame that did not arrive whole.
    control: Vec<u8>,
}

/// A frame whose payload has not all arrived.
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Bytes of payload still to come.
    left: usize,
    /// Turned so that it applies to the next byte.
    key: [u8; 4],
}

/// What of a read is still to be decoded.
struct Unread<'a>(&'a mut [u8]);

/// A message whose last byte has not arrived.
struct Message {
    body: Body,
    declared_bytes: usize,
    fragments: u32,
}

enum Body {
    Text(TextBuffer),
    Binary(Vec<u8>),
}

impl Decoder {
    /// A decoder at the start of a connection, behind the handshake.
    #[must_use]
    pub const fn new() -> Self {
        Self { carried: None, control_full_at_us: 0, state: State::Open }
    }

    /// Decodes `input`, the bytes of one read or what the call before left over, up to the first event.
    ///
    /// `input` is unmasked in place. `now`: monotonic, feeds the control-frame rate and
    /// [`in_progress_since`](Self::in_progress_since); one reading of the clock serves a whole read.
    /// Cost of a whole text frame: no allocation, no copy, about 270 instructions for 214 bytes on x86-64.
    ///
    /// # Errors
    /// The first rule or limit that the peer broke; the connection must end with [`FrameError::close_code`].
    ///
    /// # Specification
    /// RFC 6455 sections 5 to 8
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place, which takes apart what it returns")]
    pub fn decode<'a>(
        &mut self,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        let idle = self.carried.is_none() && self.state == State::Open;
        match Header::parse_whole_text(input, limits) {
            Some(header) if idle => {
                let (payload, rest) = header.split_payload(input);
                unmask(payload, header.key);
                match simdutf8::basic::from_utf8(payload) {
                    Ok(text) => Ok(Decoded { event: Event::Text(Cow::Borrowed(text)), rest }),
                    Err(_) => Err(self.fail(FrameError::InvalidUtf8)),
                }
            }
            _ => self.decode_any(limits, now, input),
        }
    }

    /// How many text messages `input` begins with, each in one whole frame, `most` at most, and their bytes together: a
    /// look at headers. What becomes of them is [`Self::decode`]'s to say.
    #[must_use]
    pub fn ahead(&self, limits: &FrameLimits, input: &[u8], most: u8) -> (u8, u32) {
        let (mut messages, mut bytes) = (0_u8, 0_u32);
        if self.carried.is_some() || self.state != State::Open {
            return (messages, bytes);
        }
        let mut rest = input;
        while messages < most
            && let Some(header) = Header::parse_whole_text(rest, limits)
            && let Ok(len) = u32::try_from(header.len)
        {
            messages = messages.saturating_add(1);
            bytes = bytes.saturating_add(len);
            rest = rest.get(header.size.saturating_add(header.len)..).unwrap_or_default();
        }
        (messages, bytes)
    }

    /// Whether a message, frame or header is unfinished.
    #[must_use]
    pub const fn in_progress(&self) -> bool {
        self.carried.is_some()
    }

    /// When the first byte of what is unfinished came: the owner closes a message that takes longer than its
    /// deadline, however busily the peer sends single bytes, empty fragments or pongs.
    #[must_use]
    pub fn in_progress_since(&self) -> Option<Tick> {
        self.carried.as_ref().map(|carried| carried.since)
    }

    /// Nothing was read for `length`, which what is unfinished is not to be blamed for.
    pub fn excuse(&mut self, length: Millis) {
        if let Some(carried) = &mut self.carried {
            carried.since = carried.since.after(length);
        }
    }

    /// Bytes of heap memory owned now: 0 between messages.
    #[must_use]
    pub fn owned_bytes(&self) -> usize {
        self.carried.as_ref().map_or(0, |carried| {
            let body = carried.message.as_ref().map_or(0, |message| match &message.body {
                Body::Text(text) => text.owned_bytes(),
                Body::Binary(bytes) => bytes.capacity(),
            });
            size_of::<Carried>().saturating_add(carried.control.capacity()).saturating_add(body)
        })
    }

    /// Everything but the whole text frame on an idle connection.
    #[inline(never)]
    fn decode_any<'a>(
        &mut self,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        match self.state {
            State::Failed(error) => return Err(error),
            State::Closed => {
                return Ok(Decoded { event: Event::Incomplete, rest: &mut [] });
            }
            State::Open if input.is_empty() => {
                return Ok(Decoded { event: Event::Incomplete, rest: input });
            }
            State::Open => {}
        }
        if self.carried.is_some() {
            return self.assemble(limits, now, input);
        }
        match Header::parse(input, limits, None) {
            Ok(Some(header)) if header.fin && header.is_whole_in(input) => {
                let (payload, rest) = header.split_payload(input);
                let event = self.whole_event(header, payload, limits, now);
                self.settle(event, rest)
            }
            Ok(_) => self.assemble(limits, now, input),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The event of a frame that is a message by itself, lent from the read buffer.
    fn whole_event<'a>(
        &mut self,
        header: Header,
        payload: &'a mut [u8],
        limits: &FrameLimits,
        now: Tick,
    ) -> Result<Event<'a>, FrameError> {
        self.charge(header.opcode, limits, now)?;
        unmask(payload, header.key);
        match header.opcode {
            Opcode::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Ok(Event::Text(Cow::Borrowed(text))),
                Err(_) => Err(FrameError::InvalidUtf8),
            },
            Opcode::Binary => Ok(Event::Binary(Cow::Borrowed(payload))),
            Opcode::Ping => Ok(Event::Ping(Cow::Borrowed(payload))),
            Opcode::Pong => Ok(Event::Pong(Cow::Borrowed(payload))),
            Opcode::Close => parse_close(Cow::Borrowed(payload)).map(Event::Close),
            Opcode::Continuation => Err(FrameError::ContinuationWithoutStart),
        }
    }

    /// Goes on with what is carried over, or begins to carry over.
    fn assemble<'a>(
        &mut self,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        let mut carried = self.carried.take().unwrap_or_else(|| Box::new(Carried::new(now)));
        let mut rest = Unread(input);
        let event = self.advance(&mut carried, limits, now, &mut rest);
        debug_assert!(event != Ok(Event::Incomplete) || rest.0.is_empty(), "nothing yet, and bytes are left");
        if carried.is_unfinished() {
            self.carried = Some(carried);
        }
        self.settle(event, rest.0)
    }

    /// Ends the connection's reading after a close frame or an error; else passes the event on.
    fn settle<'a>(
        &mut self,
        event: Result<Event<'a>, FrameError>,
        rest: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        match event {
            Ok(Event::Close(close)) => {
                self.state = State::Closed;
                self.carried = None;
                // Whatever comes behind a close frame is not looked at.
                Ok(Decoded { event: Event::Close(close), rest: &mut [] })
            }
            Ok(event) => Ok(Decoded { event, rest }),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Takes frame after frame from `input` until there is an event or no byte is left.
    fn advance<'a>(
        &mut self,
        carried: &mut Carried,
        limits: &FrameLimits,
        now: Tick,
        input: &mut Unread<'a>,
    ) -> Result<Event<'a>, FrameError> {
        loop {
            let mut frame = match carried.frame.take() {
                Some(frame) => frame,
                None => match carried.read_header(limits, input)? {
                    Some(header) => {
                        self.charge(header.opcode, limits, now)?;
                        carried.begin(header)
                    }
                    None => return Ok(Event::Incomplete),
                },
            };
            let part = input.take(frame.left);
            unmask(part, frame.key);
            frame.key = rotate_key(frame.key, part.len());
            frame.left = frame.left.saturating_sub(part.len());
            let complete = frame.left == 0;
            match frame.opcode {
                Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                    carried.append(part)?;
                    if complete && frame.fin {
                        return carried.finish();
                    }
                }
                Opcode::Close if complete => {
                    return parse_close(carried.control_payload(part)).map(Event::Close);
                }
                Opcode::Ping if complete => return Ok(Event::Ping(carried.control_payload(part))),
                Opcode::Pong if complete => return Ok(Event::Pong(carried.control_payload(part))),
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    carried.control.extend_from_slice(part);
                }
            }
            if !complete {
                carried.frame = Some(frame);
                return Ok(Event::Incomplete);
            }
        }
    }

    /// Takes one token for a ping or pong, at its header: the generic cell rate algorithm, whose whole state is one
    /// time. A close frame needs no rate, it is the last of its sender.
    #[inline]
    fn charge(&mut self, opcode: Opcode, limits: &FrameLimits, now: Tick) -> Result<(), FrameError> {
        match opcode {
            Opcode::Ping | Opcode::Pong => self.charge_control(limits, now),
            _ => Ok(()),
        }
    }

    fn charge_control(&mut self, limits: &FrameLimits, now: Tick) -> Result<(), FrameError> {
        const SECOND_US: u64 = 1_000_000;
        let cost_us = SECOND_US.div_ceil(u64::from(limits.control_per_second.max(1)));
        let now_us = now.0.saturating_mul(1_000);
        let full_at_us = self.control_full_at_us.max(now_us).saturating_add(cost_us);
        if full_at_us.saturating_sub(now_us) > cost_us.saturating_mul(u64::from(limits.control_burst)) {
            return Err(FrameError::ControlFlood);
        }
        self.control_full_at_us = full_at_us;
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: FrameError) -> FrameError {
        self.state = State::Failed(error);
        self.carried = None;
        error
    }
}

impl fmt::Debug for Decoder {
    /// Names the state, never a byte of payload: an unfinished first message may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Open if self.in_progress() => "in progress",
            State::Open => "open",
            State::Closed => "closed",
            State::Failed(error) => error.as_str(),
        };
        f.debug_struct("Decoder")
            .field("state", &state)
            .field("owned_bytes", &self.owned_bytes())
            .finish_non_exhaustive()
    }
}

impl<'a> Unread<'a> {
    /// The next `count` bytes, or all when there are fewer.
    fn take(&mut self, count: usize) -> &'a mut [u8] {
        let count = count.min(self.0.len());
        let (taken, rest) = mem::take(&mut self.0).split_at_mut_checked(count).unwrap_or_default();
        self.0 = rest;
        taken
    }
}

impl Carried {
    fn new(since: Tick) -> Self {
        Self { since, header: [0; HEADER_BYTES_MAX], header_len: 0, frame: None, message: None, control: Vec::new() }
    }

    fn is_unfinished(&self) -> bool {
        self.header_len != 0 || self.frame.is_some() || self.message.is_some()
    }

    /// Completes the header with bytes from `input`; keeps them all when they do not suffice.
    fn read_header(&mut self, limits: &FrameLimits, input: &mut Unread<'_>) -> Result<Option<Header>, FrameError> {
        let had = usize::from(self.header_len);
        let free = self.header.get_mut(had..).unwrap_or_default();
        let taken = free.len().min(input.0.len());
        for (slot, byte) in free.iter_mut().zip(input.0.iter()) {
            *slot = *byte;
        }
        let known = self.header.get(..had.saturating_add(taken)).unwrap_or(&self.header);
        let open = self
            .message
            .as_ref()
            .map(|message| OpenMessage { declared_bytes: message.declared_bytes, fragments: message.fragments });
        let header = Header::parse(known, limits, open)?;
        let (used, kept) = match header {
            Some(header) => (header.size.saturating_sub(had), 0),
            None => (taken, known.len()),
        };
        self.header_len = u8::try_from(kept).unwrap_or(0);
        input.take(used);
        Ok(header)
    }

    /// Takes a header that passed: a data frame becomes part of the message.
    fn begin(&mut self, header: Header) -> Frame {
        let body = match header.opcode {
            Opcode::Text => Some(Body::Text(TextBuffer::default())),
            Opcode::Binary => Some(Body::Binary(Vec::new())),
            _ => None,
        };
        if let Some(body) = body {
            debug_assert!(self.message.is_none(), "the header check refuses a message inside a message");
            self.message = Some(Message { body, declared_bytes: header.len, fragments: 1 });
        } else if let (Opcode::Continuation, Some(message)) = (header.opcode, &mut self.message) {
            message.declared_bytes = message.declared_bytes.saturating_add(header.len);
            message.fragments = message.fragments.saturating_add(1);
        }
        Frame { opcode: header.opcode, fin: header.fin, left: header.len, key: header.key }
    }

    fn append(&mut self, part: &[u8]) -> Result<(), FrameError> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        match &mut message.body {
            Body::Text(text) => text.push(part, message.declared_bytes),
            Body::Binary(bytes) => {
                bytes.reserve_exact(room(bytes.len(), bytes.capacity(), part.len(), message.declared_bytes));
                bytes.extend_from_slice(part);
                Ok(())
            }
        }
    }

    /// Hands the message out; its memory goes with it.
    fn finish<'a>(&mut self) -> Result<Event<'a>, FrameError> {
        match self.message.take().map(|message| message.body) {
            Some(Body::Text(text)) => Ok(Event::Text(Cow::Owned(text.finish()?))),
            Some(Body::Binary(bytes)) => Ok(Event::Binary(Cow::Owned(bytes))),
            None => Err(FrameError::ContinuationWithoutStart),
        }
    }

    /// The payload that ends with `last`: `last` itself unless earlier reads brought a part of it.
    fn control_payload<'a>(&mut self, last: &'a [u8]) -> Cow<'a, [u8]> {
        if self.control.is_empty() {
            return Cow::Borrowed(last);
        }
        let mut payload = mem::take(&mut self.control);
        payload.extend_from_slice(last);
        Cow::Owned(payload)
    }
}

/// Code and reason from the body of a close frame (RFC 6455 sections 5.5.1 and 7.4).
fn parse_close(body: Cow<'_, [u8]>) -> Result<Option<Close<'_>>, FrameError> {
    let (code, reason) = match body {
        Cow::Borrowed(body) => {
            let Some((code, reason)) = body.split_first_chunk() else {
                return half_code(body);
            };
            let reason = std::str::from_utf8(reason).map(Cow::Borrowed);
            (u16::from_be_bytes(*code), reason)
        }
        Cow::Owned(body) => {
            let Some((code, reason)) = body.split_first_chunk() else {
                return half_code(&body);
            };
            let reason = std::str::from_utf8(reason).map(|reason| Cow::Owned(reason.to_owned()));
            (u16::from_be_bytes(*code), reason)
        }
    };
    if !is_wire_close_code(code) {
        return Err(FrameError::CloseCodeInvalid);
    }
    Ok(Some(Close { code, reason: reason.map_err(|_| FrameError::CloseReasonInvalid)? }))
}

/// A body too short for a code is good only when it is empty.
fn half_code<'a>(body: &[u8]) -> Result<Option<Close<'a>>, FrameError> {
    if body.is_empty() { Ok(None) } else { Err(FrameError::CloseBodyOneByte) }
}

#[cfg(test)]
mod tests;
