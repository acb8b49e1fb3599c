//! Shortcuts of TLS.

use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::tls::weighed;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::hello::{Hello, Reply};

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-10",
    title: "No early data, compression, old renegotiation",
    category: Category::Transport,
    severity: Severity::Low,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[294], asvs: &["12.1.2"], url: "https://www.rfc-editor.org/rfc/rfc8446#section-8" },
    what: "Connects once, and looks whether the session ticket allows early data. Offers compression by hand. Looks \
           whether secure renegotiation is known. Nothing is sent early, nothing renegotiated.",
    why: "Early data can be replayed by whoever records it, an upgrade with its credential too; compression of TLS leaks \
          what is beside it (CRIME).",
    remedy: "Do not accept early data for upgrades (answer 425), switch compression off.",
    traps: "A ticket that allows early data is no acceptance: `warn`. A server of TLS 1.3 alone has neither compression \
            nor renegotiation.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let suites = [0xc02f, 0xc02b, 0xc030, 0xc02c, 0xc013, 0xc014, 0x002f];
    let by_hand = match probe.say_hello(&Hello { version: 0x0303, suites: &suites, compression: true }).await {
        Ok(Reply::Hello { compressed: true, .. }) => {
            return weighed(probe, Outcome::fail("compression was offered and agreed on"));
        }
        Ok(Reply::Hello { secure_renegotiation, .. }) => Some(secure_renegotiation),
        // As in WSA-TLS-02: what a server of 1.3 alone answers.
        Ok(Reply::Alert(40 | 70)) => None,
        Ok(reply) => {
            return Outcome::unknown(format!("a ClientHello of TLS 1.2 by hand was not understood: {reply:?}"));
        }
        Err(why) => return Outcome::unknown(why.to_string()),
    };
    let early = match early_data(probe).await {
        Ok(early) => early,
        Err(outcome) => return outcome,
    };
    if early {
        return weighed(probe, Outcome::warn("the session ticket allows early data").probable());
    }
    match by_hand {
        Some(false) => weighed(
            probe,
            Outcome::warn("no compression, no early data; secure renegotiation is unknown to the server"),
        ),
        Some(true) => Outcome::pass("no compression, no early data, secure renegotiation"),
        None => Outcome::pass("no early data; no TLS 1.2, which alone has compression and renegotiation"),
    }
}

/// Whether a second connection could send early data.
async fn early_data(probe: &Probe) -> Result<bool, Outcome> {
    let unknown = |why: String| Outcome::unknown(why);
    let (mut config, _) = probe.trust().client(&[b"http/1.1"]).map_err(|error| unknown(error.to_string()))?;
    config.enable_early_data = true;
    let config = Arc::new(config);
    let link = probe.connect_tls(Arc::clone(&config)).await.map_err(|why| unknown(why.to_string()))?;
    // Tickets come with the first bytes of the server: a whole answer is read.
    probe.fetch_on(link, &probe.get("/")).await.map_err(|why| unknown(format!("GET /: {why}")))?;
    let name = ServerName::try_from(probe.target().host.clone()).map_err(|error| unknown(error.to_string()))?;
    let mut second = ClientConnection::new(config, name).map_err(|error| unknown(error.to_string()))?;
    Ok(second.early_data().is_some())
}
