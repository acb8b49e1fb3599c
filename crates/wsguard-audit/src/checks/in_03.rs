//! The same member twice.

use super::input::{Bench, Place, line, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-03",
    title: "Duplicate members refused",
    category: Category::Input,
    severity: Severity::Low,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[436], asvs: &["1.5.3"], url: "https://www.rfc-editor.org/rfc/rfc8259#section-4" },
    what: "Sends the good message with its first plain member twice, with the same value: once as it is, once with a letter of its name escaped.",
    why: "Where two parsers read the same message, one takes the first member and the other the last: what was checked is not what is used.",
    remedy: "Refuse messages in which a name occurs twice, names compared after unescaping.",
    traps: "To take the last is common: `warn`, never `fail`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let (mut taken, mut refused, mut ignored) = (Vec::new(), Vec::new(), false);
    for (what, is_escaped) in [("twice", false), ("twice, one escaped", true)] {
        let answer = bench
            .ask(|form| {
                let (name, value) = form.kind()?;
                let mut letters = name.chars();
                let name = match letters.next() {
                    Some(first) if is_escaped => format!("\\u{:04x}{}", u32::from(first), letters.as_str()),
                    _ => name.clone(),
                };
                form.with_member(Place::Outer, &name, &format!(r#""{value}""#))
            })
            .await?;
        ignored |= matches!(answer, Answer::Silent(_));
        let shown = line(what, &answer);
        if matches!(answer, Answer::Served(_)) { taken.push(shown) } else { refused.push(shown) }
    }
    Ok(weighed(taken, refused, ignored))
}
