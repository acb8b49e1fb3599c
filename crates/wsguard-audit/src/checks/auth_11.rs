//! What belongs to somebody else.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-11",
    title: "Each message authorised",
    category: Category::Authentication,
    severity: Severity::Critical,
    needs: &[Need::Baseline, Need::Credential, Need::TokenB, Need::SendGiven],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[862, 639], asvs: &["8.2.1", "8.2.2"], url: "https://cwe.mitre.org/data/definitions/639.html" },
    what: "Sends the message of `--send`, which the identity of `--token` may send, with the identity of `--token-b`.",
    why: "A login says who somebody is, not what he may do. Handlers that look an object up by the number in the message \
          give it to everybody who is logged in.",
    remedy: "Authorise each message against the identity of its connection, down to the object it names.",
    traps: "Only a message that the second identity may not send proves anything: nothing is guessed, `--send` must be \
            given. An object that both share is served rightly: the finding is `probable` for that reason.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(token_b) = probe.options().token_b.clone() else { return Outcome::unknown("needs a second identity") };
    if probe.way().template.as_ref().is_some_and(|template| template.echoes) {
        return Outcome::unknown("the answer is what was sent: everybody may have that")
            .settled_by("--send and --expect of something that belongs to the first identity alone");
    }
    let own = probe.enter_as_self(&probe.request()).await;
    if !matches!(own, Entry::Served { .. }) {
        return Outcome::unknown(format!("the first identity itself is not served: {}", own.shown()))
            .settled_by("--send and --expect");
    }
    let entry = probe.enter(&probe.request_as(Some(&token_b)), Some(&token_b)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("the message of the first identity, sent by the second: {}", entry.shown());
    match entry {
        Entry::Served { .. } => Outcome::fail(seen).probable(),
        Entry::Denied(denial) if denial.status().is_some() => {
            Outcome::unknown(seen).and("the second identity did not get in at all").settled_by("--token-b")
        }
        Entry::Denied(_) => Outcome::pass(seen),
        _ => Outcome::pass(seen).probable(),
    }
}
