//! The attackers: a process of their own with a lower priority, since in truth they have machines of their own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::link::{Ended, Issuer, Way};
use crate::scenario::Scenario;

/// What the attackers saw, by words.
pub(crate) type Tally = BTreeMap<String, u64>;

/// Where they attack, and what they note. In the process of the attackers.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) server: SocketAddr,
    pub(crate) issuer: Issuer,
    /// A tenth of the peers and the time, to see that everything runs.
    pub(crate) quick: bool,
    tally: Mutex<Tally>,
}

impl Field {
    pub(crate) fn new(server: SocketAddr, issuer: Issuer, quick: bool) -> Self {
        Self { server, issuer, quick, tally: Mutex::default() }
    }

    /// `count`, or a tenth of it.
    pub(crate) fn scaled(&self, count: u32) -> u32 {
        scaled(self.quick, count)
    }

    /// `length`, or a third of it.
    pub(crate) fn time(&self, length: Duration) -> Duration {
        shortened(self.quick, length)
    }

    /// Attacker `index` comes from a /24 of its own.
    pub(crate) fn way(&self, index: u32) -> Way {
        Way::of(self.server, Ipv4Addr::new(40, 0, 0, 1), index)
    }

    /// A token of attacker `index`: attackers have accounts, too.
    pub(crate) fn token(&self, index: u32) -> String {
        self.issuer.token(&format!("attacker-{index}"), 60).unwrap_or_default()
    }

    pub(crate) fn count(&self, what: impl Into<String>) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: impl Into<String>, count: u64) {
        *self.tally().entry(what.into()).or_default() += count;
    }

    /// Keeps the largest.
    pub(crate) fn most(&self, what: impl Into<String>, value: u64) {
        let mut tally = self.tally();
        let held = tally.entry(format!("most: {}", what.into())).or_default();
        *held = value.max(*held);
    }

    pub(crate) fn ended(&self, ended: &Ended) {
        self.count(ended.to_string());
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.tally())
    }
}

/// `count`, or a tenth of it in a quick run.
pub(crate) fn scaled(quick: bool, count: u32) -> u32 {
    if quick { (count / 10).max(1) } else { count }
}

/// `length`, or a third of it in a quick run.
pub(crate) fn shortened(quick: bool, length: Duration) -> Duration {
    if quick { length / 3 } else { length }
}

/// How often the attackers counted what begins with `what`.
pub(crate) fn seen(tally: &Tally, what: &str) -> u64 {
    let held = tally.iter().filter(|(held, _)| held.starts_with(what) && !held.starts_with("most: "));
    held.map(|(_, count)| count).sum()
}

/// Adds up what was counted, and keeps the larger of what is `most: …`.
pub(crate) fn merge(into: &mut Tally, more: Tally) {
    for (what, count) in more {
        let held = into.entry(what.clone()).or_default();
        *held = if what.starts_with("most: ") { count.max(*held) } else { *held + count };
    }
}

/// A running attack; killed when dropped.
#[derive(Debug)]
pub(crate) struct Attack {
    child: Option<Child>,
    began: Instant,
    longest: Duration,
}

impl Attack {
    pub(crate) fn start(
        scenario: &Scenario,
        server: SocketAddr,
        key: &Path,
        cores: &str,
        quick: bool,
    ) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new("sh");
        let script = r#"ulimit -n "$(ulimit -H -n)"; cores=$1; shift; exec taskset -c "$cores" nice -n 10 "$@""#;
        command.args(["-c", script, "sh", cores]).arg(own);
        command.args(["--attack", scenario.name, "--server", &server.to_string(), "--key"]).arg(key);
        if quick {
            command.arg("--quick");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.map_err(|e| format!("start the attackers: {e}"))?;
        Ok(Self { child: Some(child), began: Instant::now(), longest: scenario.longest })
    }

    /// Waits for the end, and gives what the attackers saw.
    pub(crate) fn wait(mut self) -> Result<Tally, String> {
        let Some(mut child) = self.child.take() else {
            return Ok(Tally::new());
        };
        while matches!(child.try_wait(), Ok(None)) {
            if self.began.elapsed() > self.longest {
                let _already_gone = child.kill();
                let _already_gone = child.wait();
                return Err(format!("the attack did not end within {:?}", self.longest));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|e| format!("the attackers ended with {}: {e}", output.status))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _already_gone = child.kill();
            let _already_gone = child.wait();
        }
    }
}
