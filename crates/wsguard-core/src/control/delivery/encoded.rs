//! An application frame that many receive.

use std::fmt;
use std::sync::Arc;

use crate::guard::write_tail;

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
        Self::write(None, kind, payload.len(), |out| out.extend_from_slice(payload.as_bytes()))
    }

    /// As [`Encoded::new`], for the members of `room`: a member that loses the room is not sent it again after a resume.
    pub fn in_room(room: &str, kind: &str, payload: &str) -> Self {
        Self::write(Some(room), kind, payload.len(), |out| out.extend_from_slice(payload.as_bytes()))
    }

    /// Encodes a message whose payload, JSON text of about `expected` bytes, `write` appends where it is to stand.
    pub fn write(room: Option<&str>, kind: &str, expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut tail = Vec::with_capacity(expected.saturating_add(kind.len()).saturating_add(32));
        write_tail(kind, &mut tail, write);
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
