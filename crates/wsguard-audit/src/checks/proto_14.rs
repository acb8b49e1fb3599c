//! The same door in HTTP/2.

use super::csrf_01::FOREIGN;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::http2::Parallel;
use crate::probe::request::Request;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-14",
    title: "HTTP/2 as strict as HTTP/1.1",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Tls],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[288], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc8441" },
    what: "Where the target speaks HTTP/2 and offers WebSockets in it (extended CONNECT), sends the good handshake there, \
           then one without a credential and one with a foreign Origin, speaks as far as it gets, and compares with \
           HTTP/1.1.",
    why: "A handshake of HTTP/2 has no `Upgrade` and another method: rules that look for these let it pass.",
    remedy: "Decide on the handshake in one place that both versions go through; or do not offer \
             SETTINGS_ENABLE_CONNECT_PROTOCOL.",
    traps: "What both versions let in is judged by WSA-AUTH-01 and WSA-CSRF-01. HTTP/3 is not asked.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let token = probe.options().token.clone();
    let good = over_http2(probe, &probe.request(), token.as_deref()).await?;
    if !good.is_in() {
        return Err(Outcome::unknown(format!("the good handshake over HTTP/2: {}", good.shown())));
    }
    let (mut weaker, mut seen) = (Vec::new(), vec![format!("the good handshake over HTTP/2: {}", good.shown())]);
    drop(good);
    for (name, request, credential) in [
        ("without a credential", probe.request_as(None), None),
        ("with a foreign Origin", probe.request().origin(FOREIGN), token.as_deref()),
    ] {
        let old = probe.enter(&request, credential).await;
        if let Some(outcome) = old.undecided() {
            return Err(outcome.and_all(seen));
        }
        let new = over_http2(probe, &request, credential).await.map_err(|outcome| outcome.and_all(seen.clone()))?;
        let line = format!("{name}: HTTP/2: {}; HTTP/1.1: {}", new.shown(), old.shown());
        if new.is_beyond(&old) { weaker.push(line) } else { seen.push(line) }
    }
    let is_weaker = !weaker.is_empty();
    let mut lines = weaker.into_iter().chain(seen);
    let first = lines.next().unwrap_or_default();
    Ok(if is_weaker { Outcome::fail(first) } else { Outcome::pass(first) }.and_all(lines))
}

async fn over_http2(probe: &Probe, request: &Request, credential: Option<&str>) -> Result<Entry, Outcome> {
    match probe.handshake_http2(request).await {
        Parallel::NotOffered(why) => Err(Outcome::skipped(why)),
        Parallel::Spoken(handshake) => {
            let entry = probe.enter_behind(handshake, probe.way(), credential).await;
            entry.undecided().map_or(Ok(entry), Err)
        }
    }
}
