//! What the checks of messages share: the good message with one thing changed, and what became of it.

use crate::outcome::Outcome;
use crate::probe::link::End;
use crate::probe::session::{Answer, Message, Session};
use crate::probe::socket::Event;
use crate::probe::{Probe, shortened};

/// Where something is put into the good message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the outermost object.
    Outer,
    /// Into the object that holds the marker.
    Inner,
    /// Into an object that takes the place of the text with the marker.
    Value,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Outer, Self::Inner, Self::Value];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Outer => "a further member of the message",
            Self::Inner => "a further member beside the text",
            Self::Value => "an object in place of the text",
        }
    }
}

/// The good message, and where its parts are.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) text: String,
    pub(super) marker: String,
    /// Behind the `{` of the outermost object.
    outer: Option<usize>,
    /// Behind the `{` of the object that holds the marker.
    inner: Option<usize>,
    /// The string that holds the marker, quotes included.
    string: Option<(usize, usize)>,
    /// The first number that is the value of a member.
    number: Option<Number>,
}

/// Where a number stands in the good message.
#[derive(Clone, Debug)]
struct Number {
    name: String,
    start: usize,
    end: usize,
}

impl Number {
    /// The first one of a member that is no id.
    fn first(text: &str) -> Option<Self> {
        let members = regex::Regex::new(r#""(\w+)"\s*:\s*(-?\d+(?:\.\d+)?)\s*[,}]"#).ok()?;
        members
            .captures_iter(text)
            .filter_map(|found| {
                let (name, value) = (found.get(1)?.as_str(), found.get(2)?);
                Some(Self { name: name.to_owned(), start: value.start(), end: value.end() })
            })
            .find(|number| number.name != "id")
    }
}

impl Form {
    pub(super) fn of(message: &Message) -> Self {
        let text = message.text.clone();
        let at = text.find(&message.marker);
        let (mut outer, mut inner, mut string) = (None, None, None);
        let (mut open, mut quote, mut escaped) = (Vec::new(), None, false);
        for (index, byte) in text.bytes().enumerate() {
            let behind = index.saturating_add(1);
            match (quote, byte) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), b'\\') => escaped = true,
                (Some(start), b'"') => {
                    if at.is_some_and(|at| start < at && at < index) {
                        string = Some((start, behind));
                        inner = open.last().copied();
                    }
                    quote = None;
                }
                (None, b'"') => quote = Some(index),
                (None, b'{') => {
                    outer = outer.or(Some(behind));
                    open.push(behind);
                }
                (None, b'}') => {
                    open.pop();
                }
                _ => {}
            }
        }
        let number = Number::first(&text);
        Self { text, marker: message.marker.clone(), outer, inner, string, number }
    }

    /// The message with the member `name` of the value `raw`, which need not be JSON.
    pub(super) fn with_member(&self, place: Place, name: &str, raw: &str) -> Option<String> {
        let at = match place {
            Place::Outer => self.outer?,
            // The outermost object was tried already.
            Place::Inner => self.inner.filter(|inner| Some(*inner) != self.outer)?,
            Place::Value => return self.with_value(&format!(r#"{{"m":"{}","{name}":{raw}}}"#, self.marker)),
        };
        let (before, after) = (self.text.get(..at)?, self.text.get(at..)?);
        let comma = if after.trim_start().starts_with('}') { "" } else { "," };
        Some(format!(r#"{before}"{name}":{raw}{comma}{after}"#))
    }

    /// The message with `raw` in place of its first number.
    pub(super) fn with_number(&self, raw: &str) -> Option<String> {
        let Number { start, end, .. } = self.number.as_ref()?;
        Some(format!("{}{raw}{}", self.text.get(..*start)?, self.text.get(*end..)?))
    }

    /// The name of the member that [`with_number`](Self::with_number) changes.
    pub(super) fn number_name(&self) -> Option<&str> {
        Some(&self.number.as_ref()?.name)
    }

    /// The message with `raw` in place of the string that holds the marker.
    pub(super) fn with_value(&self, raw: &str) -> Option<String> {
        let (start, end) = self.string?;
        Some(format!("{}{raw}{}", self.text.get(..start)?, self.text.get(end..)?))
    }

    /// The message with `more` behind the marker, within its string.
    pub(super) fn with_text(&self, more: &str) -> Option<String> {
        self.string?;
        Some(self.text.replacen(&self.marker, &format!("{}{more}", self.marker), 1))
    }

    /// The first member, but for an id, whose value is a plain string: most often the type. Name and value.
    pub(super) fn kind(&self) -> Option<(String, String)> {
        let start = self.outer?;
        let members = regex::Regex::new(r#""(\w+)"\s*:\s*"([^"\\]*)""#).ok()?;
        members
            .captures_iter(self.text.get(start..)?)
            .filter_map(|found| Some((found.get(1)?.as_str().to_owned(), found.get(2)?.as_str().to_owned())))
            .find(|(name, value)| name != "id" && !value.contains(&self.marker))
    }

    /// Whether the marker stands directly in the outermost object.
    pub(super) fn is_flat(&self) -> bool {
        self.inner.is_some() && self.inner == self.outer
    }
}

/// A place for changed messages: a connection as long as it lasts, then the next.
pub(super) struct Bench<'a> {
    probe: &'a Probe,
    session: Option<Session>,
    /// The answer to the good message.
    pub(super) control: String,
    /// The name that the server gives itself.
    pub(super) server: String,
    /// The answer to the good message is that message.
    pub(super) mirrors: bool,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.probe.shared().spare(session);
        }
    }
}

impl<'a> Bench<'a> {
    /// With the good message answered.
    pub(super) async fn open(probe: &'a Probe) -> Result<Self, Outcome> {
        let mut bench = Self { probe, session: None, control: String::new(), server: String::new(), mirrors: false };
        if let Some(mut session) = probe.shared().take_spare() {
            session.socket.hand_to(probe.check);
            if session.still_serves().await {
                bench.session = Some(*session);
            }
        }
        let mut sent = String::new();
        let good = bench.ask(|form| {
            sent.clone_from(&form.text);
            Some(form.text.clone())
        });
        match good.await? {
            Answer::Served(reply) => bench.control = reply,
            other => return Err(Outcome::unknown(format!("the good message: {}", other.shown()))),
        }
        bench.mirrors = match (
            serde_json::from_str::<serde_json::Value>(&sent),
            serde_json::from_str::<serde_json::Value>(&bench.control),
        ) {
            (Ok(sent), Ok(reply)) => sent == reply,
            _ => sent == bench.control,
        };
        Ok(bench)
    }

    /// Sends the changed message. An answer that shows the marker counts as one, whatever else it looks like. A limit
    /// of the target, or a connection that does not serve any more after a silence, ends the check.
    pub(super) async fn ask(&mut self, mut change: impl FnMut(&Form) -> Option<String>) -> Result<Answer, Outcome> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.probe.session().await?,
        };
        if self.server.is_empty() {
            let head = &session.socket.head;
            self.server = ["Server", "X-Powered-By"]
                .map(|name| head.value(name).unwrap_or_default())
                .join(" ")
                .to_ascii_lowercase();
        }
        let message = session.message().ok_or_else(no_place)?;
        let Some(text) = change(&Form::of(&message)) else {
            self.session = Some(session);
            return Err(no_place());
        };
        let answer = session.ask_marked(&text, &message).await;
        match &answer {
            Answer::Limited(_) | Answer::Spent(_) => {
                return Err(Outcome::unknown(answer.shown()).settled_by("another run, later"));
            }
            Answer::Served(_) => self.session = Some(session),
            // What refuses often closes a moment later, which must not be taken for the answer to the next message.
            Answer::Refused(_) | Answer::Silent(_) => {
                if session.still_serves().await {
                    self.session = Some(session);
                }
            }
            Answer::Ended(_) => {}
        }
        Ok(answer)
    }

    /// A place where the target takes a harmless member, which shows what is refused for itself: one that comes back in
    /// the answer, if there is one.
    pub(super) async fn open_place(&mut self, name: &str, raw: &str) -> Result<Option<(Place, String)>, Outcome> {
        let mut found = None;
        for place in Place::ALL {
            match self.ask(|form| form.with_member(place, name, raw)).await {
                Ok(Answer::Served(reply)) if reply.contains(name) => return Ok(Some((place, reply))),
                Ok(Answer::Served(reply)) => found = found.or(Some((place, reply))),
                Ok(_) => {}
                Err(outcome) if is_no_place(&outcome) => {}
                Err(outcome) => return Err(outcome),
            }
        }
        Ok(found)
    }

    /// Whether the good message is still answered, on a connection of its own.
    pub(super) async fn is_served_anew(&mut self) -> Result<String, Outcome> {
        self.session = None;
        match self.ask(|form| Some(form.text.clone())).await? {
            Answer::Served(reply) => Ok(reply),
            other => Err(Outcome::unknown(format!("the good message afterwards: {}", other.shown()))),
        }
    }
}

const NO_PLACE: &str = "the message that the target answers has no such part to change";

fn no_place() -> Outcome {
    Outcome::unknown(NO_PLACE).settled_by("--send with a JSON object that holds {marker} in a text")
}

pub(super) fn is_no_place(outcome: &Outcome) -> bool {
    outcome.evidence.first().is_some_and(|line| line == NO_PLACE)
}

/// The connection ended as it does when the program behind it failed.
pub(super) const fn is_breakdown(answer: &Answer) -> bool {
    matches!(answer, Answer::Ended(Event::Close { code: Some(1011 | 1006), .. } | Event::Ended(End::Reset)))
}

/// `name: what became of it`.
pub(super) fn line(name: &str, answer: &Answer) -> String {
    match answer {
        Answer::Silent(others) if !others.is_empty() => {
            format!("{name}: no answer, but {}", shortened(&others.join(" ")))
        }
        answer => format!("{name}: {}", answer.shown()),
    }
}

/// The verdict over messages of which none should be taken: the taken ones first.
pub(super) fn weighed(taken: Vec<String>, refused: Vec<String>, ignored: bool) -> Outcome {
    let mut lines = taken.into_iter().chain(refused);
    let Some(first) = lines.next() else { return Outcome::unknown("nothing could be sent") };
    let is_taken = first.contains(": answered: ");
    let outcome = if is_taken { Outcome::warn(first) } else { Outcome::pass(first) };
    let outcome = outcome.and_all(lines);
    // Silence is no word of refusal: the good message was answered before and after it.
    if ignored && !is_taken { outcome.probable() } else { outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::dialect::Template;

    fn form(send: &str) -> Form {
        let template = Template::new(send, "{marker}");
        Form::of(&Message { text: template.message("1", "c", "MARK"), id: "1".into(), marker: "MARK".into(), template })
    }

    #[test]
    fn one_thing_is_changed() {
        let flat = form(r#"{"type":"echo","text":"{marker}"}"#);
        assert_eq!(
            flat.with_member(Place::Outer, "x", "NaN").as_deref(),
            Some(r#"{"x":NaN,"type":"echo","text":"MARK"}"#)
        );
        assert_eq!(flat.with_member(Place::Inner, "x", "1"), None, "the same object");
        assert_eq!(flat.with_value("[1]").as_deref(), Some(r#"{"type":"echo","text":[1]}"#));
        assert_eq!(flat.with_text(r"\u0000").as_deref(), Some(r#"{"type":"echo","text":"MARK\u0000"}"#));
        assert_eq!(flat.kind(), Some(("type".into(), "echo".into())));
        assert!(flat.is_flat() && flat.number_name().is_none());
        let counts = form(r#"{"id":7,"text":"{marker}","n": 1,"m":2}"#);
        assert_eq!(counts.number_name(), Some("n"));
        assert_eq!(counts.with_number("NaN").as_deref(), Some(r#"{"id":7,"text":"MARK","n": NaN,"m":2}"#));
        let deep = form(r#"42["message",{"type":"a","in":{"q":"{ echo(\"{marker}\") }"}}]"#);
        assert_eq!(
            deep.with_member(Place::Inner, "x", "1").as_deref(),
            Some(r#"42["message",{"type":"a","in":{"x":1,"q":"{ echo(\"MARK\") }"}}]"#)
        );
        assert_eq!(deep.with_value("1").as_deref(), Some(r#"42["message",{"type":"a","in":{"q":1}}]"#));
        assert!(!deep.is_flat());
        let bare = form(r#"42["echo","{marker}"]"#);
        assert_eq!(bare.with_member(Place::Outer, "x", "1"), None);
        assert_eq!(form("{marker}").with_text("x"), None, "no string of JSON");
    }
}
