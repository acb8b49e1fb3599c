//! A ticket that opens twice.

use tokio::time::Instant;

use super::tickets::{PARAMETERS, enter, ticket};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-06",
    title: "Tickets open once, and not for long",
    category: Category::Session,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Credential, Need::Token, Need::TicketUrl],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[294], asvs: &["4.4.4"], url: "https://cwe.mitre.org/data/definitions/294.html" },
    what: "Asks `--ticket-url` for two tickets. Opens a connection with the first, again at once, and again 2.5 s later; \
           opens one with the second when it is 61 s old.",
    why: "A ticket stands in a URL, and URLs end up in logs, histories and `Referer`: what is read there must have been used \
          up.",
    remedy: "Delete a ticket in the same step in which it is looked up, and let it end after 30 s.",
    traps: "A server may allow a retry for a moment: a second use within 2 s alone is `warn`. The first use must have \
            opened a connection, or nothing is known.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let kept = ticket(probe).await?;
    let kept_since = Instant::now();
    let (parameter, used, first) = open(probe).await?;
    let twice = decided(enter(probe, parameter, &used).await)?;
    probe.wait(2.5).await;
    let later = decided(enter(probe, parameter, &used).await)?;
    let first = format!("?{parameter}=: the first use: {}", first.shown());
    if later.is_in() {
        return Ok(Outcome::fail(format!("the same ticket 2.5 s later: {}", later.shown())).and(first));
    }
    let seen = format!("the same ticket again: {}", later.shown());
    if twice.is_in() {
        return Ok(Outcome::warn(format!("the same ticket at once: {}", twice.shown())).and(seen).and(first));
    }
    // Chance may have let the run end before.
    probe.wait(61.0 - probe.in_seconds(kept_since.elapsed())).await;
    if probe.in_seconds(kept_since.elapsed()) < 60.0 {
        return Ok(Outcome::pass(seen).and(first).and("how long an unused one lives was not waited for"));
    }
    let old = enter(probe, parameter, &kept).await;
    let age = format!("an unused one, 61 s old: {}", old.shown());
    Ok(match old {
        old if old.is_in() => Outcome::warn(age).and(seen).and(first),
        Entry::Denied(_) => Outcome::pass(seen).and(age).and(first),
        _ => Outcome::pass(seen).and(first).and(age),
    })
}

/// A ticket in the place where it is taken, used once.
async fn open(probe: &Probe) -> Result<(&'static str, String, Entry), Outcome> {
    let mut refused = Vec::new();
    for parameter in PARAMETERS {
        let fresh = ticket(probe).await?;
        let entry = decided(enter(probe, parameter, &fresh).await)?;
        let is_used = match &entry {
            Entry::Served { .. } => true,
            Entry::Open { .. } => probe.way().template.is_none() && probe.way().placement.is_in_handshake(),
            _ => false,
        };
        if is_used {
            return Ok((parameter, fresh, entry));
        }
        refused.push(format!("?{parameter}=: {}", entry.shown()));
    }
    let first = refused.first().cloned().unwrap_or_default();
    Err(Outcome::unknown(format!("a fresh ticket opens nothing: {first}")).and_all(refused.into_iter().skip(1)))
}

fn decided(entry: Entry) -> Result<Entry, Outcome> {
    match entry.undecided() {
        Some(outcome) => Err(outcome),
        None => Ok(entry),
    }
}
