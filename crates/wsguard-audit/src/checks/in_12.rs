//! Members that only the server may set.

use super::input::{Bench, Place, line};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-12",
    title: "Members of the server not taken from a peer",
    category: Category::Input,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[915], asvs: &["8.2.3"], url: "https://cwe.mitre.org/data/definitions/915.html" },
    what: "Adds `role`, `isAdmin` and `userId` with random values to the outermost object of the good message, and looks for them in the answer.",
    why: "A program that copies every member of a message onto its record lets a peer name his own role.",
    remedy: "Copy the members that a message may set, by name; refuse the others.",
    traps: "Members that are dropped without a word are no hole: `pass`. A target that sends back exactly what it was sent shows nothing: `unknown`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let role = crate::probe::marker();
    let more = format!(r#""{role}","isAdmin":true,"userId":"{role}""#);
    let answer = bench.ask(|form| form.with_member(Place::Outer, "role", &more)).await?;
    let shown = line("role, isAdmin, userId", &answer);
    Ok(match answer {
        Answer::Served(reply) if bench.mirrors && reply.contains(&role) => {
            Outcome::unknown(shown).and("the target sends back what it is sent").settled_by("another --send")
        }
        Answer::Served(reply) if reply.contains(&role) => Outcome::fail(shown),
        Answer::Served(_) => Outcome::pass(shown).and("the members are dropped"),
        Answer::Silent(_) => Outcome::pass(shown).probable(),
        _ => Outcome::pass(shown),
    })
}
