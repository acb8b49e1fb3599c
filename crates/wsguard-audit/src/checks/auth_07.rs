//! Credentials where everybody writes them down.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::discover::Placement;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::jwt::Jwt;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-07",
    title: "No credential in the URL",
    category: Category::Authentication,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Credential, Need::Token],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[598], asvs: &["14.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6750#section-2.3" },
    what: "Looks where the good handshake carries its token, and whether `?token=` and `?access_token=` are taken as well.",
    why: "URLs are written into access logs, histories and crash reports, by every proxy on the way.",
    remedy: "Take the token in a header, in Sec-WebSocket-Protocol, in the first message, or trade it for a ticket of one \
             use that lives for seconds.",
    traps: "Tickets in the URL are right, if each works once: the audit uses its token again and again, so that what it \
            has is none. A token of at most 5 min counts as `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let token = probe.options().token.clone().unwrap_or_default();
    let way = probe.way();
    if matches!(way.placement, Placement::Query(_)) || way.path.contains("{token}") {
        let seen = format!("the good handshake carries its token in the URL ({})", way.placement.name());
        let life = Jwt::parse(&token).and_then(|jwt| Some(jwt.expires()?.saturating_sub(jwt.issued()?)));
        return match life {
            Some(seconds @ 0..=300) => Outcome::warn(seen).and(format!("the token lives for {seconds} s")),
            Some(seconds) => {
                Outcome::fail(seen).and(format!("the token lives for {seconds} s, and works more than once"))
            }
            None => Outcome::fail(seen).and("the token works more than once"),
        };
    }
    let mut refused = Vec::new();
    for name in ["token", "access_token"] {
        let request = probe.request_with(&Placement::Query(name), &token);
        // A login by message must not help: only then it is the URL that lets the peer in.
        let greets = way.placement.is_in_handshake().then_some(token.as_str());
        let entry = probe.enter(&request, greets).await;
        if let Some(outcome) = entry.undecided() {
            return outcome.and_all(refused);
        }
        let seen = format!("?{name}=: {}", entry.shown());
        match entry {
            Entry::Denied(_) => refused.push(seen),
            Entry::Served { .. } => return Outcome::warn(seen).and("taken, although another way exists"),
            _ if way.placement.is_in_handshake() => {
                return Outcome::warn(seen).and("taken, although another way exists").probable();
            }
            _ => refused.push(seen),
        }
    }
    let first = refused.first().cloned().unwrap_or_default();
    Outcome::pass(first).and_all(refused.into_iter().skip(1))
}
