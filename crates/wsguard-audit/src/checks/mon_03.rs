//! Pages that say how the server is.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-MON-03",
    title: "Health endpoint minimal",
    category: Category::Monitoring,
    severity: Severity::Low,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[497], asvs: &["13.4.5"], url: "https://cwe.mitre.org/data/definitions/497.html" },
    what: "Fetches /health, /healthz, /ready and /status without a credential, and looks for versions, builds, dependencies and host names.",
    why: "Versions and dependencies are what a list of known holes is compared with.",
    remedy: "Say that the server is well, and nothing else; keep the rest for an address that only operators reach.",
    traps: "An application that answers every path with its page is not meant: pages of HTML do not count.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

const PATHS: [&str; 4] = ["/health", "/healthz", "/ready", "/status"];
const TELLING: [&str; 9] =
    ["version", "build", "commit", "revision", "dependencies", "hostname", "database", "redis", "environment"];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut seen = Vec::new();
    let mut answered = false;
    let pages = probe.fetch_each(&PATHS.map(|path| probe.get(path))).await;
    for (path, page) in PATHS.into_iter().zip(pages) {
        match page {
            Ok(response) if response.is_limit() => {
                return Err(Outcome::unknown(format!("the target limits the audit: {response}"))
                    .settled_by("another run, later"));
            }
            Ok(response) => {
                answered = true;
                let body = response.text();
                let told = TELLING.iter().find(|name| body.contains(&format!("\"{name}\"")));
                if let (200, Some(name), false) = (response.status, told, body.trim_start().starts_with('<')) {
                    return Ok(Outcome::warn(format!(
                        "GET {path} tells its {name}: {}",
                        crate::probe::shortened(&body)
                    ))
                    .and_all(seen));
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
