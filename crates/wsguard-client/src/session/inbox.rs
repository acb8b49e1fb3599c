//! What waits for the application to take it.

use std::collections::VecDeque;

use crate::event::Event;

/// Events in their order, bounded in count and bytes.
///
/// While it is full, the driver does not read from the socket, so the server is held back, not memory filled. Events
/// that no socket brings (a connection was lost) are few; beyond the limit the newest replaces the one before, so that
/// an application that reads nothing for days costs no memory.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages_max: usize,
    bytes_max: usize,
    events: VecDeque<Event>,
    bytes: usize,
    /// Nobody will read: nothing is kept.
    abandoned: bool,
    /// An event that said that messages were missed gave way to another; the next one says it.
    missed: bool,
}

impl Inbox {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages_max, bytes_max, events: VecDeque::new(), bytes: 0, abandoned: false, missed: false }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= self.messages_max || self.bytes >= self.bytes_max
    }

    pub(crate) fn push(&mut self, mut event: Event) {
        if self.abandoned {
            return;
        }
        if let Event::Opened(opened) = &mut event {
            opened.missed |= std::mem::take(&mut self.missed);
        }
        if self.is_full()
            && !matches!(event, Event::Message(_))
            && let Some(last) = self.events.back_mut()
            && !matches!(last, Event::Message(_))
        {
            self.missed |= matches!(last, Event::Opened(opened) if opened.missed);
            if let Event::Opened(opened) = &mut event {
                opened.missed |= std::mem::take(&mut self.missed);
            }
            *last = event;
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes(&event));
        self.events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes(&event));
        Some(event)
    }

    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        self.events.clear();
        self.bytes = 0;
    }
}

fn bytes(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::error::{Code, Error};
    use crate::event::Opened;
    use crate::message::Message;

    fn message(payload: &str) -> Event {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        Event::Message(Message::new("m".into(), None, None, payload))
    }

    fn opened(missed: bool) -> Event {
        Event::Opened(Opened { session: "s".into(), subject: "ann".into(), resumed: !missed, missed })
    }

    fn fault() -> Event {
        Event::Fault(Error::new(Code::Protocol, "x"))
    }

    #[test]
    fn it_is_full_by_count_or_by_bytes() {
        let mut inbox = Inbox::new(2, 10);
        inbox.push(message("1"));
        assert!(!inbox.is_full());
        inbox.push(message("1"));
        assert!(inbox.is_full());
        inbox.pop();
        assert!(!inbox.is_full());
        inbox.push(message("12345678"));
        inbox.pop();
        assert!(!inbox.is_full(), "9 bytes");
        inbox.push(fault());
        inbox.pop();
        inbox.push(message("123456789"));
        assert!(inbox.is_full(), "10 bytes");
    }

    #[test]
    fn notices_beyond_the_limit_do_not_add_up_and_a_gap_is_not_forgotten() {
        let mut inbox = Inbox::new(2, 1_000);
        inbox.push(message("1"));
        inbox.push(message("2"));
        for _ in 0..100 {
            inbox.push(opened(true));
            inbox.push(fault());
        }
        assert_eq!(inbox.events.len(), 3);
        inbox.push(opened(false));
        assert_eq!(inbox.events.len(), 3);
        inbox.pop();
        inbox.pop();
        assert!(matches!(inbox.pop(), Some(Event::Opened(Opened { missed: true, .. }))));
        assert!(inbox.pop().is_none());
        // The gap was told: the next connection is not blamed for it.
        inbox.push(opened(false));
        assert!(matches!(inbox.pop(), Some(Event::Opened(Opened { missed: false, .. }))));
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut inbox = Inbox::new(1, 10);
        inbox.push(message("1"));
        inbox.abandon();
        inbox.push(message("2"));
        assert!(!inbox.is_full());
        assert!(inbox.pop().is_none());
    }
}
