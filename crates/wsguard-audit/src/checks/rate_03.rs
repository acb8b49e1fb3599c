//! Many connections of one peer.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::session::Session;

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
    what: "Opens good connections of one identity beside each other until one is refused twice, 8 at most (with `--full` \
           64); then closes them and tries one more.",
    why: "Every open connection holds memory and a place; without a cap for each peer one peer takes them all.",
    remedy: "Cap connections by identity, and by address for peers without one.",
    traps: "A limit of handshakes in time looks alike: only what is refused as long as the others are open, and let in as \
            soon as they are given up, proves a cap. A cap above what is opened is not seen: `warn`, never `fail`.",
};

/// How often the pings that came are answered, in seconds.
const ANSWER_EVERY: f64 = 8.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let most = if probe.options().full { 64_u32 } else { 8 };
    let credential = probe.options().token.clone();
    let mut held: Vec<Box<Session>> = Vec::new();
    let mut refusal = None;
    let mut answered_at = tokio::time::Instant::now();
    for number in 1..=most {
        // Who answers no ping is closed for that.
        if probe.in_seconds(answered_at.elapsed()) > ANSWER_EVERY {
            for session in &mut held {
                session.socket.until_end(0.01).await;
            }
            answered_at = tokio::time::Instant::now();
        }
        let mut entry = one_more(probe).await;
        // With the others held a cap stays met; a limit in time is over after the pause that it asks for.
        if let Entry::Limited(_) | Entry::Denied(_) = entry {
            probe.wait(1.0).await;
            entry = one_more(probe).await;
        }
        match entry {
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
        // A cap may also work by closing the oldest; the newest stays.
        let mut ended = Vec::with_capacity(held.len());
        for session in &mut held {
            ended.push(session.socket.until_end(0.3).await.is_end());
        }
        let count = ended.iter().filter(|ended| **ended).count();
        return match ended.last() {
            Some(false) if count > 0 => {
                Outcome::pass(format!("of {most} connections {count} were closed as others came")).probable()
            }
            Some(true) => Outcome::unknown(format!("of {most} connections {count} were closed, the newest among them"))
                .settled_by("another run, later"),
            _ => Outcome::warn(format!("{most} connections of one identity beside each other")),
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

/// Another good connection, paced, however many are open.
async fn one_more(probe: &Probe) -> Entry {
    let handshake = probe.handshake_beyond(&probe.request().anew()).await;
    probe.admit_behind(handshake, probe.way(), probe.options().token.as_deref()).await
}
