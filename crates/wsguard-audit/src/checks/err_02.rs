//! Handshakes that fail.

use super::internals::internals;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Handshake;
use crate::probe::Probe;
use crate::probe::response::Response;
use regex::Regex;

pub(super) const META: Meta = Meta {
    id: "WSA-ERR-02",
    title: "Clean handshake errors",
    category: Category::Errors,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[209], asvs: &["16.5.1", "13.4.2"], url: "https://cwe.mitre.org/data/definitions/209.html" },
    what: "Sends handshakes to a path that does not exist, with version 99, with a short key and with a header of 9 KiB, and reads the answers.",
    why: "Pages made for developers show traces and settings to whoever asks wrongly.",
    remedy: "Switch debug pages off; answer with a status and nothing else.",
    traps: "What a CDN in front answers is its own: the header that names it stands in the evidence.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Titles of pages that are made for developers.
const DEBUG_PAGES: [&str; 7] = [
    "Werkzeug Debugger",
    "DEBUG = True",
    "Traceback",
    "Whoops, looks like",
    "Whitelabel Error",
    "Ignition",
    "laravel_debug",
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let good = probe.request();
    let mut nowhere = good.clone();
    nowhere.target = format!("/{}", crate::probe::marker());
    let wrong = [
        ("a path that does not exist", nowhere),
        ("version 99", good.clone().set("Sec-WebSocket-Version", "99")),
        ("a short key", good.clone().set("Sec-WebSocket-Key", "short")),
        ("a header of 9 KiB", good.header("X-Long", &"a".repeat(9_216))),
    ];
    let (mut clean, mut banners, mut errors) = (Vec::new(), Vec::new(), 0_usize);
    for (name, request) in wrong {
        let response = match probe.handshake(&request).await {
            Handshake::Refused(response) => response,
            Handshake::Limited(response) => {
                return Err(Outcome::unknown(format!("{name}: the target limits the audit: {response}"))
                    .settled_by("another run, later"));
            }
            Handshake::Opened(socket) => {
                clean.push(format!("{name}: {}", socket.head));
                socket.close().await;
                continue;
            }
            Handshake::Dropped(end) => {
                clean.push(format!("{name}: {end}"));
                continue;
            }
            Handshake::Unreached(why) => {
                clean.push(format!("{name}: {why}"));
                continue;
            }
        };
        errors = errors.saturating_add(1);
        let body = response.text();
        let page = DEBUG_PAGES
            .iter()
            .find(|title| body.contains(**title))
            .map(|title| format!("the page of a debugger ({title})"));
        if let Some(sign) = page.or_else(|| internals(&body)) {
            return Ok(Outcome::fail(format!("{name}: {response} shows {sign}")));
        }
        match banner(&response) {
            Some(banner) => banners.push(format!("{name}: {response}, {banner}")),
            None => clean.push(format!("{name}: {response}, {} bytes", response.body.len())),
        }
    }
    if errors == 0 {
        return Err(Outcome::unknown("no wrong handshake was refused with a status").and_all(clean));
    }
    let mut lines = banners.clone().into_iter().chain(clean);
    let first = lines.next().unwrap_or_default();
    Ok(if banners.is_empty() { Outcome::pass(first) } else { Outcome::warn(first) }.and_all(lines))
}

/// A name with a version, in a header or in the page.
fn banner(response: &Response) -> Option<String> {
    let pattern = Regex::new(r"\b[A-Za-z][\w-]*/\d+\.\d[\w.]*").ok()?;
    let headers = ["Server", "X-Powered-By", "Via"].map(|name| response.value(name).unwrap_or_default().to_owned());
    let body = response.text();
    headers.iter().map(String::as_str).chain([body.as_str()]).find_map(|text| {
        pattern.find_iter(text).map(|found| found.as_str()).find(|found| !found.starts_with("HTTP/")).map(str::to_owned)
    })
}
