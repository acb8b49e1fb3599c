//! Sockets of tools that belong on a developer's machine.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Handshake;
use crate::probe::Probe;
use crate::probe::request::Request;

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-04",
    title: "No sockets of development tools",
    category: Category::Disclosure,
    severity: Severity::High,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[489], asvs: &["13.4.2"], url: "https://cwe.mitre.org/data/definitions/489.html" },
    what: "Asks for a WebSocket without a credential where development servers, consoles and remote desktops have theirs, and first where nobody has one.",
    why: "A development server tells source code and paths; a console runs what it is sent.",
    remedy: "Run what was built, not the development server; keep consoles behind a login and off the public address.",
    traps: "A target that opens a WebSocket at every path says nothing by opening one: `unknown`. The path of the audited service is left out.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

const PATHS: [&str; 6] =
    ["/_next/webpack-hmr", "/sockjs-node", "/webpack-dev-server", "/cable", "/exec", "/websockify"];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let authority = probe.target().authority();
    let own = probe.target().path.split('?').next().unwrap_or_default().to_owned();
    let origin = probe.way().origin.clone().unwrap_or_else(|| probe.target().origin());
    let ask = |path: &str| Request::upgrade(path, &authority).origin(&origin);
    let nowhere = format!("/{}", crate::probe::marker());
    let mut seen = Vec::new();
    for path in [nowhere.as_str()].into_iter().chain(PATHS.into_iter().filter(|path| *path != own)) {
        match probe.handshake(&ask(path)).await {
            Handshake::Opened(socket) => {
                socket.close().await;
                return Ok(if path == nowhere {
                    Outcome::unknown("every path opens a WebSocket: a path says nothing")
                } else {
                    Outcome::fail(format!("{path}: 101 without a credential")).and_all(seen)
                });
            }
            Handshake::Limited(response) => {
                return Err(Outcome::unknown(format!("the target limits the audit: {response}"))
                    .settled_by("another run, later"));
            }
            Handshake::Unreached(why) => return Err(Outcome::unknown(format!("{path}: {why}")).and_all(seen)),
            Handshake::Refused(response) => seen.push(format!("{path}: {response}")),
            Handshake::Dropped(end) => seen.push(format!("{path}: {end}")),
        }
    }
    let first = seen.first().cloned().unwrap_or_default();
    Ok(Outcome::pass(first).and_all(seen.into_iter().skip(1)))
}
