//! What a scenario is made of. Each has a file of its own in `scenarios/`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::attack::{self, Attack, Field, Tally};
use crate::crowd::Crowd;
use crate::link::Issuer;
use crate::server::{Server, Setting};
use crate::watch::Watch;

/// What the attackers do until they are done.
pub(crate) type Assault = Pin<Box<dyn Future<Output = ()>>>;

/// One way to do the server harm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Who does what, how often.
    pub(crate) what: &'static str,
    pub(crate) setting: Setting,
    /// How often it is repeated, with quiet between, where the plan does not say less.
    pub(crate) rounds: u32,
    /// Longest that an attack may take before it has failed.
    pub(crate) longest: Duration,
    /// Runs in the process of the attackers.
    pub(crate) attack: fn(Arc<Field>) -> Assault,
    /// Runs beside it: what happens to the machine or the process. Ends with [`Stage::over`].
    pub(crate) act: fn(&mut Stage<'_>) -> Result<(), String>,
    /// Memory that it may take.
    pub(crate) bound: Bound,
    /// Whether newcomers must be let in all the time.
    pub(crate) newcomers: Newcomers,
    /// What must be known of it afterwards.
    pub(crate) told: &'static [Told],
}

/// Whether newcomers must be let in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Newcomers {
    Served,
    /// Not while this lasts, which the scenario tells the crowd; before and after it they must.
    Exempt(&'static str),
}

/// The resident memory that a server may come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// What the limits permit.
    Limits {
        /// Connections beside the honest ones.
        connections: u64,
        /// What each of them may make the server hold.
        kib_each: u64,
        /// From which limit that follows.
        why: &'static str,
    },
    /// Where no limit says how much: one and a half times what was measured.
    Measured { peak_mib: u64, why: &'static str },
}

/// What a server takes that nobody attacks, full tables and a full queue of the log included, in MiB: rate tables 3 x 2,
/// ladder 2, verified tokens 8, tickets and revocations, the log's queue of 8,192 entries (8), its unwritten lines (1), the
/// allocator's slack.
pub(crate) const BASE_MIB: u64 = 48;

impl Bound {
    pub(crate) fn mib(&self) -> u64 {
        match self {
            Self::Limits { connections, kib_each, .. } => BASE_MIB + (connections * kib_each).div_ceil(1024),
            // Peaks of single runs differ by a tenth or two; half again is more than that.
            Self::Measured { peak_mib, .. } => peak_mib * 3 / 2,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limits { connections, kib_each, why } => {
                write!(f, "{BASE_MIB} MiB and {connections} connections x {kib_each} KiB ({why})")
            }
            Self::Measured { peak_mib, why } => write!(f, "1.5 times the {peak_mib} MiB that were measured ({why})"),
        }
    }
}

/// A part of the story that must be told, and how often at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) by: By,
    /// So often that the attack alone can be the cause, out of what the scenario sends and what the attackers saw.
    pub(crate) least: fn(&Known<'_>) -> u64,
}

/// Who tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The security log: `event.action` and `event.reason` (either empty: any), with what `log_flood` says was left out.
    Log(&'static str, &'static str),
    /// The same, with what `journal_dropped` says did not fit.
    LogOrDropped(&'static str, &'static str),
    /// The sum of the metrics whose name and labels begin so.
    Metric(&'static str),
    /// The peers: what the attackers counted begins so.
    Peers(&'static str),
    /// Lines of the server's standard error that hold this.
    Stderr(&'static str),
}

/// What the least is counted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    pub(crate) tally: &'a Tally,
    /// Messages of the honest that were acknowledged.
    pub(crate) chats: u64,
}

impl Known<'_> {
    /// So many in each attack.
    pub(crate) fn each(&self, count: u32) -> u64 {
        u64::from(count) * u64::from(self.rounds)
    }

    /// So many in each attack of full size.
    pub(crate) fn scaled(&self, count: u32) -> u64 {
        self.each(attack::scaled(self.quick, count))
    }

    /// One in each `every` of an attack of `length`, by each of `peers`, both of full size.
    pub(crate) fn turns(&self, peers: u32, length: Duration, every: Duration) -> u64 {
        let turns = attack::shortened(self.quick, length).as_millis() / every.as_millis().max(1);
        self.scaled(peers) * u64::try_from(turns).unwrap_or(u64::MAX)
    }

    /// What the attackers saw.
    pub(crate) fn seen(&self, what: &str) -> u64 {
        attack::seen(self.tally, what)
    }
}

/// Something that must hold beside what is asked of every scenario.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Finding {
    pub(crate) claim: String,
    pub(crate) holds: bool,
    pub(crate) evidence: String,
}

/// Where the orchestrator acts while an attack runs.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) server: &'a mut Server,
    pub(crate) crowd: &'a Crowd,
    pub(crate) watch: &'a Watch,
    pub(crate) issuer: &'a Issuer,
    pub(crate) quick: bool,
    pub(crate) attack: Option<Attack>,
    pub(crate) tally: Tally,
    pub(crate) findings: &'a mut Vec<Finding>,
}

/// Nothing happens beside the attack.
pub(crate) fn over(stage: &mut Stage<'_>) -> Result<(), String> {
    stage.over()
}

impl Stage<'_> {
    /// Waits for the end of the attack.
    pub(crate) fn over(&mut self) -> Result<(), String> {
        if let Some(attack) = self.attack.take() {
            self.tally = attack.wait()?;
        }
        Ok(())
    }

    pub(crate) fn find(&mut self, claim: &str, holds: bool, evidence: impl Into<String>) {
        self.findings.push(Finding { claim: claim.to_owned(), holds, evidence: evidence.into() });
    }
}
