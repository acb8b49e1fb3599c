//! The right host on another port.

use super::csrf_05::nearly;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-06",
    title: "Port of the Origin compared",
    category: Category::Csrf,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[346], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6454#section-5" },
    what: "Repeats the good handshake with the own scheme and host, and port 4444.",
    why: "Another port of the same machine is another service, perhaps of another owner; cookies do not tell ports apart, \
          so that the Origin is all that does.",
    remedy: "Put whole origins on the list, port included.",
    traps: "Where every Origin is let in the check does not apply.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(own) = probe.way().origin.clone() else {
        return Outcome::unknown("the good handshake has no Origin").settled_by("--origin");
    };
    let (scheme, authority) = own.split_once("://").unwrap_or(("https", &own));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    nearly(probe, &format!("{scheme}://{host}:4444")).await
}
