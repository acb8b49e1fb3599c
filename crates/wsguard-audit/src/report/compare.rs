//! Two reports of the same target: what is new, what is fixed, what stayed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Report;
use crate::outcome::Status;

/// What changed between two reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Of which target the other report is.
    pub target: String,
    /// When that was made.
    pub started_at: String,
    /// Findings that were none before.
    pub new: Vec<String>,
    /// Findings that pass now.
    pub fixed: Vec<String>,
    /// Findings that are still there.
    pub unchanged: Vec<String>,
    /// Findings of which nothing is known now: neither fixed nor still there.
    pub undecided: Vec<String>,
}

/// Compares `new` with `old`.
pub fn compare(old: &Report, new: &Report) -> Comparison {
    let is_finding = |status: Status| matches!(status, Status::Fail | Status::Warn);
    let before: BTreeMap<&str, Status> = old.checks.iter().map(|item| (item.id.as_str(), item.status.0)).collect();
    let mut comparison =
        Comparison { target: old.target.clone(), started_at: old.started_at.clone(), ..Comparison::default() };
    for item in &new.checks {
        let was = before.get(item.id.as_str()).copied().is_some_and(is_finding);
        let list = match (was, item.status.0) {
            (false, status) if is_finding(status) => &mut comparison.new,
            (true, status) if is_finding(status) => &mut comparison.unchanged,
            (true, Status::Pass) => &mut comparison.fixed,
            (true, _) => &mut comparison.undecided,
            (false, _) => continue,
        };
        list.push(item.id.clone());
    }
    // A check that was left out this time says nothing of what it found before.
    let is_left_out = |id: &str| new.checks.iter().all(|item| item.id != id);
    let left_out = before.iter().filter(|(id, status)| is_finding(**status) && is_left_out(id));
    comparison.undecided.extend(left_out.map(|(id, _)| (*id).to_owned()));
    comparison
}
