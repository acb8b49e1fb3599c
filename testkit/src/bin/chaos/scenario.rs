//! What a scenario is made of. Each has a file of its own in `scenarios/`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::attack::{Attack, Field, Tally};
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
    /// What must be known of it afterwards.
    pub(crate) told: &'static [Told],
}

/// The resident memory that a server may come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Connections beside the honest ones.
    pub(crate) connections: u64,
    /// What each of them may make the server hold.
    pub(crate) kib_each: u64,
    /// From which limit that follows.
    pub(crate) why: &'static str,
}

/// What a server takes that nobody attacks, full tables and a full queue of the log included, in MiB: rate tables 3 x 2,
/// ladder 2, verified tokens 8, tickets and revocations, the log's queue of 8,192 entries (8), its unwritten lines (1), the
/// allocator's slack.
pub(crate) const BASE_MIB: u64 = 48;

impl Bound {
    pub(crate) fn mib(&self) -> u64 {
        BASE_MIB + (self.connections * self.kib_each).div_ceil(1024)
    }
}

/// Who tells the story.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// The security log: `event.action` and `event.reason` (either empty: any).
    Log(&'static str, &'static str),
    /// A metric whose name and labels begin so is above zero.
    Metric(&'static str),
    /// The peers: what the attackers counted begins so.
    Peers(&'static str),
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
