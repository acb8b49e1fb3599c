//! Reads the envelope of a message: `type`, `id`, `csrfToken`, `payload`, and nothing else.
//!
//! Attack: members that one side ignores and the other acts on (CWE-915, CWE-436). An unknown member is an error.
//!
//! # Specification
//! docs/protocol.md section 3

use wsguard_protocol::limits::{ID_CHARS_MAX, ID_INTEGER_MAX, TYPE_BYTES_MAX};

use crate::json::{Document, Kind, NodeId, Value, key_print};

/// The envelope of a document: where its members stand.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    document: Document<'a>,
    kind: NodeId,
    id: Option<NodeId>,
    /// `csrfToken`: a string.
    pub csrf_token: Option<&'a [u8]>,
    payload: Option<NodeId>,
}

impl<'a> Envelope<'a> {
    /// `type`: a string of 1 to [`TYPE_BYTES_MAX`] bytes that needs no escapes.
    #[inline]
    pub fn kind(self) -> &'a str {
        self.document.value(self.kind).and_then(Value::as_plain_str).unwrap_or_default()
    }

    /// `id`: a string of 1 to [`ID_CHARS_MAX`] characters or an integer from 0 to [`ID_INTEGER_MAX`].
    #[inline]
    pub fn id(self) -> Option<Value<'a>> {
        self.document.value(self.id?)
    }

    pub(crate) fn payload_place(self) -> Option<NodeId> {
        self.payload
    }

    /// `payload`: anything.
    #[inline]
    pub fn payload(self) -> Option<Value<'a>> {
        self.document.value(self.payload?)
    }
}

/// What is wrong with an envelope, and the `id` to answer to if it was good.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeFault<'a> {
    /// A word for the operator.
    pub reason: &'static str,
    /// The message's `id`, where there was a good one.
    pub id: Option<Value<'a>>,
}

const TYPE: u32 = key_print(b"type");
const ID: u32 = key_print(b"id");
const CSRF_TOKEN: u32 = key_print(b"csrfToken");
const PAYLOAD: u32 = key_print(b"payload");

/// Where the members of an envelope stand in messages that are built alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    kind: NodeId,
    id: Option<NodeId>,
    csrf_token: Option<NodeId>,
    payload: Option<NodeId>,
}

impl Places {
    /// That of the type.
    pub(crate) const fn kind(&self) -> NodeId {
        self.kind
    }

    /// The places in `document`, whose envelope is good.
    pub(crate) fn of(document: Document<'_>) -> Option<Self> {
        let place = |name| document.root().get(name).map(Value::id);
        let (id, csrf_token, payload) = (place("id"), place("csrfToken"), place("payload"));
        Some(Self { kind: place("type")?, id, csrf_token, payload })
    }
}

/// Reads the envelope of a document that is built like the one that `places` are of; `None` where it is not as good. Where
/// the type `is_fixed` it is that of the other one.
#[inline(always)]
#[expect(clippy::inline_always, reason = "called from one place, which takes apart what it returns")]
pub(crate) fn read_at<'a>(document: Document<'a>, places: &Places, is_fixed: bool) -> Option<Envelope<'a>> {
    let is = |place: NodeId, good: fn(Value<'_>) -> bool| document.value(place).is_some_and(good);
    let is_good = (is_fixed || is(places.kind, kind_is_good))
        && places.id.is_none_or(|id| is(id, id_is_good))
        && places.payload.is_none_or(|payload| is(payload, |_| true));
    let csrf_token = match places.csrf_token {
        Some(token) => Some(document.value(token).and_then(Value::as_plain_bytes)?),
        None => None,
    };
    let (kind, id, payload) = (places.kind, places.id, places.payload);
    is_good.then_some(Envelope { document, kind, id, csrf_token, payload })
}

/// Reads the envelope of a document.
pub fn read(document: Document<'_>) -> Result<Envelope<'_>, EnvelopeFault<'_>> {
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err(EnvelopeFault { reason: "envelope_not_an_object", id: None });
    }
    let (mut kind, mut id, mut csrf_token, mut payload) = (None, None, None, None);
    let mut fault = None;
    for member in root.members() {
        // A key may be spelt with escapes: it is the same key, so it is compared as such. Its print only saves comparing.
        let is = |name: &str| member.key.str_eq(name);
        match member.key.print() {
            TYPE if is("type") => kind = Some(member.value),
            ID if is("id") && id_is_good(member.value) => id = Some(member.value),
            ID if is("id") => fault = Some("id_invalid"),
            CSRF_TOKEN if is("csrfToken") => match member.value.as_plain_bytes() {
                Some(token) => csrf_token = Some(token),
                None => fault = Some("csrf_token_not_a_string"),
            },
            PAYLOAD if is("payload") => payload = Some(member.value),
            _ => fault = Some("envelope_member_unknown"),
        }
    }
    if let Some(reason) = fault {
        return Err(EnvelopeFault { reason, id });
    }
    let kind = kind.filter(|kind| kind_is_good(*kind)).ok_or(EnvelopeFault { reason: "type_invalid", id })?;
    let (kind, id, payload) = (kind.id(), id.map(Value::id), payload.map(Value::id));
    Ok(Envelope { document, kind, id, csrf_token, payload })
}

#[inline]
fn kind_is_good(kind: Value<'_>) -> bool {
    kind.as_plain_bytes().is_some_and(|kind| (1..=TYPE_BYTES_MAX).contains(&kind.len()))
}

#[inline]
fn id_is_good(value: Value<'_>) -> bool {
    // A character takes at least one byte.
    if value.is_string() && (1..=ID_CHARS_MAX).contains(&value.content().len()) {
        true
    } else {
        id_is_good_by_count(value)
    }
}

#[inline(never)]
fn id_is_good_by_count(value: Value<'_>) -> bool {
    if value.is_string() {
        let mut chars = value.chars();
        let within = chars.by_ref().take(ID_CHARS_MAX).count();
        within > 0 && chars.next().is_none()
    } else {
        value.as_u64_exact().is_some_and(|number| number <= ID_INTEGER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{ScanLimits, Tape, scan};

    #[test]
    fn the_envelope_is_strict() {
        let long = format!(r#"{{"type":"a","id":"{}"}}"#, "é".repeat(65));
        let longest = format!(r#"{{"type":"a","id":"{}"}}"#, "é".repeat(64));
        for (name, text, reason) in [
            ("all members", r#"{"type":"a","id":1,"csrfToken":"t","payload":null}"#, None),
            ("any order", r#"{"payload":{},"type":"a"}"#, None),
            ("escaped key", r#"{"\u0074ype":"a"}"#, None),
            ("largest id", r#"{"type":"a","id":9007199254740991}"#, None),
            ("longest id", &longest, None),
            ("array", "[]", Some("envelope_not_an_object")),
            ("string", r#""x""#, Some("envelope_not_an_object")),
            ("no type", r#"{"payload":1}"#, Some("type_invalid")),
            ("empty type", r#"{"type":""}"#, Some("type_invalid")),
            ("type of another kind", r#"{"type":1}"#, Some("type_invalid")),
            ("unknown member", r#"{"type":"a","to":"b"}"#, Some("envelope_member_unknown")),
            ("case differs", r#"{"type":"a","ID":1}"#, Some("envelope_member_unknown")),
            ("empty id", r#"{"type":"a","id":""}"#, Some("id_invalid")),
            ("long id", &long, Some("id_invalid")),
            ("negative id", r#"{"type":"a","id":-1}"#, Some("id_invalid")),
            ("fractional id", r#"{"type":"a","id":1.0}"#, Some("id_invalid")),
            ("null id", r#"{"type":"a","id":null}"#, Some("id_invalid")),
            ("token is a number", r#"{"type":"a","csrfToken":1}"#, Some("csrf_token_not_a_string")),
        ] {
            let mut tape = Tape::new();
            let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
            assert_eq!(read(document).err().map(|fault| fault.reason), reason, "{name}");
        }
    }
}
