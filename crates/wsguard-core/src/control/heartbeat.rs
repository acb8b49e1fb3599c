//! Pings, dead peers, and the deadlines of a connection.
//!
//! Attack: sockets that cost memory and do nothing (CWE-772): peers that vanished without a FIN, clients that never
//! authenticate, messages that never end (slow frames). Any byte of a peer is a sign of life; the server asks for one
//! when there was none.
//!
//! # Specification
//! RFC 6455 section 5.5.2; OWASP WebSocket Security Cheat Sheet (heartbeat, idle time-out)

use crate::time::{Millis, Tick};

/// Lengths of the heartbeat and of the deadlines around it.
#[derive(Clone, Debug)]
pub struct HeartbeatPolicy {
    /// Time without a sign of life after which a ping is sent. 25 s: below the 30 to 60 s after which proxies cut idle
    /// connections.
    pub interval: Millis,
    /// Time that a peer has for its answer, then 4408.
    pub timeout: Millis,
    /// Time for the first message where the handshake brought no credential, then 4408.
    pub first_message: Millis,
    /// Time from the first byte of a message to its last, then 1008.
    pub message: Millis,
    /// Time that a peer may leave unread what was sent to it, then 1013.
    pub stall: Millis,
}

impl Default for HeartbeatPolicy {
    fn default() -> Self {
        Self {
            interval: Millis::from_secs(25),
            timeout: Millis::from_secs(10),
            first_message: Millis::from_secs(5),
            message: Millis::from_secs(15),
            stall: Millis::from_secs(10),
        }
    }
}

/// The heartbeat of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    seen: Tick,
    /// When the ping was sent that waits for an answer; [`Tick::NEVER`]: none does.
    asked: Tick,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing before the given time.
    Quiet(Tick),
    /// A ping, now.
    Ping,
    /// The peer did not answer.
    Dead,
}

impl Heartbeat {
    /// A peer that was alive at `now`.
    pub fn new(now: Tick) -> Self {
        Self { seen: now, asked: Tick::NEVER }
    }

    /// The peer sent something. Returns the time since the ping that waited for it, if one did.
    pub fn seen(&mut self, now: Tick) -> Option<Millis> {
        self.seen = self.seen.max(now);
        let asked = std::mem::replace(&mut self.asked, Tick::NEVER);
        (asked != Tick::NEVER).then(|| now.since(asked))
    }

    /// The time at which [`Heartbeat::beat`] has something to say.
    pub fn deadline(&self, policy: &HeartbeatPolicy) -> Tick {
        match self.asked {
            Tick::NEVER => self.seen.after(policy.interval),
            asked => asked.after(policy.timeout),
        }
    }

    /// What is due at `now`. A ping counts as sent.
    pub fn beat(&mut self, policy: &HeartbeatPolicy, now: Tick) -> Beat {
        let due = self.deadline(policy);
        if now < due {
            return Beat::Quiet(due);
        }
        if self.asked != Tick::NEVER {
            return Beat::Dead;
        }
        self.asked = now;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_asked_and_then_dead() {
        let policy = HeartbeatPolicy::default();
        let mut heart = Heartbeat::new(Tick(0));
        assert_eq!(heart.beat(&policy, Tick(24_999)), Beat::Quiet(Tick(25_000)));
        assert_eq!(heart.beat(&policy, Tick(25_000)), Beat::Ping);
        assert_eq!(heart.beat(&policy, Tick(25_001)), Beat::Quiet(Tick(35_000)), "asked once");
        assert_eq!(heart.beat(&policy, Tick(35_000)), Beat::Dead);
        assert_eq!(heart.seen(Tick(34_000)), Some(Millis(9_000)));
        assert_eq!(heart.beat(&policy, Tick(35_000)), Beat::Quiet(Tick(59_000)), "any byte is a sign of life");
    }
}
