//! What comes on opening.

use regex::Regex;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::entry::Entry;
use crate::probe::socket::Event;
use crate::probe::{Probe, shortened};

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-03",
    title: "Opening tells nothing of the inside",
    category: Category::Disclosure,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[200], asvs: &["13.4.5"], url: "https://cwe.mitre.org/data/definitions/200.html" },
    what: "Reads what the target sends on a good connection before it is asked anything (the open packet, a welcome), and \
           looks for names and addresses of the inside, numbers of processes and versions.",
    why: "Node names and private addresses draw a map for the next attack; they are sent to everybody who connects.",
    remedy: "Send what clients need (a session id, intervals, limits) and keep the rest in the log.",
    traps: "Session ids, `pingInterval` and `maxPayload` are needed. The peer's own identity behind its login is its own.",
};

/// What shows the inside: what it is, and how it looks.
const SIGNS: [(&str, &str); 4] = [
    ("a private address", r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b"),
    ("a name of the inside", r"\b[a-z0-9][a-z0-9.-]*\.(?:internal|intranet|corp|lan|svc|cluster\.local|local)\b"),
    (
        "a node or a process",
        r#"(?i)"(?:host|hostname|node|nodeId|node_id|instance|instanceId|pod|container|pid|processId|worker)"\s*:\s*(?:"[^"]+"|\d+)"#,
    ),
    ("a version", r#"(?i)"(?:serverVersion|server_version|nodeVersion|build|commit|gitSha|revision)"\s*:\s*"[^"]+""#),
];

pub(super) async fn run(probe: &Probe) -> Outcome {
    let credential = probe.options().token.clone();
    let mut session = match probe.admit(&probe.request(), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => session,
        other => return other.undecided().unwrap_or_else(|| Outcome::unknown(other.shown())),
    };
    let mut told = session.greeting.clone();
    // A talkative target is not listened to for ever.
    while told.len() < 5 {
        match session.hear(1.0).await {
            Event::Text(text) => told.push(text),
            Event::Quiet => break,
            end if end.is_end() => break,
            _ => {}
        }
    }
    if told.is_empty() {
        return Outcome::pass("a good connection: nothing comes before it is asked");
    }
    match told.iter().find_map(|text| sign(text).map(|sign| (sign, text))) {
        Some((sign, text)) => Outcome::warn(format!("{sign}, in {}", shortened(text))),
        None => Outcome::pass(format!("{} messages on opening, the first {}", told.len(), shortened(&told.concat()))),
    }
}

fn sign(text: &str) -> Option<String> {
    SIGNS.iter().find_map(|(what, pattern)| {
        let hit = Regex::new(pattern).ok()?.find(text)?.as_str().to_owned();
        Some(format!("{what} ({hit})"))
    })
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn the_inside_is_told_from_what_clients_need() {
        for (text, want) in [
            (r#"{"type":"welcome","node":"db1"}"#, true),
            (r#"{"type":"welcome","at":"ws-3.eu.svc"}"#, true),
            (r#"{"peer":"10.2.3.4"}"#, true),
            (r#"{"pid":4711}"#, true),
            (r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#, false),
            (r#"{"type":"welcome","payload":{"session":"x","subject":"ann","heartbeatMs":25000}}"#, false),
            (r#"{"locale":"de","version":"v1"}"#, false),
            (r#"{"text":"see node 10.2.3"}"#, false),
        ] {
            assert_eq!(sign(text).is_some(), want, "{text}: {:?}", sign(text));
        }
    }
}
