//! No door without a lock.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::link::Unreached;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-01",
    title: "No WebSocket without TLS",
    category: Category::Transport,
    severity: Severity::High,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs {
        cwe: &[319],
        asvs: &["4.4.1", "12.2.1", "4.1.2"],
        url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.6",
    },
    what: "Asks for the same WebSocket without TLS: on the port of the URL, and on port 80 where the URL has port 443. \
           No credential is sent.",
    why: "Whoever carries the bytes reads the credential and every message, and adds his own.",
    remedy: "Serve `wss://` alone. Close port 80, or answer there with a redirect of the page, never with an upgrade.",
    traps: "Loopback and private targets, where development happens: `warn` at `info`. Another site may answer on port \
            80: only a 101 with the right Sec-WebSocket-Accept counts.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let target = probe.target();
    if !target.tls {
        let seen = format!("the audited URL itself is {}", target.shown());
        return if target.is_private() {
            Outcome::warn(seen).and("on a private address, where nobody may be listening").at(Severity::Info)
        } else {
            Outcome::fail(seen)
        };
    }
    let mut ports = vec![target.port];
    if target.port == 443 {
        ports.push(80);
    }
    let mut seen = Vec::new();
    let mut redirected = false;
    let mut decided = false;
    for port in ports {
        let request = probe.request_as(None);
        let answer = match probe.connect_with(false, port, &[]).await {
            Ok(link) => probe.fetch_on(link, &request).await,
            Err(why) => Err(why),
        };
        match answer {
            Ok(response)
                if response.status == 101 && response.value("Sec-WebSocket-Accept") == Some(&request.accept()) =>
            {
                return Outcome::fail(format!("port {port} without TLS: {response}")).and_all(seen);
            }
            Ok(response) if matches!(response.status, 429 | 502..=504) => {
                seen.push(format!("port {port} without TLS: {response}"));
            }
            // What asks for a credential would be content with one in clear text.
            Ok(response) if port == target.port && matches!(response.status, 401 | 403 | 426) => {
                return Outcome::warn(format!("port {port} without TLS: {response}, by the application"))
                    .and("no credential was sent in clear text to find out what comes next")
                    .and_all(seen);
            }
            Ok(response) => {
                decided = true;
                redirected |= matches!(response.status, 301 | 302 | 307 | 308);
                seen.push(format!("port {port} without TLS: {response}"));
            }
            Err(Unreached::Connect(error)) => {
                decided = true;
                seen.push(format!("port {port} without TLS: {error}"));
            }
            // An alert of TLS, or the end of the connection: what a TLS port says to HTTP.
            Err(Unreached::NotHttp) => {
                decided = true;
                seen.push(format!("port {port} without TLS: not HTTP"));
            }
            Err(why) => seen.push(format!("port {port} without TLS: {why}")),
        }
    }
    let first = seen.first().cloned().unwrap_or_default();
    let rest = seen.into_iter().skip(1);
    match (decided, redirected) {
        (false, _) => Outcome::unknown(first).and_all(rest),
        (true, true) => Outcome::warn(first)
            .and_all(rest)
            .and("a redirect hides that the client began in clear text")
            .at(Severity::Low),
        (true, false) => Outcome::pass(first).and_all(rest),
    }
}
