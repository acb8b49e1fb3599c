//! Application frames behind their number: how those of one type begin, and one that many receive.

use std::fmt;
use std::sync::Arc;

use crate::json;

/// How application messages of one type begin: the type, and what every payload begins with. Encoded once, for many
/// messages that go on differently.
#[derive(Clone, Debug, Default)]
pub struct Opening(Box<[u8]>);

impl Opening {
    /// Messages of type `kind` whose payloads are JSON texts that begin with `payload`.
    pub fn new(kind: &str, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref();
        let mut opening = Vec::with_capacity(kind.len().saturating_add(payload.len()).saturating_add(24));
        opening.extend_from_slice(br#","type":"#);
        json::write_string(kind, &mut opening);
        opening.extend_from_slice(br#","payload":"#);
        opening.extend_from_slice(payload);
        Self(opening.into_boxed_slice())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What stands behind the payload of an application frame.
pub(crate) const CLOSING: &[u8] = b"}";

/// An application message, encoded once for all its receivers, their queues and their replay buffers: a clone is one
/// more reference.
#[derive(Clone)]
pub struct Encoded(Arc<Parts>);

struct Parts {
    tail: Vec<u8>,
    room: Option<Box<str>>,
}

impl Encoded {
    /// Encodes a message of type `kind` whose payload is the JSON text `payload`.
    pub fn new(kind: &str, payload: &str) -> Self {
        Self::of_parts(None, &Opening::new(kind, payload), &[])
    }

    /// As [`Encoded::new`], for the members of `room`: a member that loses the room is not sent it again after a resume.
    pub fn in_room(room: &str, kind: &str, payload: &str) -> Self {
        Self::of_parts(Some(room), &Opening::new(kind, payload), &[])
    }

    /// Encodes a message that begins with `opening` and whose payload goes on with `parts`, which with the opening's are one
    /// JSON text. For the members of `room`, where there is one.
    pub fn of_parts(room: Option<&str>, opening: &Opening, parts: &[&[u8]]) -> Self {
        let expected = parts.iter().fold(opening.0.len(), |sum, part| sum.saturating_add(part.len()));
        let mut tail = Vec::with_capacity(expected.saturating_add(CLOSING.len()));
        tail.extend_from_slice(&opening.0);
        for part in parts {
            tail.extend_from_slice(part);
        }
        tail.extend_from_slice(CLOSING);
        Self(Arc::new(Parts { tail, room: room.map(Into::into) }))
    }

    /// The frame after its number: everything that is the same for all receivers.
    pub fn tail(&self) -> &[u8] {
        &self.0.tail
    }

    /// The room it was for.
    pub fn room(&self) -> Option<&str> {
        self.0.room.as_deref()
    }
}

impl fmt::Debug for Encoded {
    /// Writes the size, never the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("bytes", &self.0.tail.len()).field("room", &self.0.room).finish()
    }
}
