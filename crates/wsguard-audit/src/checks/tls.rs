//! What the checks of the transport share.

use rustls::pki_types::CertificateDer;

use crate::check::Severity;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::link::TlsFacts;

/// TLS as a client of today speaks it.
pub(super) async fn facts(probe: &Probe) -> Result<TlsFacts, Outcome> {
    let link = probe.connect().await.map_err(|why| Outcome::unknown(why.to_string()))?;
    link.tls.ok_or_else(|| Outcome::skipped("the target does not use TLS"))
}

/// The certificate of the server itself.
pub(super) fn leaf(facts: &TlsFacts) -> Result<&CertificateDer<'static>, Outcome> {
    facts.chain.first().ok_or_else(|| Outcome::unknown("the target showed no certificate"))
}

/// On a private address nobody may be listening, and certificates are of one's own making: worth a word.
pub(super) fn weighed(probe: &Probe, outcome: Outcome) -> Outcome {
    let is_finding = matches!(outcome.status, crate::Status::Fail | crate::Status::Warn);
    if is_finding && probe.target().is_private() {
        outcome.at(Severity::Info).and("on a private address")
    } else {
        outcome
    }
}
