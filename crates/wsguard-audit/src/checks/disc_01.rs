//! Names and versions in headers.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Handshake;
use crate::probe::Probe;
use crate::probe::response::Response;

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-01",
    title: "No version banners",
    category: Category::Disclosure,
    severity: Severity::Low,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[200], asvs: &["13.4.6"], url: "https://owasp.org/www-project-secure-headers/" },
    what: "Reads `Server`, `X-Powered-By` and `Via` of the good handshake, of one with a wrong version, and of one to a path that does not exist.",
    why: "A version tells which known holes to try first.",
    remedy: "Switch the headers off, or leave the bare name.",
    traps: "The name of a CDN in front is no secret: without a version it counts as the warning that any name is.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut nowhere = probe.request();
    nowhere.target = format!("/{}", crate::probe::marker());
    let asked = [
        ("the good handshake", probe.request()),
        ("version 99", probe.request().set("Sec-WebSocket-Version", "99")),
        ("a path that does not exist", nowhere),
    ];
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    let mut limited = None;
    for (name, request) in asked {
        let head = match probe.handshake(&request).await {
            Handshake::Opened(socket) => {
                let head = socket.head.clone();
                socket.close().await;
                head
            }
            Handshake::Refused(head) => head,
            // A limit proves nothing but the name that it comes with.
            Handshake::Limited(head) => {
                limited = limited.or_else(|| Some(format!("the target limits the audit: {head}")));
                head
            }
            Handshake::Dropped(end) => {
                seen.push(format!("{name}: {end}"));
                continue;
            }
            Handshake::Unreached(why) => {
                seen.push(format!("{name}: {why}"));
                continue;
            }
        };
        let lines = banners(&head);
        if lines.is_empty() {
            seen.push(format!("{name}: {head}, no name"));
        } else {
            told.push(format!("{name}: {head}, {lines}"));
        }
    }
    if let (true, Some(limited)) = (told.is_empty(), limited) {
        return Outcome::unknown(limited).and_all(seen).settled_by("another run, later");
    }
    let answered = !told.is_empty() || seen.iter().any(|line| line.ends_with("no name"));
    let is_told = !told.is_empty();
    let mut lines = told.into_iter().chain(seen);
    let first = lines.next().unwrap_or_default();
    match (answered, is_told) {
        (false, _) => Outcome::unknown(first),
        (true, true) => Outcome::warn(first),
        (true, false) => Outcome::pass(first),
    }
    .and_all(lines)
}

fn banners(head: &Response) -> String {
    let named = ["Server", "X-Powered-By", "Via"].map(|name| (name, head.value(name).unwrap_or_default()));
    let lines: Vec<String> =
        named.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}: {value}")).collect();
    lines.join(", ")
}
