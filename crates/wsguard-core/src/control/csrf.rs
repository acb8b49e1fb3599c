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
    /// The same for the client.
    pub(crate) expires_at: UnixMs,
    previous: Option<(CsrfToken, Tick)>,
}

impl Csrf {
    /// The first token of `session`.
    pub(crate) fn new(key: &CsrfKey, session: SessionId, now: Now, every: Millis) -> Self {
        Self {
            current: key.per_message(&session.0, 0),
            epoch: 0,
            rotates_at: now.tick.after(every),
            expires_at: now.unix.after(every),
            previous: None,
        }
    }

    /// The token to use.
    pub(crate) fn token(&self) -> &str {
        self.current.as_str()
    }

    /// Whether `offered` is the current token, or the previous one within its grace. Constant time.
    pub(crate) fn accepts(&self, now: Now, offered: &str) -> bool {
        if fault::is_on(Fault::VerdictOfThePast) && fault::has_a_bad_day() {
            return false;
        }
        let current = self.current.matches(offered) || fault::is_on(Fault::CsrfUnchecked);
        match &self.previous {
            // Not short-circuited: the answer takes as long for the current token as for the previous one.
            Some((previous, until)) => {
                let before = previous.matches(offered);
                current || (before && now.tick < *until)
            }
            None => current,
        }
    }

    /// Makes the next token the current one.
    pub(crate) fn rotate(&mut self, key: &CsrfKey, session: SessionId, now: Now, every: Millis) {
        self.epoch = self.epoch.wrapping_add(1);
        let old = std::mem::replace(&mut self.current, key.per_message(&session.0, self.epoch));
        self.previous = Some((old, now.tick.after(Millis(CSRF_GRACE_MS))));
        self.rotates_at = now.tick.after(every);
        self.expires_at = now.unix.after(every);
    }
}
