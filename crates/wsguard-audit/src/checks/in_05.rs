//! Numbers that not every reader reads alike.

use super::input::{Bench, is_breakdown, line, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-05",
    title: "Numbers read strictly",
    category: Category::Input,
    severity: Severity::Low,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1284], asvs: &["1.5.3"], url: "https://www.rfc-editor.org/rfc/rfc8259#section-6" },
    what: "Finds a place of the good message where a number is taken, and puts `1E400`, `NaN`, 2^53+1 and 300 digits there. Where the answer shows the number, it must be the one that was sent.",
    why: "A number that is rounded, or becomes infinity or null, is another account, another price, another limit than the one that was checked.",
    remedy: "Refuse numbers that a double cannot hold, and what is not JSON; carry large ids as text.",
    traps: "Programs with whole numbers of any size take 2^53+1 rightly: only another number in the answer is a failure.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let control = "48271";
    let Some((place, reply)) = bench.open_place("wsguardAudit", control).await? else {
        return Ok(Outcome::unknown("no place of the message takes a number").settled_by("--send with a number"));
    };
    let comes_back = reply.contains(control);
    let digits = "7".repeat(300);
    let (mut taken, mut refused, mut ignored) = (Vec::new(), Vec::new(), false);
    for (name, raw) in
        [("1E400", "1E400"), ("NaN", "NaN"), ("2^53+1", "9007199254740993"), ("300 digits", digits.as_str())]
    {
        let answer = bench.ask(|form| form.with_member(place, "wsguardAudit", raw)).await?;
        let shown = line(name, &answer);
        match &answer {
            Answer::Served(reply) if comes_back && is_another(reply, raw) => {
                return Ok(Outcome::fail(format!("{name} comes back as another value: {}", answer.shown())));
            }
            // Not shown or the same: whether it was understood cannot be seen.
            Answer::Served(_) if raw.starts_with('9') => refused.push(format!("{name}: taken, and not changed")),
            Answer::Served(_) => taken.push(shown),
            answer if is_breakdown(answer) => return Ok(Outcome::fail(shown).and_all(taken)),
            Answer::Silent(_) => {
                ignored = true;
                refused.push(shown);
            }
            _ => refused.push(shown),
        }
    }
    Ok(weighed(taken, refused, ignored))
}

/// The answer holds a value in place of `raw`, and not `raw` itself in any way of writing it.
fn is_another(reply: &str, raw: &str) -> bool {
    match raw {
        "1E400" => ["null", "Infinity"].iter().any(|word| {
            reply.contains(&format!("\"wsguardAudit\":{word}")) || reply.contains(&format!("\"wsguardAudit\": {word}"))
        }),
        "NaN" => reply.contains("\"wsguardAudit\":null") || reply.contains("\"wsguardAudit\": null"),
        "9007199254740993" => reply.contains("9007199254740992") || reply.contains("9.007199254740992e"),
        _ => !reply.contains(raw),
    }
}
