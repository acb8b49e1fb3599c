//! Versions of TLS that are broken.

use super::tls::weighed;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::hello::{Hello, Reply, version_name};

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-02",
    title: "TLS 1.0 and 1.1 refused",
    category: Category::Transport,
    severity: Severity::Medium,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[327], asvs: &["12.1.1"], url: "https://www.rfc-editor.org/rfc/rfc8996" },
    what: "Sends a ClientHello of TLS 1.0 and one of TLS 1.1, written by hand since no library speaks them any more, and \
           reads the first answer.",
    why: "TLS 1.0 and 1.1 rest on MD5 and SHA-1, and their block ciphers leak; RFC 8996 retires them.",
    remedy: "Allow TLS 1.2 and 1.3 alone.",
    traps: "A ClientHello of TLS 1.2 written by the same hand must be understood first; otherwise nothing is said. A \
            connection that ends without an alert is a refusal with less certainty.",
};

/// Suites of TLS 1.0 and later: ECDHE and RSA with AES-CBC and SHA-1, and 3DES.
const OLD: [u16; 9] = [0xc014, 0xc013, 0xc00a, 0xc009, 0x0039, 0x0033, 0x0035, 0x002f, 0x000a];

/// Suites of TLS 1.2 that servers of today choose.
const CURRENT: [u16; 6] = [0xc02f, 0xc02b, 0xc030, 0xc02c, 0xcca8, 0xcca9];

/// Whether the target understands a ClientHello of this hand at all.
pub(super) async fn understood(probe: &Probe) -> Result<String, Outcome> {
    match probe.say_hello(&Hello { version: 0x0303, suites: &CURRENT, compression: false }).await {
        Ok(Reply::Hello { version, .. }) => Ok(format!("TLS 1.2 offered: {} agreed", version_name(version))),
        // 70 is protocol_version, 40 handshake_failure: both are answers to what was asked, of a server with 1.3 alone.
        Ok(Reply::Alert(alert @ (40 | 70))) => Ok(format!("TLS 1.2 offered: alert {alert}")),
        Ok(reply) => Err(Outcome::unknown(format!("a ClientHello of TLS 1.2 by hand was not understood: {reply:?}"))),
        Err(why) => Err(Outcome::unknown(why.to_string())),
    }
}

pub(super) async fn run(probe: &Probe) -> Outcome {
    let control = match understood(probe).await {
        Ok(control) => control,
        Err(outcome) => return outcome,
    };
    let mut refused = Vec::new();
    let mut without_alert = false;
    for version in [0x0301, 0x0302] {
        let name = version_name(version);
        match probe.say_hello(&Hello { version, suites: &OLD, compression: false }).await {
            Ok(Reply::Hello { version: chosen, suite, .. }) if chosen <= 0x0302 => {
                let seen = format!("{name} offered: {} agreed, suite {suite:#06x}", version_name(chosen));
                return weighed(probe, Outcome::fail(seen).and(control));
            }
            Ok(Reply::Hello { version: chosen, .. }) => {
                refused.push(format!("{name} offered: {} answered", version_name(chosen)));
            }
            Ok(Reply::Alert(alert)) => refused.push(format!("{name} offered: alert {alert}")),
            Ok(Reply::Closed) => {
                without_alert = true;
                refused.push(format!("{name} offered: closed without an alert"));
            }
            Err(why) => return Outcome::unknown(format!("{name} offered: {why}")).and_all(refused),
        }
    }
    let first = refused.first().cloned().unwrap_or_default();
    let outcome = Outcome::pass(first).and_all(refused.into_iter().skip(1)).and(control);
    if !without_alert {
        return outcome;
    }
    // Who closes on everybody by now refused no version.
    match understood(probe).await {
        Ok(_) => outcome.probable(),
        Err(again) => again.and("after a connection that ended without an alert"),
    }
}
