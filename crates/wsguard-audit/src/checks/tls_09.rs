//! The promise to stay with HTTPS.

use super::tls::weighed;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-09",
    title: "HSTS on the https origin",
    category: Category::Transport,
    severity: Severity::Low,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[319], asvs: &["3.4.1"], url: "https://www.rfc-editor.org/rfc/rfc6797" },
    what: "Reads Strict-Transport-Security of `GET /` on the same host.",
    why: "Without it the first visit of a page, and with it its script and its cookie, can be had in clear text.",
    remedy: "`Strict-Transport-Security: max-age=31536000; includeSubDomains`.",
    traps: "A host that serves no pages to browsers needs none: an answer that is no page (404, 426, JSON) makes the check \
            not applicable.",
};

/// A year, as OWASP ASVS asks.
const MAX_AGE_SECONDS_MIN: u64 = 31_536_000;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let response = match probe.fetch(&probe.get("/")).await {
        Ok(response) => response,
        Err(why) => return Outcome::unknown(format!("GET /: {why}")),
    };
    let age = response.value("Strict-Transport-Security").map(|value| {
        let lower = value.to_ascii_lowercase().replace([' ', '"'], "");
        lower.split(';').find_map(|part| part.strip_prefix("max-age=")?.parse::<u64>().ok()).unwrap_or(0)
    });
    match age {
        Some(age) if age >= MAX_AGE_SECONDS_MIN => Outcome::pass(format!("GET /: {response}, max-age={age}")),
        Some(age) => weighed(probe, Outcome::warn(format!("GET /: {response}, max-age={age}, less than a year"))),
        None => {
            let kind = response.value("Content-Type").unwrap_or_default().to_ascii_lowercase();
            let is_page = matches!(response.status, 200..=399) && (kind.contains("html") || response.status >= 300);
            if is_page {
                weighed(probe, Outcome::warn(format!("GET /: {response}, without Strict-Transport-Security")))
            } else {
                Outcome::skipped(format!("GET / is no page: {response}"))
            }
        }
    }
}
