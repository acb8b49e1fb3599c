//! How long the certificate is good.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::tls::{facts, leaf, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Probe, tls};

pub(super) const META: Meta = Meta {
    id: "WSA-TLS-06",
    title: "Certificate in its dates",
    category: Category::Transport,
    severity: Severity::Medium,
    needs: &[Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[298], asvs: &["12.2.2"], url: "https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5" },
    what: "Compares the dates of the server's certificate with the clock, and warns 14 days before its end.",
    why: "Clients refuse an ended certificate, or are taught to click it away.",
    remedy: "Renew it, and let a machine do so from now on.",
    traps: "The auditor's clock may be wrong. On a private address: `info`.",
};

const SOON_DAYS: i64 = 14;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let facts = match facts(probe).await {
        Ok(facts) => facts,
        Err(outcome) => return outcome,
    };
    let leaf = match leaf(&facts) {
        Ok(leaf) => leaf,
        Err(outcome) => return outcome,
    };
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return Outcome::unknown("the certificate cannot be read");
    };
    let validity = parsed.validity();
    let now = i64::try_from(tls::now().as_secs()).unwrap_or(i64::MAX);
    let days = |from: i64, to: i64| to.saturating_sub(from).checked_div(86_400).unwrap_or(0);
    let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now < start {
        weighed(probe, Outcome::fail(format!("begins in {} days", days(now, start))))
    } else if now > end {
        weighed(probe, Outcome::fail(format!("ended {} days ago", days(end, now))))
    } else if days(now, end) <= SOON_DAYS {
        weighed(probe, Outcome::warn(format!("ends in {} days", days(now, end))))
    } else {
        Outcome::pass(format!("good for {} more days", days(now, end)))
    }
}
