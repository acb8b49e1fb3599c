//! The part of the application that takes its time: a loop behind a [`GuardedSocket`], which keeps messages and answers
//! them later, whatever became of the connection meanwhile.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use wsguard::{GuardedSocket, Incoming};
use wsguard_protocol::ErrorCode;

use crate::trace::{Event, Tag};
use crate::world::World;

/// The type whose messages are answered after a while.
pub const LATER: &str = "later";

/// The type whose messages are not answered for as long as their session lives.
pub const NEVER: &str = "never";

/// What the operator is told of a message that is refused later.
pub const REFUSED_LATER: &str = "application_says_no_later";

/// Messages that one desk keeps. The oldest is refused for one too many.
const KEPT_MAX: usize = 32;

/// Longer than a world.
const NOT_AT_ALL: Duration = Duration::from_hours(1);

/// What is to become of a message.
#[derive(Clone, Copy)]
enum Answer {
    Ack,
    Refuse,
    /// It is dropped without a word, for which the guard has an answer.
    Drop,
}

struct Kept {
    due: Instant,
    tag: Tag,
    answer: Answer,
    incoming: Incoming<Value>,
}

impl Kept {
    fn new(world: &World, mut incoming: Incoming<Value>) -> Option<Self> {
        let message = incoming.message.take();
        let tag = message["payload"]["text"].as_str().and_then(Tag::of)?;
        let mut rng = world.rng("desk", u64::from(tag.peer) << 32 | u64::from(tag.message));
        let answer = match rng.below(10) {
            0..=5 => Answer::Ack,
            6..=8 => Answer::Refuse,
            _ => Answer::Drop,
        };
        // Some while their connection is still the one that they came with, some behind a reconnect.
        let after = if rng.chance(60) { rng.range(10, 600) } else { rng.range(600, 8_000) };
        let after = if message["type"] == NEVER { NOT_AT_ALL } else { Duration::from_millis(after) };
        Some(Self { due: Instant::now() + after, tag, answer, incoming })
    }

    fn settle(self, world: &World) {
        let Self { tag, answer, incoming, .. } = self;
        let (acked, in_words) = (matches!(answer, Answer::Ack), !matches!(answer, Answer::Drop));
        world.tell(Event::Settled { tag, acked, in_words });
        match answer {
            Answer::Ack => incoming.ack(),
            Answer::Refuse => incoming.refuse(ErrorCode::Forbidden, REFUSED_LATER),
            Answer::Drop => drop(incoming),
        }
    }
}

/// Keeps what comes and answers what is due, until the session is over.
pub async fn sit(world: Arc<World>, mut socket: GuardedSocket<Value, Value>) {
    let mut kept: Vec<Kept> = Vec::new();
    loop {
        let due = kept.iter().map(|kept| kept.due).min().unwrap_or_else(|| Instant::now() + NOT_AT_ALL);
        match timeout_at(due, socket.recv()).await {
            Ok(None) => return,
            Ok(Some(incoming)) => {
                if kept.len() >= KEPT_MAX {
                    let oldest = kept.remove(0);
                    Kept { answer: Answer::Refuse, ..oldest }.settle(&world);
                }
                kept.extend(Kept::new(&world, incoming));
            }
            Err(_) => {
                let now = Instant::now();
                for due in kept.extract_if(.., |kept| kept.due <= now) {
                    due.settle(&world);
                }
            }
        }
    }
}
