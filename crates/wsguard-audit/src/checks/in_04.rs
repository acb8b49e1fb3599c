//! Lists in lists in lists.

use super::input::{Bench, is_breakdown, line};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-04",
    title: "Nesting bounded",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[674], asvs: &["2.2.1"], url: "https://cwe.mitre.org/data/definitions/674.html" },
    what: "Finds a place of the good message where a list is taken, and puts lists nested 64 and 512 deep (with `--full` 4,096) into it.",
    why: "Code that follows a document by calling itself runs out of stack; a few kilobytes of brackets are enough.",
    remedy: "Bound the depth of documents before they are walked: 32 is plenty for messages.",
    traps: "Never more than 4,096 deep. A bound between 64 and 512 is one: the `warn` is of low severity then. Where no place takes a list at all, depth is refused with it, and the check passes as `probable`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// A member that no other check uses: some servers keep what they are sent.
const NAME: &str = "wsguardDepth";

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let Some((place, _)) = bench.open_place(NAME, "[]").await? else {
        let answer = bench.ask(|form| form.with_member(super::input::Place::Outer, NAME, &nested(512))).await?;
        return Ok(match answer {
            Answer::Served(_) => Outcome::warn(line("512 deep", &answer)),
            answer if is_breakdown(&answer) => Outcome::fail(line("512 deep", &answer)),
            answer => Outcome::pass(line("512 deep", &answer)).and("no place of the message takes a list").probable(),
        });
    };
    let depths: &[usize] = if probe.options().full { &[64, 512, 4_096] } else { &[64, 512] };
    let mut taken = format!("{}: a list is taken", place.name());
    for depth in depths {
        let answer = bench.ask(|form| form.with_member(place, NAME, &nested(*depth))).await?;
        let shown = line(&format!("{depth} deep"), &answer);
        match answer {
            Answer::Served(_) => taken = shown,
            answer if is_breakdown(&answer) => return Ok(Outcome::fail(shown).and(taken)),
            // There is a bound, far above what any message needs.
            _ if *depth > 64 => return Ok(Outcome::warn(taken).and(shown).at(Severity::Low)),
            Answer::Silent(_) => return Ok(Outcome::pass(shown).and(taken).probable()),
            _ => return Ok(Outcome::pass(shown).and(taken)),
        }
    }
    Ok(Outcome::warn(taken).and(format!("as {}", place.name())))
}
