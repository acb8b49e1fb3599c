//! An open WebSocket: frames of any kind out, events in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::budget::Spent;
use super::deflate::Inflate;
use super::frame::{Frame, Opcode, take};
use super::link::{End, Fill, Link, Offered};
use super::response::Response;

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The target began to close, or answered our close.
    Close {
        code: Option<u16>,
        reason: String,
    },
    /// The connection is gone.
    Ended(End),
    /// Nothing came in time.
    Quiet,
    /// The target broke RFC 6455 itself.
    Broken(String),
}

impl Event {
    /// The connection does not live on.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Close { .. } | Self::Ended(_) | Self::Broken(_))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text {}", super::shortened(text)),
            Self::Binary(bytes) => write!(f, "binary, {} bytes", bytes.len()),
            Self::Ping(bytes) => write!(f, "ping, {} bytes", bytes.len()),
            Self::Pong(bytes) => write!(f, "pong, {} bytes", bytes.len()),
            Self::Close { code: Some(code), reason } if reason.is_empty() => write!(f, "close {code}"),
            Self::Close { code: Some(code), reason } => write!(f, "close {code} {:?}", super::shortened(reason)),
            Self::Close { code: None, .. } => f.write_str("close without a code"),
            Self::Ended(end) => end.fmt(f),
            Self::Quiet => f.write_str("nothing"),
            Self::Broken(how) => write!(f, "a frame that RFC 6455 forbids: {how}"),
        }
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) link: Link,
    shared: Arc<Shared>,
    /// Whose check it belongs to.
    check: &'static str,
    /// The answer to the handshake.
    pub(crate) head: Response,
    /// Pings are answered by themselves.
    pub(crate) answers_pings: bool,
    /// Pings that came.
    pub(crate) pings: u32,
    /// When it was opened.
    pub(crate) opened_at: Instant,
    /// The message that is being put together: its kind, whether it is compressed, and what came of it.
    assembling: Option<(Opcode, bool, Vec<u8>)>,
    /// Where permessage-deflate was agreed on.
    inflate: Option<Inflate>,
}

impl Socket {
    pub(crate) fn new(link: Link, head: Response, shared: Arc<Shared>, check: &'static str) -> Self {
        let opened_at = Instant::now();
        let is_compressed =
            head.value("Sec-WebSocket-Extensions").is_some_and(|chosen| chosen.contains("permessage-deflate"));
        let inflate = is_compressed.then(Inflate::new);
        Self { link, shared, check, head, answers_pings: true, pings: 0, opened_at, assembling: None, inflate }
    }

    /// It belongs to another check from now on.
    pub(crate) fn hand_to(&mut self, check: &'static str) {
        self.check = check;
    }

    /// What all checks of the run share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The subprotocol that the target chose.
    pub(crate) fn subprotocol(&self) -> Option<&str> {
        self.head.value("Sec-WebSocket-Protocol")
    }

    /// Sends one frame. That the connection is gone shows in the next event.
    pub(crate) async fn send(&mut self, frame: &Frame) -> Result<(), Spent> {
        let bytes = frame.encode();
        let is_message = frame.fin && !frame.opcode.is_control();
        self.shared.budget.send(u64::from(is_message), 1, bytes.len() as u64)?;
        self.write(&bytes).await;
        Ok(())
    }

    /// Sends frames in one write.
    pub(crate) async fn send_all(&mut self, frames: &[Frame]) -> Result<(), Spent> {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let messages = frames.iter().filter(|frame| frame.fin && !frame.opcode.is_control()).count();
        self.shared.budget.send(messages as u64, frames.len() as u64, bytes.len() as u64)?;
        self.write(&bytes).await;
        Ok(())
    }

    /// Sends bytes that need not be frames.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Spent> {
        self.shared.budget.send(0, 1, bytes.len() as u64)?;
        self.write(bytes).await;
        Ok(())
    }

    /// Sends bytes as far as the target takes them within so many seconds. Those it does not take are booked as well.
    pub(crate) async fn offer(&mut self, bytes: &[u8], seconds: f64) -> Result<Offered, Spent> {
        self.shared.budget.send(1, 1, bytes.len() as u64)?;
        let deadline = self.shared.patience(seconds);
        Ok(self.link.offer(bytes, deadline).await)
    }

    /// Sends a text.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), Spent> {
        self.send(&Frame::text(text)).await
    }

    async fn write(&mut self, bytes: &[u8]) {
        let deadline = self.shared.patience(10.0);
        let _ = self.link.write(bytes, deadline).await;
    }

    /// The next event, waited for until so many seconds of the catalogue have passed.
    pub(crate) async fn next(&mut self, seconds: f64) -> Event {
        let deadline = self.shared.later(self.shared.pace.seconds(seconds));
        self.next_until(deadline).await
    }

    /// The next event, waited for until `deadline`.
    pub(crate) async fn next_until(&mut self, deadline: Instant) -> Event {
        loop {
            match take(&mut self.link.buffer) {
                Err(error) => return Event::Broken(error.to_string()),
                Ok(Some(frame)) => {
                    if frame.masked {
                        return Event::Broken("masked".into());
                    }
                    if let Some(event) = self.frame(frame.fin, frame.reserved, frame.opcode, frame.payload).await {
                        self.note(&event);
                        return event;
                    }
                }
                Ok(None) => match self.link.fill(deadline).await {
                    Fill::Bytes(_) => {}
                    Fill::Quiet => return Event::Quiet,
                    Fill::Ended(end) => return Event::Ended(end),
                },
            }
        }
    }

    async fn frame(&mut self, fin: bool, reserved: u8, opcode: Opcode, payload: Vec<u8>) -> Option<Event> {
        // RSV1 is legal where permessage-deflate was negotiated.
        let compressed = reserved == 4 && self.head.value("Sec-WebSocket-Extensions").is_some();
        if reserved != 0 && !compressed {
            return Some(Event::Broken(format!("reserved bits {reserved:03b}")));
        }
        match opcode {
            Opcode::PING => {
                self.pings = self.pings.saturating_add(1);
                if self.answers_pings {
                    let pong = Frame::new(Opcode::PONG, payload.clone()).encode();
                    self.write(&pong).await;
                }
                Some(Event::Ping(payload))
            }
            Opcode::PONG => Some(Event::Pong(payload)),
            Opcode::CLOSE => {
                let code = payload.first_chunk::<2>().map(|two| u16::from_be_bytes(*two));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                Some(Event::Close { code, reason })
            }
            Opcode::TEXT | Opcode::BINARY if fin => Some(self.whole(opcode, compressed, payload)),
            Opcode::TEXT | Opcode::BINARY => {
                self.assembling = Some((opcode, compressed, payload));
                None
            }
            Opcode::CONTINUATION => {
                let Some((kind, compressed, mut held)) = self.assembling.take() else {
                    return Some(Event::Broken("a continuation of nothing".into()));
                };
                held.extend_from_slice(&payload);
                if fin {
                    Some(self.whole(kind, compressed, held))
                } else {
                    self.assembling = Some((kind, compressed, held));
                    None
                }
            }
            Opcode(other) => Some(Event::Broken(format!("opcode {other}"))),
        }
    }

    /// Keeps a message that was read out of a binary one.
    pub(crate) fn heard(&self, text: &str) {
        self.shared.heard(self.check, "message", text);
    }

    fn whole(&mut self, kind: Opcode, compressed: bool, payload: Vec<u8>) -> Event {
        let payload = match &mut self.inflate {
            Some(inflate) if compressed => match inflate.message(&payload) {
                Some(payload) => payload,
                None => return Event::Broken("a compressed message that is none, or too large".into()),
            },
            _ if compressed => return Event::Binary(payload),
            _ => payload,
        };
        if kind == Opcode::TEXT {
            Event::Text(String::from_utf8_lossy(&payload).into_owned())
        } else {
            Event::Binary(payload)
        }
    }

    /// What the reports' passive checks look at, and what makes the audit pause.
    fn note(&self, event: &Event) {
        match event {
            Event::Text(text) => self.shared.heard(self.check, "message", text),
            Event::Close { code, reason } => {
                self.shared.heard(self.check, "close reason", reason);
                if matches!(code, Some(4429 | 1013)) {
                    self.shared.budget.limited(&event.to_string(), None);
                }
            }
            _ => {}
        }
    }

    /// Reads until the connection closes or so many seconds passed. Returns the end, or `Quiet`.
    pub(crate) async fn until_end(&mut self, seconds: f64) -> Event {
        let deadline = self.shared.later(self.shared.pace.seconds(seconds));
        loop {
            let event = self.next_until(deadline).await;
            if event.is_end() || event == Event::Quiet {
                return event;
            }
        }
    }

    /// How long it has been open, in seconds of the catalogue.
    pub(crate) fn age(&self) -> f64 {
        self.shared.pace.in_seconds(self.opened_at.elapsed())
    }

    /// Closes in order, without waiting long for the answer.
    pub(crate) async fn close(mut self) {
        self.write(&Frame::close(1000, "").encode()).await;
        let _ = self.link.fill(self.shared.later(Duration::from_millis(50))).await;
    }
}
