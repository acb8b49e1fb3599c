//! Messages of the application, in both directions.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wsguard_protocol::frames::CLIENT_FRAMES;
use wsguard_protocol::{ErrorCode, limits};

use crate::error::Error;

/// An `id`: what the sender of a message called it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number; this client's own ids are numbers from 1.
    Number(u64),
    /// A string.
    Text(String),
}

/// A message of the application, as the server sent it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The message type.
    pub kind: String,
    /// The id of the message that this one answers, where the application says so.
    pub id: Option<Id>,
    /// Counts the application's messages of the session, from 1.
    pub seq: Option<u64>,
    payload: Box<RawValue>,
}

impl Message {
    pub(crate) fn new(kind: String, id: Option<Id>, seq: Option<u64>, payload: Box<RawValue>) -> Self {
        Self { kind, id, seq, payload }
    }

    /// The payload as JSON; `null` where there was none.
    pub fn payload_json(&self) -> &str {
        self.payload.get()
    }

    /// The payload as a type of the application.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, DecodeError> {
        serde_json::from_str(self.payload.get()).map_err(|source| DecodeError { kind: self.kind.clone(), source })
    }

    /// Type and payload as a type of the application, usually an enum with `#[serde(tag = "type", content = "payload")]`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            payload: &'a RawValue,
        }
        serde_json::to_string(&Whole { kind: &self.kind, payload: &self.payload })
            .and_then(|text| serde_json::from_str(&text))
            .map_err(|source| DecodeError { kind: self.kind.clone(), source })
    }

    /// What it counts for in the limits of received messages, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.kind.len().saturating_add(self.payload.get().len())
    }
}

/// A message that is not of the type that the application expects.
#[derive(Debug)]
pub struct DecodeError {
    kind: String,
    source: serde_json::Error,
}

impl DecodeError {
    /// The message type.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not read a message {:?}: {}", self.kind, self.source)
    }
}

impl std::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The server has handled the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The id that the message had on the wire.
    pub id: u64,
}

/// A message of the application on its way to the server: `{"type", "payload"?}`, written down at once.
#[derive(Debug)]
pub(crate) struct Outgoing {
    kind: String,
    payload: Option<Box<RawValue>>,
}

impl Outgoing {
    /// Writes `message` down.
    ///
    /// # Errors
    /// `invalid_message` where it is not an object with a `type` of 1 to 64 bytes that is not the protocol's, and at most
    /// a `payload` beside.
    pub(crate) fn new<T: Serialize + ?Sized>(message: &T) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(default)]
            payload: Option<Box<RawValue>>,
        }
        let invalid = |message: &'static str| Error::server(ErrorCode::InvalidMessage, message);
        let text = serde_json::to_string(message).map_err(|source| {
            invalid("the message cannot be written as JSON").with_source(std::sync::Arc::new(source))
        })?;
        let Whole { kind, payload } = serde_json::from_str(&text)
            .map_err(|_| invalid("the message must be an object with a type and at most a payload"))?;
        if kind.is_empty() || kind.len() > limits::TYPE_BYTES_MAX {
            return Err(invalid("the type must have 1 to 64 bytes"));
        }
        if CLIENT_FRAMES.iter().any(|frame| frame.kind == kind) {
            return Err(invalid("the type belongs to the protocol"));
        }
        Ok(Self { kind: kind.into_owned(), payload })
    }

    /// The message as JSON with its id (one that is to be acknowledged), without its CSRF token: that is added when the message is written.
    pub(crate) fn body(&self, id: Option<u64>) -> Result<Box<str>, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload: Option<&'a RawValue>,
        }
        let invalid = |_| Error::server(ErrorCode::InvalidMessage, "the message cannot be written as JSON");
        let body = serde_json::to_string(&Body { kind: &self.kind, id, payload: self.payload.as_deref() });
        let body = body.map_err(invalid)?;
        match serde_json::from_str::<Harmless>(&body) {
            Ok(Harmless) => Ok(body.into_boxed_str()),
            Err(error) if error.is_data() => {
                Err(Error::server(ErrorCode::UnsafeContent, "control characters or a key __proto__"))
            }
            Err(error) => Err(invalid(error)),
        }
    }
}

/// JSON without what a server refuses while it scans, before it knows the message's `id`: such a refusal could not be
/// told to whoever sent it. Control characters except TAB, LF, FF and CR, and the key `__proto__`.
struct Harmless;

impl<'de> Deserialize<'de> for Harmless {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HarmlessVisitor)
    }
}

#[derive(Clone, Copy)]
struct HarmlessVisitor;

impl<'de> Visitor<'de> for HarmlessVisitor {
    type Value = Harmless;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("harmless JSON")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Harmless, E> {
        let harmful = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\x0c' | '\r');
        if text.contains(harmful) { Err(E::custom("a control character")) } else { Ok(Harmless) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Harmless, A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "__proto__" {
                return Err(de::Error::custom("the key __proto__"));
            }
            self.visit_str::<A::Error>(&key)?;
            map.next_value::<Harmless>()?;
        }
        Ok(Harmless)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Harmless, A::Error> {
        while seq.next_element::<Harmless>()?.is_some() {}
        Ok(Harmless)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Harmless, E> {
        Ok(Harmless)
    }

    fn visit_unit<E>(self) -> Result<Harmless, E> {
        Ok(Harmless)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_messages_of_the_application_are_taken() {
        let long = "x".repeat(65);
        for (name, message, want) in [
            ("with a payload", json!({"type": "chat", "payload": {"message": "hi"}}), true),
            ("without", json!({"type": "chat"}), true),
            ("a payload of null", json!({"type": "chat", "payload": null}), true),
            ("no type", json!({"payload": 1}), false),
            ("empty type", json!({"type": ""}), false),
            ("long type", json!({"type": long}), false),
            ("a number as type", json!({"type": 1}), false),
            ("an id of its own", json!({"type": "chat", "id": 1}), false),
            ("a CSRF token of its own", json!({"type": "chat", "csrfToken": "x"}), false),
            ("no object", json!("chat"), false),
            ("auth", json!({"type": "auth"}), false),
            ("auth.refresh", json!({"type": "auth.refresh"}), false),
            ("ping", json!({"type": "ping"}), false),
            ("ack", json!({"type": "ack"}), false),
        ] {
            match Outgoing::new(&message) {
                Ok(_) => assert!(want, "{name}"),
                Err(error) => {
                    assert!(!want, "{name}: {error}");
                    assert_eq!(error.code().as_str(), "invalid_message", "{name}");
                }
            }
        }
    }

    #[test]
    fn the_body_has_its_id_and_the_payload_unchanged() {
        let outgoing = Outgoing::new(&json!({"payload": {"b": 1.50, "a": "<é>"}, "type": "echo"})).unwrap();
        let body = outgoing.body(Some(7)).unwrap();
        assert!(body.starts_with(r#"{"type":"echo","id":7,"payload":{"#), "{body}");
        assert!(body.contains("<é>"), "{body}");
        assert_eq!(&*Outgoing::new(&json!({"type": "echo"})).unwrap().body(None).unwrap(), r#"{"type":"echo"}"#);
    }

    #[test]
    fn messages_decode_to_an_enum() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
        enum FromServer {
            Chat { message: String },
            Bye,
        }
        let message = |kind: &str, payload: &str| {
            Message::new(kind.into(), None, Some(1), RawValue::from_string(payload.into()).unwrap())
        };
        let chat = message("chat", r#"{"message":"hi"}"#);
        assert_eq!(chat.decode::<FromServer>().unwrap(), FromServer::Chat { message: "hi".into() });
        assert_eq!(message("bye", "null").decode::<FromServer>().unwrap(), FromServer::Bye);
        let error = message("other", "{}").decode::<FromServer>().unwrap_err();
        assert_eq!(error.kind(), "other");
        assert_eq!(chat.payload::<serde_json::Value>().unwrap(), json!({"message": "hi"}));
    }
}
