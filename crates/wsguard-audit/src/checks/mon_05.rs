//! The clock, and whom to tell.

use std::time::UNIX_EPOCH;

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::response::Response;
use crate::probe::{Handshake, Probe, tls};

pub(super) const META: Meta = Meta {
    id: "WSA-MON-05",
    title: "Clock right, contact named",
    category: Category::Monitoring,
    severity: Severity::Info,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[778], asvs: &["16.2.2"], url: "https://www.rfc-editor.org/rfc/rfc9116#section-2" },
    what: "Compares `Date` of the page at `/`, or of the answer to a handshake, with the clock of the audit, and looks for \
           `/.well-known/security.txt`.",
    why: "Tokens end and logs tell by the clock: one that is minutes off lets ended tokens in and makes incidents hard to \
          follow. Whoever finds a hole looks for an address first.",
    remedy: "Keep the clock by NTP; serve a security.txt (RFC 9116).",
    traps: "A cache answers with an old `Date`: its `Age` is added. The auditor's own clock may be the wrong one: the \
            evidence says by how much they differ. That no security.txt is there is noted, and no finding.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut trouble = None;
    let mut skew = None;
    let mut pages = probe.fetch_each(&["/", "/.well-known/security.txt"].map(|path| probe.get(path))).await;
    let contact = pages.pop();
    match pages.pop() {
        Some(Ok(page)) => skew = difference(&page),
        Some(Err(why)) => trouble = Some(why.to_string()),
        None => {}
    }
    if skew.is_none() {
        match probe.handshake(&probe.request()).await {
            Handshake::Opened(socket) => {
                skew = difference(&socket.head);
                socket.close().await;
            }
            Handshake::Refused(response) | Handshake::Limited(response) => skew = difference(&response),
            Handshake::Dropped(end) => trouble = trouble.or_else(|| Some(end.to_string())),
            Handshake::Unreached(why) => trouble = trouble.or_else(|| Some(why.to_string())),
        }
    }
    let Some(skew) = skew else {
        return Outcome::unknown(trouble.unwrap_or_else(|| "the target sends no Date".into()));
    };
    let contact = match contact {
        Some(Ok(page)) if page.status == 200 && page.text().to_ascii_lowercase().contains("contact:") => {
            "security.txt is there"
        }
        Some(Ok(_)) => "no security.txt",
        Some(Err(_)) | None => "security.txt was not answered",
    };
    let seen = match skew {
        0 => "Date is right to the second".to_owned(),
        late @ ..0 => format!("Date is {} s behind the audit's clock", late.unsigned_abs()),
        early => format!("Date is {early} s ahead of the audit's clock"),
    };
    let outcome = if skew.unsigned_abs() <= 60 { Outcome::pass(seen) } else { Outcome::warn(seen) };
    outcome.and(contact)
}

/// How far the target's clock is ahead, in seconds.
fn difference(response: &Response) -> Option<i64> {
    let told = httpdate::parse_http_date(response.value("Date")?).ok()?;
    let told = i64::try_from(told.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let age = response.value("Age").and_then(|age| age.parse::<i64>().ok()).unwrap_or(0);
    let now = i64::try_from(tls::now().as_secs()).ok()?;
    Some(told.saturating_add(age).saturating_sub(now))
}
