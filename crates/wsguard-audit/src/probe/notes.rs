//! What a check learnt of the target's limits, for the checks that would have to provoke them again.

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
    /// The next one was not.
    pub(crate) is_limited: bool,
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
    /// How long the target kept the audit out after each burst that met a limit, in seconds of the catalogue.
    pub(crate) lockouts: Vec<f64>,
}

impl Notes {
    /// Notes how a limit looked.
    pub(crate) fn signal(&mut self, shown: impl Into<String>, is_told: bool) {
        self.signals.push(Signal { shown: shown.into(), is_told });
    }
}
