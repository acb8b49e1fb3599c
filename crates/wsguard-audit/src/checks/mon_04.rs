//! Pages for operators.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-MON-04",
    title: "Metrics and debug pages closed",
    category: Category::Monitoring,
    severity: Severity::Medium,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[497], asvs: &["13.4.5"], url: "https://cwe.mitre.org/data/definitions/497.html" },
    what: "Fetches the usual addresses of metrics, profilers and server status without a credential, and compares the format of what comes.",
    why: "Metrics tell how many connect and what fails; a profiler tells memory, and stops the server while it looks.",
    remedy: "Serve them on an address of their own, or ask for a credential.",
    traps: "An application that answers every path with its page has none of these formats. On a private address the finding stays: metrics belong on another port.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Addresses, and what stands in a true answer.
const PAGES: [(&str, &[&str]); 7] = [
    ("/metrics", &["# HELP ", "# TYPE "]),
    ("/debug/pprof/", &["/debug/pprof/", "goroutine"]),
    ("/actuator", &["\"_links\""]),
    ("/server-status", &["Apache Server Status", "Server uptime:"]),
    ("/nginx_status", &["Active connections:"]),
    ("/stats", &["Statistics Report for HAProxy", "HAProxy version"]),
    ("/debug/vars", &["\"memstats\"", "\"cmdline\""]),
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut seen = Vec::new();
    let mut answered = false;
    let pages = probe.fetch_each(&PAGES.map(|(path, _)| probe.get(path))).await;
    for ((path, signs), page) in PAGES.into_iter().zip(pages) {
        match page {
            Ok(response) if response.is_limit() => {
                return Err(Outcome::unknown(format!("the target limits the audit: {response}"))
                    .settled_by("another run, later"));
            }
            Ok(response) => {
                answered = true;
                let body = response.text();
                if response.status == 200 && signs.iter().any(|sign| body.contains(sign)) {
                    return Ok(Outcome::fail(format!("GET {path}: {}", crate::probe::shortened(&body))).and_all(seen));
                }
                seen.push(format!("GET {path}: {response}"));
            }
            Err(why) => seen.push(format!("GET {path}: {why}")),
        }
    }
    let first = seen.first().cloned().unwrap_or_default();
    let rest = seen.into_iter().skip(1);
    Ok(if answered { Outcome::pass(first) } else { Outcome::unknown(first) }.and_all(rest))
}
