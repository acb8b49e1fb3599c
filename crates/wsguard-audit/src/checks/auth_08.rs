//! A token that comes back.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe, marker};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-08",
    title: "Token among the subprotocols not echoed",
    category: Category::Authentication,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[200], asvs: &["14.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2" },
    what: "Repeats the good handshake with an entry in Sec-WebSocket-Protocol that looks like a token, before those that \
           the target knows, and reads which one it chooses.",
    why: "Browsers can bring a token only there. A server that answers with the first entry sends the token back, into \
          logs and to whoever reads responses.",
    remedy: "Choose from a fixed list of names; never answer with anything else.",
    traps: "Answering with a name that both know is right. A refusal of unknown entries is right too.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let bait = format!("bearer.{}", marker());
    let good = probe.request();
    let offered = match good.value("Sec-WebSocket-Protocol") {
        Some(list) => format!("{bait}, {list}"),
        None => bait.clone(),
    };
    let own = probe.options().token.clone().filter(|token| offered.contains(token.as_str()));
    if let Some(token) = &own {
        // Where the token itself is an entry, what comes back to the good handshake decides, and to one without the
        // names beside it.
        let entry = offered.split(", ").find(|entry| entry.contains(token.as_str())).unwrap_or_default();
        for request in [good.anew(), good.anew().set("Sec-WebSocket-Protocol", entry)] {
            if let Handshake::Opened(socket) = probe.handshake(&request).await {
                let chosen = socket.subprotocol().map(str::to_owned);
                socket.close().await;
                if chosen.is_some_and(|chosen| chosen.contains(token.as_str())) {
                    return Outcome::fail("the token itself came back as the chosen subprotocol");
                }
            }
        }
    }
    match probe.handshake(&good.set("Sec-WebSocket-Protocol", &offered)).await {
        Handshake::Opened(socket) => {
            let chosen = socket.subprotocol().map(str::to_owned);
            socket.close().await;
            match chosen {
                Some(chosen) if chosen.contains(&bait) => {
                    Outcome::fail(format!("an entry that looks like a token came back: {chosen}"))
                }
                Some(chosen) if own.is_some_and(|token| chosen.contains(&token)) => {
                    Outcome::fail(format!("the token itself came back: {chosen}"))
                }
                Some(chosen) => Outcome::pass(format!("the target chose {chosen}")),
                None => Outcome::pass("the target chose none of the entries"),
            }
        }
        Handshake::Refused(response) => Outcome::pass(format!("an entry that looks like a token: {response}")),
        Handshake::Dropped(end) => Outcome::pass(format!("an entry that looks like a token: {end}")).probable(),
        Handshake::Limited(response) => Outcome::unknown(format!("the target limits the audit: {response}")),
        Handshake::Unreached(why) => Outcome::unknown(why.to_string()),
    }
}
