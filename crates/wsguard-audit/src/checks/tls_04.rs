//! Who vouches for the certificate.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::tls::{facts, leaf, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::tls;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-04",
    title: "Certificate chain trusted",
    category: Category::Transport,
    severity: Severity::High,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[295], asvs: &["12.2.2"], url: "https://www.rfc-editor.org/rfc/rfc5280#section-6" },
    what: "Builds the chain from the certificates that the server shows to an authority of the system or of `--ca`, \
           apart from the name and the dates, which have checks of their own.",
    why: "Clients that accept a certificate nobody vouches for talk to whoever stands in between.",
    remedy: "Serve a certificate of an authority that clients trust, with every certificate in between.",
    traps: "A private authority: name it with `--ca`. A missing certificate in between works in browsers that have seen it \
            elsewhere; it is missing all the same. On a private address: `info`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let facts = match facts(probe).await {
        Ok(facts) => facts,
        Err(outcome) => return outcome,
    };
    let leaf = match leaf(&facts) {
        Ok(leaf) => leaf,
        Err(outcome) => return outcome,
    };
    let (system, own) = probe.trust().authorities;
    if system.saturating_add(own) == 0 {
        return Outcome::unknown("no authority is known on this machine").settled_by("--ca FILE");
    }
    // The dates have a check of their own: the chain is judged at a time at which the leaf was good.
    let now = match X509Certificate::from_der(leaf) {
        Ok((_, parsed)) if !parsed.validity().is_valid() => {
            let start = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0);
            UnixTime::since_unix_epoch(Duration::from_secs(start.saturating_add(60)))
        }
        _ => tls::now(),
    };
    let count = facts.chain.len();
    match probe.trust().judge(&facts.chain, &probe.target().host, now) {
        Ok(())
        | Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Outcome::pass(format!(
            "{count} certificates, trusted by {system} authorities of the system and {own} of --ca"
        )),
        Err(error) => weighed(probe, Outcome::fail(format!("{error}; the server shows {count} certificates"))),
    }
}
