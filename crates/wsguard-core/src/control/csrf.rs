//! The CSRF token of each message: bound to session and epoch, rotated, the previous one good for a minute.
//!
//! Attack: confused code in a page of the right origin that makes the socket say what it should not (CWE-352). Against a
//! hijacked socket it is worth nothing, since that socket reads the token too: the Origin, the proof of the same origin and
//! credentials that a foreign page cannot send stop that one (docs/threat-model.md).
//!
//! # Specification
//! docs/protocol.md section 3

use wsguard_protocol::limits::CSRF_GRACE_MS;

use super::session::SessionId;
use crate::fault::{self, Fault};
use crate::time::{Millis, Now, Tick, UnixMs};
use crate::token::{CsrfKey, CsrfToken};

/// The tokens of one session.
#[derive(Debug)]
pub(crate) struct Csrf {
    current: CsrfToken,
    epoch: u32,
    /// When the current token rotates.
    pub(crate) rotates_at: Tick,
    previous: CsrfToken,
    /// Up to when the previous token is good; the beginning of time while there is none.
    previous_until: Tick,
}

impl Csrf {
    /// The first token of `session`.
    pub(crate) fn new(key: &CsrfKey, session: SessionId, now: Now, every: Millis) -> Self {
        let current = key.per_message(&session.0, 0);
        Self { current, epoch: 0, rotates_at: now.tick.after(every), previous: current, previous_until: Tick(0) }
    }

    /// The token to use.
    pub(crate) fn token(&self) -> &str {
        self.current.as_str()
    }

    /// When it rotates, for the client.
    pub(crate) fn expires_at(&self, now: Now) -> UnixMs {
        now.unix.after(self.rotates_at.since(now.tick))
    }

    /// Whether `offered` is the current token, or the previous one within its grace. Constant time.
    #[inline]
    pub(crate) fn accepts(&self, now: Now, offered: &[u8]) -> bool {
        if fault::is_on(Fault::VerdictOfThePast) && fault::has_a_bad_day() {
            return false;
        }
        let current = self.current.matches(offered) || fault::is_on(Fault::CsrfUnchecked);
        // Not short-circuited: the answer takes as long for the current token as for the previous one.
        let previous = now.tick < self.previous_until && self.is_previous(offered);
        current || previous
    }

    #[inline(never)]
    fn is_previous(&self, offered: &[u8]) -> bool {
        self.previous.matches(offered)
    }

    /// Makes the next token the current one.
    pub(crate) fn rotate(&mut self, key: &CsrfKey, session: SessionId, now: Now, every: Millis) {
        self.epoch = self.epoch.wrapping_add(1);
        self.previous = std::mem::replace(&mut self.current, key.per_message(&session.0, self.epoch));
        self.previous_until = now.tick.after(Millis(CSRF_GRACE_MS));
        self.rotates_at = now.tick.after(every);
    }
}
