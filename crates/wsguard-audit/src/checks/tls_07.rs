//! How strong keys and signatures of the certificates are.

use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::tls::{facts, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-07",
    title: "Keys and signatures strong",
    category: Category::Transport,
    severity: Severity::Medium,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[326], asvs: &["12.1.2"], url: "https://www.rfc-editor.org/rfc/rfc9325#section-4.5" },
    what: "Reads key and signature algorithm of each certificate that the server shows: RSA from 2,048 bits, curves from \
           256, SHA-2.",
    why: "A key that can be computed, or a signature that can be forged, is somebody else's certificate.",
    remedy: "Renew with an ECDSA P-256 or RSA 2,048 key, signed with SHA-256 or better.",
    traps: "The signature of a root is of no matter, since nobody verifies it: a certificate that signed itself is judged \
            by its key alone.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let facts = match facts(probe).await {
        Ok(facts) => facts,
        Err(outcome) => return outcome,
    };
    let mut seen = Vec::new();
    for der in &facts.chain {
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return Outcome::unknown("a certificate cannot be read").and_all(seen);
        };
        let (key, is_strong) = match parsed.public_key().parsed() {
            Ok(PublicKey::RSA(rsa)) => (format!("RSA {}", rsa.key_size()), rsa.key_size() >= 2_048),
            Ok(PublicKey::EC(point)) => (format!("EC {}", point.key_size()), point.key_size() >= 256),
            Ok(PublicKey::DSA(_)) => ("DSA".to_owned(), false),
            // Ed25519 and Ed448 are keys of one size, and not read further.
            _ => ("a key of its own kind".to_owned(), true),
        };
        let subject = parsed.subject().to_string();
        let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
        let is_root = parsed.subject() == parsed.issuer();
        let weak = weak_signature(&algorithm).filter(|_| !is_root);
        let line = format!("{subject}: {key}, signature {algorithm}");
        if !is_strong {
            return weighed(probe, Outcome::fail(format!("{line}: the key is too short")).and_all(seen));
        }
        if let Some(name) = weak {
            return weighed(probe, Outcome::fail(format!("{line}: signed with {name}")).and_all(seen));
        }
        seen.push(line);
    }
    match seen.first().cloned() {
        Some(first) => Outcome::pass(first).and_all(seen.into_iter().skip(1)),
        None => Outcome::unknown("the target showed no certificate"),
    }
}

/// The name of a signature algorithm that can be forged.
fn weak_signature(oid: &str) -> Option<&'static str> {
    match oid {
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" | "1.3.14.3.2.29" => Some("SHA-1"),
        _ => None,
    }
}
