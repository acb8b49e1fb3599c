//! What a check learnt of the target's limits, for the checks that would have to provoke them again.

use super::socket::Event;
use crate::Outcome;

/// How the target said "enough".
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    /// What was limited, and what came.
    pub(crate) shown: String,
    /// A client can tell it from a failure, and when to come back where that is a status.
    pub(crate) is_told: bool,
}

/// Good handshakes as fast as they are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    /// So many were let in.
    pub(crate) let_in: u32,
    /// The same with those of the 10 s before, which a limit counts as well.
    pub(crate) in_window: u32,
    /// The next one was not.
    pub(crate) is_limited: bool,
}

/// How a connection fared.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) end: Event,
    /// How long it was watched, in seconds.
    pub(crate) age: f64,
    /// Heartbeats that came.
    pub(crate) beats: u32,
}

/// What was learnt.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Limits that were met on purpose.
    pub(crate) signals: Vec<Signal>,
    /// Messages were sent as fast as they are answered.
    pub(crate) flooded: bool,
    /// The longest burst without a limit, or the first that met one.
    pub(crate) burst: Option<Burst>,
    /// What forwarded addresses did at the limit, until the check that asks for it takes it.
    pub(crate) forwarded: Option<Outcome>,
    /// How long the target kept the audit out after each burst that met a limit, in seconds of the catalogue.
    pub(crate) lockouts: Vec<f64>,
}

impl Notes {
    /// Notes how a limit looked.
    pub(crate) fn signal(&mut self, shown: impl Into<String>, is_told: bool) {
        self.signals.push(Signal { shown: shown.into(), is_told });
    }
}
