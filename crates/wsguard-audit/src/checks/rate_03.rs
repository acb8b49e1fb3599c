//! Many connections of one peer.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-03",
    title: "Connections at a time limited",
    category: Category::RateLimiting,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["13.1.2"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Opens good connections of one identity beside each other until one is refused, 8 at most (with `--full` 64); \
           then closes them and tries one more.",
    why: "Every open connection holds memory and a place; without a cap for each peer one peer takes them all.",
    remedy: "Cap connections by identity, and by address for peers without one.",
    traps: "A limit of handshakes in time looks alike: only a place that is free again as soon as others are given up \
            proves a cap. A cap above what is opened is not seen: `warn`, never `fail`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let most = if probe.options().full { 64_u32 } else { 8 };
    let credential = probe.options().token.clone();
    let mut held = Vec::new();
    let mut refusal = None;
    for number in 1..=most {
        match probe.admit(&probe.request().anew(), credential.as_deref()).await {
            Entry::Open { session, .. } | Entry::Served { session, .. } => held.push(session),
            Entry::Unreached(why) => return Outcome::unknown(format!("connection {number}: {why}")),
            Entry::Denied(denial) => refusal = Some(format!("connection {number}: {denial}")),
            Entry::Limited(how) => refusal = Some(format!("connection {number}: {how}")),
        }
        if refusal.is_some() {
            break;
        }
    }
    let Some(refusal) = refusal else {
        // A cap may also work by closing the oldest.
        let mut ended = 0_usize;
        for session in &mut held {
            ended = ended.saturating_add(usize::from(session.socket.until_end(0.3).await.is_end()));
        }
        return if ended > 0 {
            Outcome::pass(format!("of {most} connections {ended} were closed as others came")).probable()
        } else {
            Outcome::warn(format!("{most} connections of one identity beside each other"))
        };
    };
    for session in held {
        session.close().await;
    }
    probe.wait(2.0).await;
    match probe.admit(&probe.request().anew(), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => {
            session.close().await;
            Outcome::pass(refusal).and("with the others closed it is let in")
        }
        other => Outcome::unknown(format!("{refusal}; with the others closed still: {}", other.shown()))
            .settled_by("another run, later"),
    }
}
