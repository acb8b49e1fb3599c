//! An open connection: what is due on it, and when.

use std::time::Duration;

use wsguard_protocol::Reconnect;
use wsguard_protocol::limits::CLIENT_ACK_INTERVAL_MS;

use super::{Effect, End, LEFT, Phase, Session, wire};
use crate::error::{Code, Error};
use crate::options::Pings;

/// Time between the server's pings where its welcome does not say.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(25);

/// Silence, in heartbeats of the server, after which the connection counts as lost even if no ping is sent: a server
/// that lives pings each heartbeat.
const HEARTBEATS_MISSED_MAX: u32 = 2;

/// How often to say what was received: the server passes over what comes sooner than its interval.
const ACK_INTERVAL: Duration = Duration::from_millis(CLIENT_ACK_INTERVAL_MS.saturating_add(50));

/// The timers of an open connection.
#[derive(Debug)]
pub(super) struct Live {
    /// When the connection counts as stable, until it did.
    stable_at: Option<Duration>,
    /// Something was last received.
    heard_at: Duration,
    silence_max: Duration,
    /// Time between two pings, and for an answer.
    pings: Option<(Duration, Duration)>,
    next_ping_at: Option<Duration>,
    /// The ping whose answer is awaited, and when it was sent.
    pinged: Option<(u64, Duration)>,
    /// Something has to be received by then.
    answer_by: Option<Duration>,
    /// An `ack` is due then, for what was received.
    ack_at: Option<Duration>,
    /// Nothing is written before: the server said that messages were too many.
    held_until: Option<Duration>,
    /// The server that drains wants to see this client elsewhere then; nothing is written here any more.
    move_at: Option<Duration>,
}

impl Live {
    pub(super) fn new(now: Duration, stable_after: Duration, heartbeat: Duration, pings: Option<Pings>) -> Self {
        let heartbeat = if heartbeat.is_zero() { HEARTBEAT_DEFAULT } else { heartbeat };
        Self {
            stable_at: Some(now.saturating_add(stable_after)),
            heard_at: now,
            silence_max: heartbeat.saturating_mul(HEARTBEATS_MISSED_MAX),
            pings: pings.map(|pings| (pings.interval.unwrap_or(heartbeat), pings.timeout)),
            // The first at once: until then nobody knows how long a round trip takes.
            next_ping_at: pings.map(|_| now),
            pinged: None,
            answer_by: None,
            ack_at: None,
            held_until: None,
            move_at: None,
        }
    }

    pub(super) fn move_at(&self) -> Option<Duration> {
        self.move_at
    }

    /// Whether messages can be written now.
    pub(super) fn takes_messages(&self) -> bool {
        self.held_until.is_none() && self.move_at.is_none()
    }

    pub(super) fn hold_until(&mut self, at: Duration) {
        self.held_until = Some(at);
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.answer_by = None;
    }

    /// A message was received; the server wants to know, so that it need not keep it.
    pub(super) fn received(&mut self, now: Duration) {
        self.ack_at.get_or_insert(now.saturating_add(ACK_INTERVAL));
    }

    /// The ping `t` was answered: how long that took.
    pub(super) fn answered(&mut self, now: Duration, t: u64) -> Option<Duration> {
        let (_, sent_at) = self.pinged.take_if(|(awaited, _)| *awaited == t)?;
        Some(now.saturating_sub(sent_at))
    }

    /// When something is due. While the socket is not read, silence says nothing.
    pub(super) fn deadline(&self, reading: bool, comes_back: bool) -> Option<Duration> {
        let silence = reading.then(|| self.heard_at.saturating_add(self.silence_max));
        let answer = self.answer_by.filter(|_| reading);
        let moving = self.move_at.filter(|_| comes_back);
        [self.stable_at, silence, answer, self.next_ping_at, self.ack_at, self.held_until, moving]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Session {
    /// Does what is due on the open connection.
    pub(super) fn tick_open(&mut self, now: Duration) {
        let reading = self.wants_to_read();
        let Phase::Open(live) = &mut self.phase else { return };
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if due(live.stable_at) {
            live.stable_at = None;
            self.backoff.reset();
            self.tried_fresh_token = false;
        }
        if !reading {
            live.heard(now);
        }
        if due(live.answer_by) || live.heard_at.saturating_add(live.silence_max) <= now {
            self.abandon(now, "the server has fallen silent");
            return;
        }
        if due(live.ack_at) {
            live.ack_at = None;
            self.effects.push_back(Effect::Write(wire::ack(self.last_seq)));
        }
        if let Some((interval, timeout)) = live.pings
            && due(live.next_ping_at)
        {
            self.last_ping = self.last_ping.saturating_add(1);
            live.pinged = Some((self.last_ping, now));
            live.answer_by.get_or_insert(now.saturating_add(timeout));
            live.next_ping_at = Some(now.saturating_add(interval));
            self.effects.push_back(Effect::Write(wire::ping(self.last_ping)));
        }
        if due(live.move_at) && self.settings.reconnect.is_some() {
            self.abandon(now, "the server drains");
        } else if due(live.held_until) {
            live.held_until = None;
            self.flush();
        }
    }

    /// Leaves the connection to come back on another one.
    fn abandon(&mut self, now: Duration, why: &'static str) {
        self.leave(LEFT, String::new());
        self.lost(now, End::failed(Error::new(Code::ConnectionLost, why), Reconnect::BackOff));
    }

    /// The server goes away: nothing more is written here, and this client moves at the time that is its own, so that not
    /// all come back at once.
    pub(super) fn drain(&mut self, now: Duration, reconnect_after: Duration) {
        if let Phase::Open(live) = &mut self.phase {
            live.move_at = Some(now.saturating_add(reconnect_after));
        }
    }
}
