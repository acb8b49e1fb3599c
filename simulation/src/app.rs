//! The application behind the guard of a world: a room, an echo, a desk where things take their time ([`desk`]), and what
//! an application does wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wsguard::{Encoded, Guard, Handled, Handler, Outbox, Peer};
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::Message;
use wsguard_protocol::ErrorCode;

use crate::desk;
use crate::heap::outside;
use crate::trace::{Event, Tag};
use crate::world::World;

/// What the operator is told of a message that is refused at once.
pub const REFUSED: &str = "application_says_no";

/// What the application panics with when it is told to.
pub const BOOM: &str = "the application of a world fails";

/// Everybody who is there.
#[derive(Default)]
pub struct Room {
    members: Mutex<BTreeMap<SessionId, Outbox>>,
}

/// The application of one connection, and of those after it that go on with its session.
pub struct App {
    world: Arc<World>,
    generation: u32,
    room: Arc<Room>,
    desk: Box<dyn Handler>,
}

impl App {
    /// The application of a new connection.
    pub fn new(world: Arc<World>, guard: &Guard, generation: u32, room: Arc<Room>) -> Self {
        let clerk = Arc::clone(&world);
        let desk = Box::new(wsguard::simulation::to_socket(guard, move |socket| desk::sit(clerk, socket)));
        Self { world, generation, room, desk }
    }

    /// Which server it is of.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    fn told(&self, session: SessionId, text: &str, alone: bool) {
        outside(|| {
            if let Some(tag) = Tag::of(text) {
                let session = session.to_string();
                self.world.tell(Event::Told { generation: self.generation, session, tag, alone });
            }
        });
    }
}

impl Handler for App {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.desk.opened(peer);
        if let Some(session) = peer.session() {
            let mut members = self.room.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.insert(session, peer.outbox().clone());
        }
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        let (session, identity) = (peer.session(), peer.identity().cloned());
        let text = outside(|| {
            let payload: serde_json::Value = serde_json::from_str(message.payload).unwrap_or_default();
            let text = payload["text"].as_str().unwrap_or_default().to_owned();
            let claims = identity.as_ref().map(|identity| &identity.claims);
            self.world.tell(Event::Handled {
                generation: self.generation,
                session: session.map(|session| session.to_string()).unwrap_or_default(),
                subject: claims.map(|claims| claims.subject.to_string()).unwrap_or_default(),
                token: claims.and_then(|claims| claims.id.as_deref()?.strip_prefix('t')?.parse().ok()),
                kind: message.kind.to_owned(),
                id: message.id.map(str::to_owned),
                text: text.clone(),
                unix: wsguard::now().unix.0,
            });
            text
        });
        let Some(session) = session else {
            return Handled::Refused(ErrorCode::Internal, "no_session");
        };
        let handled = match message.kind {
            "say" => {
                let frame = Encoded::new("said", message.payload);
                let mut members = self.room.members.lock().unwrap_or_else(PoisonError::into_inner);
                members.retain(|session, outbox| {
                    let sent = outbox.send(&frame).is_ok();
                    if sent {
                        self.told(*session, &text, false);
                    }
                    sent
                });
                Handled::Done
            }
            "echo" => {
                peer.send("echoed", message.payload);
                self.told(session, &text, true);
                Handled::Done
            }
            "nope" => Handled::Refused(ErrorCode::Forbidden, REFUSED),
            desk::LATER | desk::NEVER => self.desk.message(message, peer),
            "boom" => std::panic::panic_any(BOOM),
            _ => Handled::Done,
        };
        outside(|| {
            if let (Handled::Refused(..), Some(tag)) = (handled, Tag::of(&text)) {
                self.world.tell(Event::Settled { tag, acked: false, in_words: true });
            }
            drop(text);
        });
        handled
    }
}
