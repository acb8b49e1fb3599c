//! Ciphers that protect nothing.

use super::tls::weighed;
use super::tls_02::understood;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::hello::{Hello, Reply};

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-08",
    title: "Weak cipher suites refused",
    category: Category::Transport,
    severity: Severity::Medium,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[327], asvs: &["12.1.2"], url: "https://www.rfc-editor.org/rfc/rfc9325#section-4.2" },
    what: "Sends one ClientHello of TLS 1.2 per family of weak suites, with nothing else in it: no encryption, no \
           authentication, export keys and DES, RC4, 3DES, CBC with SHA-1, and RSA key exchange.",
    why: "What a server agrees to, an attacker in between can make both sides agree to.",
    remedy: "Allow ECDHE with AES-GCM or ChaCha20-Poly1305 alone.",
    traps: "Offering is not choosing: only a ServerHello that names a suite of the family counts. CBC, 3DES and RSA key \
            exchange are `warn`, the others `fail`.",
};

/// A family: its name, its suites, and whether agreeing is a failure.
const FAMILIES: [(&str, &[u16], bool); 7] = [
    ("no encryption (NULL)", &[0x0001, 0x0002, 0x003b, 0xc006, 0xc010, 0x002c], true),
    ("no authentication (anon)", &[0x0018, 0x001b, 0x0034, 0x003a, 0x006c, 0xc018, 0xc019, 0xc017], true),
    ("export keys and DES", &[0x0003, 0x0006, 0x0008, 0x0014, 0x0011, 0x0062, 0x0009, 0x0012, 0x0015], true),
    ("RC4", &[0x0004, 0x0005, 0xc011, 0xc007], true),
    ("3DES", &[0x000a, 0xc012, 0xc008, 0x0016], false),
    ("CBC with SHA-1", &[0xc013, 0xc014, 0xc009, 0xc00a, 0x0033, 0x0039], false),
    ("RSA key exchange, without forward secrecy", &[0x009c, 0x009d, 0x003c, 0x002f, 0x0035], false),
];

pub(super) async fn run(probe: &Probe) -> Outcome {
    if let Err(outcome) = understood(probe).await {
        return outcome;
    }
    let mut failed = Vec::new();
    let mut warned = Vec::new();
    let (mut refused, mut without_alert) = (Vec::new(), false);
    for (name, suites, is_failure) in FAMILIES {
        match probe.say_hello(&Hello { version: 0x0303, suites, compression: false }).await {
            Ok(Reply::Hello { suite, .. }) if suites.contains(&suite) => {
                let list = if is_failure { &mut failed } else { &mut warned };
                list.push(format!("{name}: suite {suite:#06x} agreed"));
            }
            Ok(Reply::Alert(alert)) => refused.push(format!("{name}: alert {alert}")),
            Ok(Reply::Closed) => {
                without_alert = true;
                refused.push(format!("{name}: closed without an alert"));
            }
            Ok(Reply::Hello { suite, .. }) => refused.push(format!("{name}: suite {suite:#06x} instead")),
            Err(why) => return Outcome::unknown(format!("{name}: {why}")).and_all(failed).and_all(warned),
        }
    }
    if let Some(first) = failed.first().cloned() {
        let rest = failed.into_iter().skip(1);
        return weighed(probe, Outcome::fail(first).and_all(rest).and_all(warned));
    }
    if let Some(first) = warned.first().cloned() {
        return weighed(probe, Outcome::warn(first).and_all(warned.into_iter().skip(1)));
    }
    let outcome = Outcome::pass(format!("{} weak families refused", refused.len())).and_all(refused);
    if !without_alert {
        return outcome;
    }
    // Who closes on everybody by now refused no suite.
    match understood(probe).await {
        Ok(_) => outcome.probable(),
        Err(again) => again.and("after connections that ended without an alert"),
    }
}
