//! The decoder of client frames: whole messages are lent from the read buffer, unfinished ones carried over.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use super::header::{HEADER_BYTES_MAX, Header, OpenMessage};
use super::utf8::{TextBuffer, room};
use super::{FrameError, FrameLimits, Opcode, is_wire_close_code, rotate_key, unmask};
use crate::time::Tick;

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
        Self {
            carried: None,
            control_full_at_us: 0,
            state: State::Open,
        }
    }

    /// Decodes `input`, the bytes of one read or what the call before left over, up to the first event.
    ///
    /// `input` is unmasked in place. `now`: monotonic, feeds the control-frame rate and
    /// [`in_progress_since`](Self::in_progress_since); one reading of the clock serves a whole read.
    /// Cost of a whole frame: no allocation, no copy, about one instruction a byte for unmasking and UTF-8 together.
    ///
    /// # Errors
    /// The first rule or limit that the peer broke; the connection must end with [`FrameError::close_code`].
    ///
    /// # Specification
    /// RFC 6455 sections 5 to 8
    #[inline]
    pub fn decode<'a>(
        &mut self,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        if self.carried.is_some() || self.state != State::Open || input.is_empty() {
            return self.decode_rare(limits, now, input);
        }
        match Header::parse(input, limits, None) {
            Ok(Some(header))
                if header.fin && input.len().saturating_sub(header.size) >= header.len =>
            {
                self.decode_whole(header, limits, now, input)
            }
            Err(error) => Err(self.fail(error)),
            Ok(_) => self.decode_rare(limits, now, input),
        }
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

    /// Bytes of heap memory owned now: 0 between messages.
    #[must_use]
    pub fn owned_bytes(&self) -> usize {
        self.carried.as_ref().map_or(0, |carried| {
            let body = carried
                .message
                .as_ref()
                .map_or(0, |message| match &message.body {
                    Body::Text(text) => text.owned_bytes(),
                    Body::Binary(bytes) => bytes.capacity(),
                });
            size_of::<Carried>()
                .saturating_add(carried.control.capacity())
                .saturating_add(body)
        })
    }

    /// One frame that is a message by itself and lies whole in `input`, nothing before it: nearly every frame.
    #[inline]
    fn decode_whole<'a>(
        &mut self,
        header: Header,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        if let Err(error) = self.charge(header.opcode, limits, now) {
            return Err(self.fail(error));
        }
        let (frame, rest) =
            input.split_at_mut(header.size.saturating_add(header.len).min(input.len()));
        let payload = frame.get_mut(header.size..).unwrap_or_default();
        unmask(payload, header.key);
        let event = match header.opcode {
            Opcode::Text => match simdutf8::basic::from_utf8(payload) {
                Ok(text) => Event::Text(Cow::Borrowed(text)),
                Err(_) => return Err(self.fail(FrameError::InvalidUtf8)),
            },
            Opcode::Binary => Event::Binary(Cow::Borrowed(payload)),
            Opcode::Continuation => return Err(self.fail(FrameError::ContinuationWithoutStart)),
            Opcode::Ping => Event::Ping(Cow::Borrowed(payload)),
            Opcode::Pong => Event::Pong(Cow::Borrowed(payload)),
            Opcode::Close => match parse_close(Cow::Borrowed(payload)) {
                Ok(close) => return Ok(self.closed(close)),
                Err(error) => return Err(self.fail(error)),
            },
        };
        Ok(Decoded { event, rest })
    }

    #[inline(never)]
    fn decode_rare<'a>(
        &mut self,
        limits: &FrameLimits,
        now: Tick,
        input: &'a mut [u8],
    ) -> Result<Decoded<'a>, FrameError> {
        match self.state {
            State::Failed(error) => return Err(error),
            State::Closed => {
                return Ok(Decoded {
                    event: Event::Incomplete,
                    rest: &mut [],
                });
            }
            State::Open if input.is_empty() => {
                return Ok(Decoded {
                    event: Event::Incomplete,
                    rest: input,
                });
            }
            State::Open => {}
        }
        let mut carried = self
            .carried
            .take()
            .unwrap_or_else(|| Box::new(Carried::new(now)));
        let mut rest = input;
        match self.advance(&mut carried, limits, now, &mut rest) {
            Ok(Event::Close(close)) => Ok(self.closed(close)),
            Ok(event) => {
                if carried.is_unfinished() {
                    self.carried = Some(carried);
                }
                debug_assert!(
                    event != Event::Incomplete || rest.is_empty(),
                    "nothing yet, and bytes are left"
                );
                Ok(Decoded { event, rest })
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Takes frame after frame from `input` until there is an event or no byte is left.
    fn advance<'a>(
        &mut self,
        carried: &mut Carried,
        limits: &FrameLimits,
        now: Tick,
        input: &mut &'a mut [u8],
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
            let taken = frame.left.min(input.len());
            let (part, rest) = mem::take(input).split_at_mut(taken);
            *input = rest;
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
                    carried.control.extend_from_slice(part)
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
    fn charge(
        &mut self,
        opcode: Opcode,
        limits: &FrameLimits,
        now: Tick,
    ) -> Result<(), FrameError> {
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
        if full_at_us.saturating_sub(now_us)
            > cost_us.saturating_mul(u64::from(limits.control_burst))
        {
            return Err(FrameError::ControlFlood);
        }
        self.control_full_at_us = full_at_us;
        Ok(())
    }

    /// Whatever the peer sends behind its close frame is not looked at.
    fn closed<'a>(&mut self, close: Option<Close<'a>>) -> Decoded<'a> {
        self.state = State::Closed;
        self.carried = None;
        Decoded {
            event: Event::Close(close),
            rest: &mut [],
        }
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
            .finish()
    }
}

impl Carried {
    fn new(since: Tick) -> Self {
        Self {
            since,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: None,
            message: None,
            control: Vec::new(),
        }
    }

    fn is_unfinished(&self) -> bool {
        self.header_len != 0 || self.frame.is_some() || self.message.is_some()
    }

    /// Completes the header with bytes from `input`; keeps them all when they do not suffice.
    fn read_header(
        &mut self,
        limits: &FrameLimits,
        input: &mut &mut [u8],
    ) -> Result<Option<Header>, FrameError> {
        let had = usize::from(self.header_len);
        let free = self.header.get_mut(had..).unwrap_or_default();
        let taken = free.len().min(input.len());
        for (slot, byte) in free.iter_mut().zip(input.iter()) {
            *slot = *byte;
        }
        let known = self
            .header
            .get(..had.saturating_add(taken))
            .unwrap_or(&self.header);
        let open = self.message.as_ref().map(|message| OpenMessage {
            declared_bytes: message.declared_bytes,
            fragments: message.fragments,
        });
        let header = Header::parse(known, limits, open)?;
        let (used, kept) = match header {
            Some(header) => (header.size.saturating_sub(had), 0),
            None => (taken, known.len()),
        };
        self.header_len = u8::try_from(kept).unwrap_or(0);
        *input = mem::take(input).get_mut(used..).unwrap_or_default();
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
            debug_assert!(
                self.message.is_none(),
                "the header check refuses a message inside a message"
            );
            self.message = Some(Message {
                body,
                declared_bytes: header.len,
                fragments: 1,
            });
        } else if let (Opcode::Continuation, Some(message)) = (header.opcode, &mut self.message) {
            message.declared_bytes = message.declared_bytes.saturating_add(header.len);
            message.fragments = message.fragments.saturating_add(1);
        }
        Frame {
            opcode: header.opcode,
            fin: header.fin,
            left: header.len,
            key: header.key,
        }
    }

    fn append(&mut self, part: &[u8]) -> Result<(), FrameError> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        match &mut message.body {
            Body::Text(text) => text.push(part, message.declared_bytes),
            Body::Binary(bytes) => {
                bytes.reserve_exact(room(
                    bytes.len(),
                    bytes.capacity(),
                    part.len(),
                    message.declared_bytes,
                ));
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
    Ok(Some(Close {
        code,
        reason: reason.map_err(|_| FrameError::CloseReasonInvalid)?,
    }))
}

/// A body too short for a code is good only when it is empty.
fn half_code<'a>(body: &[u8]) -> Result<Option<Close<'a>>, FrameError> {
    if body.is_empty() {
        Ok(None)
    } else {
        Err(FrameError::CloseBodyOneByte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(
        size_of::<Decoder>() <= 32,
        "paid for by every idle connection"
    );

    /// What one decoder makes of `reads`, each with its own time: the events in words, and the error that ended it.
    fn run(limits: &FrameLimits, reads: &[(u64, Vec<u8>)]) -> (Vec<String>, Option<FrameError>) {
        let (mut decoder, mut events) = (Decoder::new(), Vec::new());
        for (tick, read) in reads {
            let mut read = read.clone();
            let mut rest = read.as_mut_slice();
            loop {
                match decoder.decode(limits, Tick(*tick), rest) {
                    Ok(Decoded {
                        event: Event::Incomplete,
                        ..
                    }) => break,
                    Ok(decoded) => {
                        events.push(format!("{:?}", decoded.event));
                        rest = decoded.rest;
                    }
                    Err(error) => {
                        assert_eq!(
                            decoder.decode(limits, Tick(*tick), &mut [0x81]),
                            Err(error),
                            "it forgot the error"
                        );
                        assert_eq!(
                            (decoder.owned_bytes(), decoder.in_progress()),
                            (0, false),
                            "{error:?}"
                        );
                        return (events, Some(error));
                    }
                }
            }
        }
        (events, None)
    }

    /// The same bytes, each in a read of its own.
    fn drip(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        bytes.iter().map(|byte| (0, vec![*byte])).collect()
    }

    /// A frame under the mask key 00 00 00 00.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => bytes.push(0x80 | short),
            _ => {
                bytes.push(0xFE);
                bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// An unfinished text message, then `next`.
    fn inside_text(next: &[u8]) -> Vec<u8> {
        [&frame(0x01, b"A"), next].concat()
    }

    fn assert_refused(name: &str, bytes: &[u8], want: FrameError) {
        assert_eq!(
            run(&FrameLimits::default(), &[(0, bytes.to_vec())]).1,
            Some(want),
            "{name}"
        );
        assert_eq!(
            run(&FrameLimits::default(), &drip(bytes)).1,
            Some(want),
            "{name}, byte by byte"
        );
    }

    #[test]
    fn faults_of_the_header_are_refused_at_the_header() {
        use FrameError as E;
        for (name, bytes, want) in [
            ("unmasked text", &[0x81, 0x02, 0x48, 0x69][..], E::Unmasked),
            ("unmasked ping", &[0x89, 0x00], E::Unmasked),
            ("RSV1 without deflate", &[0xC1, 0x82], E::ReservedBits),
            ("RSV2", &[0xA1, 0x82], E::ReservedBits),
            ("RSV3", &[0x91, 0x82], E::ReservedBits),
            ("RSV1, first byte alone", &[0xC1], E::ReservedBits),
            ("opcode 3", &[0x83, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
            ("opcode 7", &[0x87, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
            ("opcode B", &[0x8B, 0x80, 0, 0, 0, 0], E::ReservedOpcode),
            ("opcode F, first byte alone", &[0x8F], E::ReservedOpcode),
            (
                "fragmented ping",
                &[0x09, 0x80, 0, 0, 0, 0],
                E::ControlFragmented,
            ),
            (
                "fragmented close, first byte alone",
                &[0x08],
                E::ControlFragmented,
            ),
            (
                "ping of 126 bytes",
                &[0x89, 0xFE, 0x00, 0x7E],
                E::ControlTooLong,
            ),
            (
                "ping with a length of eight bytes",
                &[0x89, 0xFF],
                E::ControlTooLong,
            ),
            (
                "continuation first",
                &[0x80, 0x80],
                E::ContinuationWithoutStart,
            ),
            (
                "unfinished continuation first",
                &[0x00],
                E::ContinuationWithoutStart,
            ),
            (
                "text inside text",
                &inside_text(&[0x81, 0x81]),
                E::DataInsideMessage,
            ),
            (
                "binary inside text",
                &inside_text(&[0x82]),
                E::DataInsideMessage,
            ),
            (
                "5 in two bytes",
                &[0x81, 0xFE, 0x00, 0x05],
                E::LengthNotMinimal,
            ),
            (
                "125 in two bytes",
                &[0x81, 0xFE, 0x00, 0x7D],
                E::LengthNotMinimal,
            ),
            (
                "5 in eight bytes",
                &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5],
                E::LengthNotMinimal,
            ),
            (
                "65,535 in eight bytes",
                &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                E::LengthNotMinimal,
            ),
            (
                "length top bit",
                &[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
                E::LengthTopBit,
            ),
            (
                "2^63-1",
                &[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
                E::TooBig,
            ),
            ("2^32", &[0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0], E::TooBig),
            (
                "one above the limit",
                &[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1],
                E::TooBig,
            ),
            (
                "sum one above",
                &inside_text(&[0x80, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]),
                E::TooBig,
            ),
            (
                "sum near 2^63",
                &inside_text(&[[0x80].as_slice(), &[0xFF, 0x7F], &[0xFF; 7]].concat()),
                E::TooBig,
            ),
            ("binary, first byte alone", &[0x82], E::BinaryRefused),
            ("binary in fragments", &[0x02, 0x81], E::BinaryRefused),
        ] {
            assert_refused(name, bytes, want);
        }
    }

    #[test]
    fn faults_of_payload_and_number_are_refused() {
        use FrameError as E;
        let ping = frame(0x89, b"");
        for (name, bytes, want) in [
            (
                "empty-fragment flood",
                [frame(0x01, b""), frame(0x00, b"").repeat(256)].concat(),
                E::TooManyFragments,
            ),
            (
                "tiny-fragment flood",
                inside_text(&frame(0x00, b"A").repeat(256)),
                E::TooManyFragments,
            ),
            (
                "surrogate",
                frame(
                    0x81,
                    b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80e",
                ),
                E::InvalidUtf8,
            ),
            ("overlong", frame(0x81, b"\xC0\xAF"), E::InvalidUtf8),
            (
                "above U+10FFFF",
                frame(0x81, b"\xF4\x90\x80\x80"),
                E::InvalidUtf8,
            ),
            (
                "the same, split",
                [frame(0x01, b"\xF4"), frame(0x80, b"\x90\x80\x80")].concat(),
                E::InvalidUtf8,
            ),
            (
                "wrong byte of an unfinished frame",
                vec![0x81, 0x85, 0, 0, 0, 0, 0xC0],
                E::InvalidUtf8,
            ),
            (
                "wrong byte of an unfinished message",
                frame(0x01, b"ok\xED\xA0"),
                E::InvalidUtf8,
            ),
            (
                "ends inside a character",
                frame(0x81, b"\xE2\x82"),
                E::InvalidUtf8,
            ),
            (
                "last fragment ends inside one",
                [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat(),
                E::InvalidUtf8,
            ),
            ("ping flood", ping.repeat(21), E::ControlFlood),
            (
                "pong flood",
                frame(0x8A, &[7; 125]).repeat(21),
                E::ControlFlood,
            ),
            (
                "ping flood inside a message",
                inside_text(&ping.repeat(21)),
                E::ControlFlood,
            ),
            (
                "flood, before the payload",
                [ping.repeat(20), vec![0x89, 0x85, 0, 0, 0, 0]].concat(),
                E::ControlFlood,
            ),
            (
                "close body of one byte",
                frame(0x88, &[0x03]),
                E::CloseBodyOneByte,
            ),
            (
                "close reason not UTF-8",
                frame(0x88, b"\x03\xE8\xC0\xAF"),
                E::CloseReasonInvalid,
            ),
            (
                "close reason cut inside a character",
                frame(0x88, b"\x03\xE8\xE2\x82"),
                E::CloseReasonInvalid,
            ),
        ] {
            assert_refused(name, &bytes, want);
        }
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert_refused(
                &format!("close code {code}"),
                &frame(0x88, &code.to_be_bytes()),
                E::CloseCodeInvalid,
            );
        }
    }

    #[test]
    fn good_frames_become_events() {
        let limits = FrameLimits {
            binary: true,
            ..FrameLimits::default()
        };
        let hello = vec![
            0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58,
        ];
        let close = r#"Close(Some(Close { code: 4400, reason: "bye" }))"#;
        for (name, frames, want) in [
            ("text", vec![frame(0x81, b"Hi")], vec![r#"Text("Hi")"#]),
            (
                "RFC 6455 section 5.7",
                vec![hello],
                vec![r#"Text("Hello")"#],
            ),
            ("empty text", vec![frame(0x81, b"")], vec![r#"Text("")"#]),
            ("empty binary", vec![frame(0x82, b"")], vec!["Binary([])"]),
            (
                "two in one read",
                vec![frame(0x81, b"a"), frame(0x82, b"b")],
                vec![r#"Text("a")"#, "Binary([98])"],
            ),
            (
                "an empty fragment",
                vec![frame(0x01, b"a"), frame(0x00, b""), frame(0x80, b"b")],
                vec![r#"Text("ab")"#],
            ),
            (
                "split character",
                vec![frame(0x01, b"\xE2\x82"), frame(0x80, b"\xAC")],
                vec!["Text(\"\u{20AC}\")"],
            ),
            (
                "ping inside a message",
                vec![frame(0x01, b"a"), frame(0x89, b"!"), frame(0x80, b"b")],
                vec!["Ping([33])", r#"Text("ab")"#],
            ),
            ("pong", vec![frame(0x8A, &[1, 2])], vec!["Pong([1, 2])"]),
            (
                "close without a code",
                vec![frame(0x88, b"")],
                vec!["Close(None)"],
            ),
            (
                "close inside a message",
                vec![frame(0x01, b"a"), frame(0x88, b"\x11\x30bye")],
                vec![close],
            ),
            (
                "ignored behind a close",
                vec![frame(0x88, b""), frame(0x81, b"late"), vec![0xFF; 9]],
                vec!["Close(None)"],
            ),
        ] {
            let bytes = frames.concat();
            let want: Vec<String> = want.into_iter().map(str::to_owned).collect();
            assert_eq!(
                run(&limits, &[(0, bytes.clone())]),
                (want.clone(), None),
                "{name}"
            );
            assert_eq!(
                run(&limits, &drip(&bytes)),
                (want, None),
                "{name}, byte by byte"
            );
        }
    }

    #[test]
    fn limits_hold_exactly() {
        let part = |first: u8, len: usize| frame(first, &vec![b'x'; len]);
        let small = FrameLimits {
            message_bytes_max: 300,
            fragments_max: 3,
            ..FrameLimits::default()
        };
        for (name, frames, want) in [
            ("message at the limit", vec![part(0x81, 300)], None),
            (
                "message above",
                vec![part(0x81, 301)],
                Some(FrameError::TooBig),
            ),
            (
                "sum at the limit",
                vec![part(0x01, 100), part(0x80, 200)],
                None,
            ),
            (
                "sum above",
                vec![part(0x01, 100), part(0x80, 201)],
                Some(FrameError::TooBig),
            ),
            (
                "three fragments",
                vec![part(0x01, 0), part(0x00, 0), part(0x80, 0)],
                None,
            ),
            (
                "a fourth",
                vec![part(0x01, 0), part(0x00, 0), part(0x00, 0), part(0x80, 0)],
                Some(FrameError::TooManyFragments),
            ),
            (
                "the count starts anew",
                vec![[part(0x01, 0), part(0x80, 0)].concat().repeat(9)],
                None,
            ),
            (
                "controls do not count",
                vec![part(0x01, 0), part(0x89, 9).repeat(9), part(0x80, 0)],
                None,
            ),
        ] {
            assert_eq!(run(&small, &[(0, frames.concat())]).1, want, "{name}");
        }
    }

    #[test]
    fn control_rate_refills_with_time() {
        let ping = |count: usize| frame(0x89, b"").repeat(count);
        for (name, reads, good) in [
            ("the burst", vec![(0, ping(20))], 20),
            ("one more", vec![(0, ping(21))], 20),
            (
                "a fifth of a second buys one",
                vec![(0, ping(20)), (200, ping(1))],
                21,
            ),
            (
                "not a millisecond less",
                vec![(0, ping(20)), (199, ping(1))],
                20,
            ),
            (
                "a pause fills it to the burst and no further",
                vec![(0, ping(20)), (3_600_000, ping(30))],
                40,
            ),
            (
                "steady heartbeat",
                (0..100).map(|second| (second * 1_000, ping(1))).collect(),
                100,
            ),
        ] {
            assert_eq!(run(&FrameLimits::default(), &reads).0.len(), good, "{name}");
        }
        let none = FrameLimits {
            control_burst: 0,
            ..FrameLimits::default()
        };
        assert_eq!(
            run(&none, &[(0, ping(1))]).1,
            Some(FrameError::ControlFlood)
        );
        assert_eq!(
            run(&none, &[(0, frame(0x88, b""))]).1,
            None,
            "a close frame needs no rate"
        );
        let generous = FrameLimits {
            control_burst: u32::MAX,
            control_per_second: u32::MAX,
            ..FrameLimits::default()
        };
        assert_eq!(run(&generous, &[(u64::MAX, ping(10_000))]).1, None);
    }

    #[test]
    fn whole_frames_are_lent_and_idle_connections_own_nothing() {
        let limits = FrameLimits::default();
        let mut decoder = Decoder::new();
        let mut read = frame(0x81, b"whole");
        let decoded = decoder.decode(&limits, Tick(5), &mut read).unwrap();
        assert!(matches!(decoded.event, Event::Text(Cow::Borrowed("whole"))));
        assert_eq!(
            (decoder.in_progress_since(), decoder.owned_bytes()),
            (None, 0)
        );

        let mut bytes = frame(0x81, b"in two reads");
        let (left, right) = bytes.split_at_mut(3);
        for (tick, part, since) in [(10, left, Some(Tick(10))), (20, right, None)] {
            drop(decoder.decode(&limits, Tick(tick), part).unwrap().event);
            assert_eq!(decoder.in_progress_since(), since, "tick {tick}");
            assert_eq!(decoder.owned_bytes() == 0, since.is_none(), "tick {tick}");
        }
        assert_eq!(
            decoder.decode(&limits, Tick(30), &mut []).unwrap().event,
            Event::Incomplete
        );
        assert!(!decoder.in_progress(), "an empty read begins nothing");
    }

    #[test]
    fn controls_and_fragments_do_not_move_the_start_of_a_message() {
        let limits = FrameLimits::default();
        let mut decoder = Decoder::new();
        for (tick, mut read) in [
            (1, frame(0x01, b"a")),
            (2_000, frame(0x8A, b"")),
            (4_000, frame(0x00, b"")),
        ] {
            drop(
                decoder
                    .decode(&limits, Tick(tick), &mut read)
                    .unwrap()
                    .event,
            );
            assert_eq!(decoder.in_progress_since(), Some(Tick(1)), "tick {tick}");
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let mut decoder = Decoder::new();
        let mut read = frame(0x01, b"secret-token");
        drop(
            decoder
                .decode(&FrameLimits::default(), Tick(0), &mut read)
                .unwrap()
                .event,
        );
        let shown = format!("{decoder:?}");
        assert!(
            shown.contains("in progress") && !shown.contains("secret") && !shown.contains("115"),
            "{shown}"
        );
    }
}
