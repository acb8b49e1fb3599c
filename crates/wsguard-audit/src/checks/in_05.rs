//! Numbers that not every reader reads alike.

use super::input::{Bench, Form, Place, is_breakdown, is_no_place, line, weighed};
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
    what: "Finds a place of the good message where a number is taken, one that it has or a further member, and puts `1E400`, `NaN`, 2^53+1 and 300 digits there. Where the answer shows the number, it must be the one that was sent.",
    why: "A number that is rounded, or becomes infinity or null, is another account, another price, another limit than the one that was checked.",
    remedy: "Refuse numbers that a double cannot hold, and what is not JSON; carry large ids as text.",
    traps: "Programs with whole numbers of any size take 2^53+1 rightly: only another number in the answer is a failure.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Where numbers are put.
enum Spot {
    /// In place of a number of the good message.
    Own(String),
    /// Into a further member.
    Further(Place),
}

impl Spot {
    const NAME: &str = "wsguardAudit";

    fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Further(_) => Self::NAME,
        }
    }

    fn put(&self, form: &Form, raw: &str) -> Option<String> {
        match self {
            Self::Own(_) => form.with_number(raw),
            Self::Further(place) => form.with_member(*place, Self::NAME, raw),
        }
    }
}

/// A place where the target takes another number than the message had, and its answer.
async fn spot(bench: &mut Bench<'_>, control: &str) -> Result<Option<(Spot, String)>, Outcome> {
    let mut name = None;
    let own = bench.ask(|form| {
        name = form.number_name().map(str::to_owned);
        form.with_number(control)
    });
    match (own.await, name) {
        (Ok(Answer::Served(reply)), Some(name)) => return Ok(Some((Spot::Own(name), reply))),
        (Err(outcome), _) if !is_no_place(&outcome) => return Err(outcome),
        _ => {}
    }
    let further = bench.open_place(Spot::NAME, control).await?;
    Ok(further.map(|(place, reply)| (Spot::Further(place), reply)))
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let control = "48271";
    let Some((spot, reply)) = spot(&mut bench, control).await? else {
        return Ok(Outcome::unknown("no place of the message takes a number").settled_by("--send with a number"));
    };
    let comes_back = reply.contains(control);
    let digits = "7".repeat(300);
    let (mut taken, mut refused, mut ignored) = (Vec::new(), Vec::new(), false);
    for (name, raw) in
        [("1E400", "1E400"), ("NaN", "NaN"), ("2^53+1", "9007199254740993"), ("300 digits", digits.as_str())]
    {
        let answer = bench.ask(|form| spot.put(form, raw)).await?;
        let shown = line(name, &answer);
        match &answer {
            Answer::Served(reply) if comes_back && is_another(reply, spot.name(), raw) => {
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
fn is_another(reply: &str, name: &str, raw: &str) -> bool {
    let shows =
        |word: &str| reply.contains(&format!("\"{name}\":{word}")) || reply.contains(&format!("\"{name}\": {word}"));
    match raw {
        "1E400" => shows("null") || shows("Infinity"),
        "NaN" => shows("null"),
        "9007199254740993" => reply.contains("9007199254740992") || reply.contains("9.007199254740992e"),
        _ => !reply.contains(raw),
    }
}
