//! A neighbour below the same name.

use super::csrf_05::nearly;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::{Outcome, Status};
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-07",
    title: "Sub-domains not trusted wholesale",
    category: Category::Csrf,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs {
        cwe: &[346],
        asvs: &["4.4.2"],
        url: "https://owasp.org/www-project-application-security-verification-standard/",
    },
    what: "Repeats the good handshake with an Origin below the own host, `wsgaudit.HOST`, and with the parent of the own \
           host where it has one.",
    why: "SameSite cookies travel between sub-domains. One forgotten or taken-over sub-domain, or one that shows what \
          users upload, is then a page that may speak as the visitor.",
    remedy: "List the origins that are meant, one by one; no wildcard.",
    traps: "A wildcard may be deliberate; the outcome is `warn` all the same. Addresses have no sub-domains. Where every \
            Origin is let in the check does not apply.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(own) = probe.way().origin.clone() else {
        return Outcome::unknown("the good handshake has no Origin").settled_by("--origin");
    };
    let (scheme, authority) = own.split_once("://").unwrap_or(("https", &own));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.starts_with('[') || host.split('.').all(|part| part.parse::<u8>().is_ok()) {
        return Outcome::skipped(format!("{authority} is an address"));
    }
    let below = nearly(probe, &format!("{scheme}://wsgaudit.{authority}")).await;
    // The parent of `app.example.org` is a site of somebody; that of `example.org` is a registry.
    let Some((_, parent)) = authority.split_once('.').filter(|(_, parent)| parent.contains('.')) else { return below };
    if below.status != Status::Pass {
        return below;
    }
    let above = nearly(probe, &format!("{scheme}://{parent}")).await;
    above.and_all(below.evidence)
}
