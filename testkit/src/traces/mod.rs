//! Peers as the guard would see them, in virtual time: what honest ones do and what hostile ones do.
//!
//! Every character is written from what such a client does, not from what a detector looks for: nothing here knows the
//! detector, and the detector knows none of these numbers. The same character, seed and length give the same trace.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a generator of tests: its own numbers, far from any limit"
)]

mod benign;
mod hostile;
mod random;

pub use random::Random;

/// What the guard sees at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A credential was refused; nobody is known.
    CredentialRefused,
    /// A verified subject begins a session.
    Connect {
        /// Who, as a number.
        subject: u32,
        /// The role in its token.
        role: &'static str,
    },
    /// A message passed every control and the application took it.
    Passed {
        /// Its type.
        kind: &'static str,
        /// Its length in bytes.
        bytes: u32,
        /// The same number for the same payload.
        payload: u64,
    },
    /// A message with an `id` that was handled before: acknowledged again.
    Duplicate {
        /// Its length in bytes.
        bytes: u32,
    },
    /// A message was refused, by a control or by the application.
    Refused {
        /// Its length in bytes.
        bytes: u32,
    },
    /// A frame for the peer.
    Sent {
        /// Its length in bytes.
        bytes: u32,
    },
    /// The connection is over.
    Gone,
}

/// One event of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Virtual time in milliseconds.
    pub at: u64,
    /// Which connection of the trace.
    pub connection: u32,
    /// The wide address prefix it comes from, as a number.
    pub prefix: u32,
    /// What happened.
    pub what: What,
}

/// A trace and when its attack begins.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// What happened, in order of time.
    pub events: Vec<Event>,
    /// When the hostile part begins; 0 for most.
    pub attack_at: u64,
}

/// A kind of peer.
#[derive(Clone, Copy)]
pub struct Character {
    /// The name in the report.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub does: &'static str,
    /// Whether it means harm.
    pub hostile: bool,
    play: fn(&mut Scene),
}

impl std::fmt::Debug for Character {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The message types of all the applications in the traces.
pub const KINDS: [&str; 20] = [
    "join",
    "leave",
    "chat",
    "typing",
    "history",
    "profile",
    "reading",
    "status",
    "order",
    "cancel",
    "subscribe",
    "input",
    "lobby",
    "edit",
    "cursor",
    "paste",
    "row",
    "batch",
    "redeem",
    "presence",
];

/// Every character.
pub fn characters() -> Vec<Character> {
    benign::ALL.iter().chain(hostile::ALL).copied().collect()
}

impl Character {
    /// What this peer does within `length` ms, from `seed`.
    pub fn trace(&self, seed: u64, length: u64) -> Trace {
        let mut scene = Scene { random: Random::new(seed), length, ..Scene::new() };
        (self.play)(&mut scene);
        let mut events = scene.events;
        events.retain(|event| event.at <= length);
        events.sort_by_key(|event| event.at);
        Trace { events, attack_at: scene.attack_at }
    }
}

/// A trace under way: its connections and its randomness.
pub(crate) struct Scene {
    random: Random,
    length: u64,
    events: Vec<Event>,
    attack_at: u64,
    connections: u32,
    subject: u32,
}

/// One connection of a scene with a time of its own.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    connection: u32,
    prefix: u32,
    at: u64,
}

impl Scene {
    fn new() -> Self {
        Self { random: Random::new(0), length: 0, events: Vec::new(), attack_at: 0, connections: 0, subject: 0 }
    }

    fn push(&mut self, wire: &Wire, what: What) {
        self.events.push(Event { at: wire.at, connection: wire.connection, prefix: wire.prefix, what });
    }

    /// A session of a subject of this scene, begun at `at`.
    fn connect(&mut self, at: u64, prefix: u32, role: &'static str) -> Wire {
        self.connections += 1;
        let wire = Wire { connection: self.connections, prefix, at };
        self.push(&wire, What::Connect { subject: self.subject, role });
        wire
    }

    /// A message that passes, so many ms after the last event of `wire`.
    fn say(&mut self, wire: &mut Wire, after: u64, kind: &'static str, bytes: u32, payload: u64) {
        wire.at += after;
        self.push(wire, What::Passed { kind, bytes, payload });
    }

    /// A message that passes with a payload of its own.
    fn say_new(&mut self, wire: &mut Wire, after: u64, kind: &'static str, bytes: u32) {
        let payload = self.random.next();
        self.say(wire, after, kind, bytes, payload);
    }

    fn refused(&mut self, wire: &mut Wire, after: u64, bytes: u32) {
        wire.at += after;
        self.push(wire, What::Refused { bytes });
    }

    /// A frame for the peer, so many ms after its last event; its own time does not move.
    fn hear(&mut self, wire: &Wire, after: u64, bytes: u32) {
        let later = Wire { at: wire.at + after, ..*wire };
        self.push(&later, What::Sent { bytes });
    }

    fn gone(&mut self, wire: &Wire) {
        self.push(wire, What::Gone);
    }

    /// What others say in a room, for the whole of `from..to`.
    fn overhear(&mut self, wire: &Wire, from: u64, to: u64, every: f64, bytes: f64) {
        let mut at = from as f64;
        loop {
            at += self.random.exponential(every);
            if at >= to as f64 {
                return;
            }
            let length = self.random.lognormal(bytes, 0.5) as u32;
            let heard = Wire { at: at as u64, ..*wire };
            self.push(&heard, What::Sent { bytes: length });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
        for character in characters() {
            let trace = character.trace(1, 600_000);
            assert_eq!(trace.events, character.trace(1, 600_000).events, "{character:?}");
            assert_ne!(trace.events, character.trace(2, 600_000).events, "{character:?}");
            assert!(trace.events.is_sorted_by_key(|event| event.at), "{character:?}");
        }
    }

    #[test]
    fn there_are_as_many_characters_as_promised_and_each_does_something() {
        let all = characters();
        assert!(all.iter().filter(|character| !character.hostile).count() >= 8);
        assert!(all.iter().filter(|character| character.hostile).count() >= 10);
        for character in all {
            let trace = character.trace(3, 3_600_000);
            let connects = trace.events.iter().any(|event| matches!(event.what, What::Connect { .. }));
            let says = trace.events.iter().any(|event| !matches!(event.what, What::Connect { .. } | What::Sent { .. }));
            assert!(connects && says, "{character:?}");
            for event in &trace.events {
                if let What::Passed { kind, .. } = event.what {
                    assert!(KINDS.contains(&kind), "{kind}");
                }
            }
        }
    }
}
