//! For whom the certificate is.

use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::tls::{facts, leaf, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-05",
    title: "Certificate names the host",
    category: Category::Transport,
    severity: Severity::High,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[297], asvs: &["12.2.2"], url: "https://www.rfc-editor.org/rfc/rfc9525" },
    what: "Compares the host of the URL with the names in the certificate.",
    why: "A good certificate for another name proves that somebody else is there.",
    remedy: "Get a certificate whose subjectAltName holds the name that clients use.",
    traps: "An address in the URL where clients use a name. On a private address: `info`.",
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
    let host = &probe.target().host;
    let names = names(leaf);
    let (Ok(name), Ok(parsed)) = (ServerName::try_from(host.as_str()), ParsedCertificate::try_from(leaf)) else {
        return Outcome::unknown("the certificate or the host cannot be read");
    };
    match verify_server_name(&parsed, &name) {
        Ok(()) => Outcome::pass(format!("{host} is among {names}")),
        Err(_) => weighed(probe, Outcome::fail(format!("{host} is not among {names}"))),
    }
}

fn names(leaf: &[u8]) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return "no names".into() };
    let names: Vec<String> = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .map(|name| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    GeneralName::IPAddress(bytes) => {
                        let address = <[u8; 4]>::try_from(*bytes)
                            .map(IpAddr::from)
                            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                        address.map_or_else(|_| format!("an address of {} bytes", bytes.len()), |ip| ip.to_string())
                    }
                    other => other.to_string(),
                })
                .collect()
        })
        .unwrap_or_default();
    if names.is_empty() { "no names at all".into() } else { names.join(", ") }
}
