//! The messages that are sent and the test that their replies are right.

use std::collections::VecDeque;
use std::time::Instant;

use memchr::memmem::Finder;
use serde_json::json;

use crate::Mode;
use testkit::wire::{MaskedFrame, opcode};

/// Digits of the number that each message carries as id and at the start of its text.
const NUMBER_DIGITS: usize = 8;
const NUMBER_PLACE: &str = "00000000";
/// Shortest text; a message that has no room for it gets longer than it was asked to be.
const TEXT_BYTES_MIN: usize = 16;
/// Prose that the texts are cut from: what people write, without markup, without what JSON escapes, and without `&`,
/// which some sanitizers write as a character reference.
const PROSE: &str = " The quick report is ready, please have a look when you find the time: numbers are up by 12 % \
    since Monday, the new line runs well, nobody had to stay late. Lunch at noon?";

/// What the messages of a run look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) mode: Mode,
    pub(crate) with_id: bool,
    /// Length of the whole message.
    pub(crate) message_bytes: usize,
    /// Each message is longer or shorter than the one before, by up to 28 bytes about that length.
    pub(crate) varied: bool,
}

/// How far the messages of varied length are from the mean, in their turn.
const OFFSETS: [isize; 8] = [-28, 12, -4, 28, -20, 4, -12, 20];

/// A message, encoded once, with the places of its number.
struct Form {
    frame: MaskedFrame,
    plain: Vec<u8>,
    number_places: Vec<usize>,
    text_bytes: usize,
}

impl Form {
    fn new(shape: Shape, message_bytes: usize, room: &str, csrf_token: &str) -> Self {
        let bare = render(shape, room, csrf_token, NUMBER_PLACE).len();
        let text_bytes = TEXT_BYTES_MIN.max((message_bytes + NUMBER_DIGITS).saturating_sub(bare));
        let text: String = NUMBER_PLACE.chars().chain(PROSE.chars().cycle()).take(text_bytes).collect();
        let plain = render(shape, room, csrf_token, &text).into_bytes();
        let number_places =
            memchr::memmem::find_iter(&plain, NUMBER_PLACE).take(if shape.with_id { 2 } else { 1 }).collect();
        Self { frame: MaskedFrame::new(opcode::TEXT, &plain), plain, number_places, text_bytes }
    }
}

/// The messages of one connection: encoded once, numbered in place, their replies checked in order.
pub(crate) struct Script {
    shape: Shape,
    /// Taken in turn.
    forms: Vec<Form>,
    sent: u32,
    replied: u32,
    acknowledged: u32,
    sent_at: VecDeque<Instant>,
    message_member: Finder<'static>,
    type_member: Finder<'static>,
    id_member: Finder<'static>,
}

impl Script {
    /// `csrf_token` goes into every message of a guarded mode.
    pub(crate) fn new(shape: Shape, room: &str, csrf_token: &str) -> Self {
        let offsets: &[isize] = if shape.varied { &OFFSETS } else { &[0] };
        let form =
            |offset: &isize| Form::new(shape, shape.message_bytes.saturating_add_signed(*offset), room, csrf_token);
        Self {
            shape,
            forms: offsets.iter().map(form).collect(),
            sent: 0,
            replied: 0,
            acknowledged: 0,
            sent_at: VecDeque::new(),
            message_member: Finder::new(br#""message":""#),
            type_member: Finder::new(br#""type":""#),
            id_member: Finder::new(br#""id":""#),
        }
    }

    /// Length of a message in bytes, on average.
    pub(crate) fn message_bytes(&self) -> usize {
        self.forms.iter().map(|form| form.plain.len()).sum::<usize>() / self.forms.len().max(1)
    }

    /// The place of the form of message `number`.
    fn turn(&self, number: u32) -> usize {
        usize::try_from(number).unwrap_or_default() % self.forms.len().max(1)
    }

    /// Appends the frame of the next message to `out`.
    pub(crate) fn send_next(&mut self, out: &mut Vec<u8>, now: Instant) {
        let number = numbered(self.sent);
        let turn = self.turn(self.sent);
        if let Some(form) = self.forms.get_mut(turn) {
            for place in &form.number_places {
                form.frame.patch(*place, &number);
            }
            out.extend_from_slice(form.frame.as_bytes());
        }
        self.sent += 1;
        self.sent_at.push_back(now);
    }

    /// Takes a text frame of the server. The moments at which the messages that are now complete were sent are
    /// handed to `complete`.
    ///
    /// # Errors
    /// When the frame is not the reply that is due.
    pub(crate) fn receive(&mut self, payload: &[u8], complete: &mut impl FnMut(Instant)) -> Result<(), String> {
        let before = self.completed();
        match self.kind_of(payload) {
            Kind::Reply if self.is_due(payload) => self.replied += 1,
            Kind::Ack if self.shape.with_id && self.acknowledges(payload, self.acknowledged) => {
                self.acknowledged += 1;
            }
            // What the server may say on its own at any time.
            Kind::Aside => return Ok(()),
            _ => {
                return Err(format!("unexpected reply: {}", String::from_utf8_lossy(payload)));
            }
        }
        if self.replied.max(self.acknowledged) > self.sent {
            return Err("more replies than messages".to_owned());
        }
        for _ in before..self.completed() {
            if let Some(sent_at) = self.sent_at.pop_front() {
                complete(sent_at);
            }
        }
        Ok(())
    }

    fn completed(&self) -> u32 {
        if self.shape.with_id { self.replied.min(self.acknowledged) } else { self.replied }
    }

    fn kind_of(&self, payload: &[u8]) -> Kind {
        if self.shape.mode == Mode::Raw {
            return Kind::Reply;
        }
        let word = self.type_member.find(payload).and_then(|at| payload.get(at + self.type_member.needle().len()..));
        let word = word.and_then(|rest| rest.split(|byte| *byte == b'"').next()).unwrap_or_default();
        match (word, self.shape.mode) {
            (b"chat", Mode::Chat) | (b"echo", Mode::Echo) => Kind::Reply,
            (b"ack", _) => Kind::Ack,
            (b"csrf" | b"auth.expiring", _) => Kind::Aside,
            _ => Kind::Foreign,
        }
    }

    /// Whether `payload` carries the text of the message that has no reply yet: its number and its prose.
    fn is_due(&self, payload: &[u8]) -> bool {
        let Some(Form { plain, text_bytes, .. }) = self.forms.get(self.turn(self.replied)) else {
            return false;
        };
        let text_of = |message: &'_ [u8], at: usize| message.get(at..at + text_bytes).map(<[u8]>::to_vec);
        let place =
            |message: &[u8]| self.message_member.find(message).map(|at| at + self.message_member.needle().len());
        let (Some(sent_at), Some(got_at)) = (place(plain), place(payload)) else {
            return false;
        };
        if self.shape.mode == Mode::Raw && payload.len() != plain.len() {
            return false;
        }
        let (Some(want), Some(got)) = (text_of(plain, sent_at), text_of(payload, got_at)) else {
            return false;
        };
        let (number, prose) = got.split_at(NUMBER_DIGITS.min(got.len()));
        number == numbered(self.replied)
            && want.get(NUMBER_DIGITS..) == Some(prose)
            && payload.get(got_at + text_bytes) == Some(&b'"')
    }

    fn acknowledges(&self, payload: &[u8], number: u32) -> bool {
        let id = self.id_member.find(payload).and_then(|at| payload.get(at + self.id_member.needle().len()..));
        id.is_some_and(|id| id.starts_with(&numbered(number)))
    }
}

enum Kind {
    Reply,
    Ack,
    Aside,
    Foreign,
}

/// The message with `text` in it. `raw` sends the same shape, so that the echo moves the same bytes.
fn render(shape: Shape, room: &str, csrf_token: &str, text: &str) -> String {
    let name = if shape.mode == Mode::Echo { "echo" } else { "chat" };
    let payload = match shape.mode {
        Mode::Chat => json!({ "room": room, "message": text }),
        Mode::Echo | Mode::Raw => json!({ "message": text }),
    };
    let id = if shape.with_id { format!(r#""id":"{NUMBER_PLACE}","#) } else { String::new() };
    let csrf = if shape.mode == Mode::Raw { String::new() } else { format!(r#""csrfToken":"{csrf_token}","#) };
    format!(r#"{{"type":"{name}",{id}{csrf}"payload":{payload}}}"#)
}

/// `number` as exactly eight digits.
fn numbered(number: u32) -> [u8; NUMBER_DIGITS] {
    let mut digits = [b'0'; NUMBER_DIGITS];
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' | u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(mode: Mode, with_id: bool) -> Script {
        let mut script = Script::new(Shape { mode, with_id, message_bytes: 200, varied: false }, "r", "token");
        for _ in 0..3 {
            script.send_next(&mut Vec::new(), Instant::now());
        }
        script
    }

    fn text(number: u32, script: &Script) -> String {
        let form = &script.forms[script.turn(number)];
        let plain = String::from_utf8(form.plain.clone()).unwrap();
        let at = plain.find(r#""message":""#).unwrap() + 11;
        format!("{number:08}{}", plain.get(at + 8..at + form.text_bytes).unwrap())
    }

    #[test]
    fn messages_have_the_length_asked_for() {
        for (mode, with_id) in [(Mode::Chat, true), (Mode::Chat, false), (Mode::Echo, true), (Mode::Raw, false)] {
            let script = script(mode, with_id);
            assert_eq!(script.message_bytes(), 200, "{mode:?}");
            assert_eq!(script.forms[0].number_places.len(), if with_id { 2 } else { 1 }, "{mode:?}");
            assert!(serde_json::from_slice::<serde_json::Value>(&script.forms[0].plain).is_ok(), "{mode:?}");
        }
        let long =
            Script::new(Shape { mode: Mode::Chat, with_id: true, message_bytes: 10, varied: false }, "r", "token");
        assert_eq!(long.forms[0].text_bytes, TEXT_BYTES_MIN);
    }

    #[test]
    fn a_message_is_complete_with_its_last_reply() {
        let mut script = script(Mode::Chat, true);
        let mut complete = 0;
        let chat = format!(r#"{{"type":"chat","seq":1,"payload":{{"message":"{}","room":"r"}}}}"#, text(0, &script));
        script.receive(chat.as_bytes(), &mut |_| complete += 1).unwrap();
        assert_eq!(complete, 0);
        script.receive(br#"{"id":"00000000","type":"ack","payload":{}}"#, &mut |_| complete += 1).unwrap();
        assert_eq!(complete, 1);
    }

    #[test]
    fn messages_of_varied_length_are_told_apart() {
        let shape = Shape { mode: Mode::Raw, with_id: false, message_bytes: 200, varied: true };
        let mut script = Script::new(shape, "r", "token");
        let lengths: Vec<_> = script.forms.iter().map(|form| form.plain.len()).collect();
        assert_eq!(lengths, [172, 212, 196, 228, 180, 204, 188, 220]);
        assert_eq!(script.message_bytes(), 200);
        for number in 0..16 {
            script.send_next(&mut Vec::new(), Instant::now());
            let reply = |of: u32| format!(r#"{{"type":"echo","payload":{{"message":"{}"}}}}"#, text(of, &script));
            let (wrong, right) = (reply(number + 1), reply(number));
            assert!(script.receive(wrong.as_bytes(), &mut |_| ()).is_err(), "{number}");
            script.receive(right.as_bytes(), &mut |_| ()).unwrap();
        }
        assert_eq!(script.completed(), 16);
    }

    #[test]
    fn wrong_replies_are_noticed() {
        let good = text(0, &script(Mode::Chat, true));
        for (name, reply) in [
            ("error", r#"{"type":"error","payload":{"code":"csrf_invalid"}}"#.to_owned()),
            (
                "number of a later message",
                format!(r#"{{"type":"chat","payload":{{"message":"00000001{}"}}}}"#, good.get(8..).unwrap()),
            ),
            (
                "text cut",
                format!(r#"{{"type":"chat","payload":{{"message":"{}"}}}}"#, good.get(..good.len() - 1).unwrap()),
            ),
            ("text longer", format!(r#"{{"type":"chat","payload":{{"message":"{good}!"}}}}"#)),
            ("text changed", format!(r#"{{"type":"chat","payload":{{"message":"{}"}}}}"#, good.replace(',', ";"))),
            ("another type", format!(r#"{{"type":"echo","payload":{{"message":"{good}"}}}}"#)),
            ("ack of a later message", r#"{"type":"ack","id":"00000001","payload":{}}"#.to_owned()),
            ("no JSON", "chat".to_owned()),
        ] {
            assert!(script(Mode::Chat, true).receive(reply.as_bytes(), &mut |_| ()).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_server_may_say_at_any_time_is_passed_over() {
        let mut script = script(Mode::Chat, true);
        let rotated = br#"{"type":"csrf","payload":{"csrfToken":"new"}}"#;
        script.receive(rotated, &mut |_| ()).unwrap();
        assert_eq!(script.completed(), 0);
    }
}
