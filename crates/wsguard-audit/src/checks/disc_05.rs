//! What a stranger hears.

use super::findings::{Weight, findings};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::session::Session;
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-05",
    title: "Nothing sensitive before the login",
    category: Category::Disclosure,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[200], asvs: &["8.2.2"], url: "https://cwe.mitre.org/data/definitions/200.html" },
    what: "Opens a connection without a credential, speaks the target's language as far as a stranger may, listens to the \
           first 50 messages or for 3 s, and looks for private keys, keys of clouds, card numbers, tokens, addresses of \
           people and of machines.",
    why: "Whoever may listen before he is known hears what others may not.",
    remedy: "Send nothing but what the login needs before it is done; join streams afterwards.",
    traps: "Long texts of base64 hold everything by chance: a key must stand alone, a card number must have its check digit \
            and the beginning of an issuer. An address or a token may be the stranger's own: `warn`.",
};

const MESSAGES_MAX: usize = 50;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let how = match probe.handshake(&probe.request_as(None)).await {
        Handshake::Opened(socket) => match Session::establish(socket, probe.way(), None).await {
            Ok(mut session) => {
                listen(probe, &mut session).await;
                "open without a credential".to_owned()
            }
            Err(denial) => denial.to_string(),
        },
        Handshake::Refused(response) => return Outcome::pass(format!("without a credential: {response}")),
        Handshake::Dropped(end) => return Outcome::pass(format!("without a credential: {end}")),
        Handshake::Limited(response) => {
            return Outcome::unknown(format!("the target limits the audit: {response}"))
                .settled_by("another run, later");
        }
        Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
    };
    // Whatever came, in the greeting or behind it, to this check.
    let heard: Vec<String> = probe
        .transcript()
        .into_iter()
        .filter(|heard| heard.check == META.id && heard.kind != "body")
        .map(|heard| heard.text)
        .collect();
    let found = findings(&heard.join("\n"));
    let told = format!("{how}: {} messages", heard.len());
    let mut lines = found.iter().map(|finding| format!("{}: {}", finding.what, finding.shown()));
    let Some(first) = lines.next() else { return Outcome::pass(told).and("nothing sensitive in them") };
    let is_secret = found.first().is_some_and(|finding| finding.weight == Weight::Secret);
    if is_secret { Outcome::fail(first) } else { Outcome::warn(first) }.and_all(lines).and(told)
}

async fn listen(probe: &Probe, session: &mut Session) {
    let shared = probe.shared();
    let deadline = shared.soon(3.0);
    for _ in 0..MESSAGES_MAX {
        let event = session.socket.next_until(deadline).await;
        if event == Event::Quiet || event.is_end() {
            return;
        }
    }
}
