//! The current version of TLS.

use rustls::ProtocolVersion;

use super::tls::{facts, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-03",
    title: "TLS 1.3 offered",
    category: Category::Transport,
    severity: Severity::Low,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[327], asvs: &["12.1.1"], url: "https://www.rfc-editor.org/rfc/rfc8446" },
    what: "Connects as a client of today does, and looks which version was agreed on.",
    why: "TLS 1.3 removed what went wrong in 1.2, and hides the certificate from the network.",
    remedy: "Switch TLS 1.3 on; keep 1.2 for old clients.",
    traps: "None: the version that was agreed on is a fact.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let facts = match facts(probe).await {
        Ok(facts) => facts,
        Err(outcome) => return outcome,
    };
    match facts.version {
        Some(ProtocolVersion::TLSv1_3) => Outcome::pass(format!("TLS 1.3, {}", facts.suite)),
        // The library behind the probe speaks no other.
        _ => weighed(probe, Outcome::warn(format!("TLS 1.2, {}, although 1.3 was offered", facts.suite))),
    }
}
