//! Messages of another form than the one that is served.

use super::input::{Bench, Form, Place, is_no_place, line};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-02",
    title: "Messages held to a schema",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &["2.2.1"], url: "https://cwe.mitre.org/data/definitions/20.html" },
    what: "Sends the good message with a further member, with a list where its text belongs, with a number where its type belongs, and with a type that does not exist.",
    why: "Code behind the socket takes for granted what a schema would have checked: a list where a text belongs reaches queries and templates as something else.",
    remedy: "Check every message against a schema that forbids further members before anything else sees it.",
    traps: "Readers that skip unknown members do so by design: `warn`. Inside the payload of an echo that the audit found by itself any type may be right: that is not judged.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// A change, and how bad it is when it is taken.
type Change = (&'static str, bool, fn(&Form) -> Option<String>);

const CHANGES: [Change; 4] = [
    ("a list where the text belongs", true, |form| form.with_value(&format!(r#"["{}"]"#, form.marker))),
    ("a number where the type belongs", true, |form| {
        let (name, value) = form.kind()?;
        Some(form.text.replacen(&format!(r#""{name}":"{value}""#), &format!(r#""{name}":7"#), 1))
            .filter(|text| *text != form.text)
    }),
    ("a type that does not exist", false, |form| {
        let (name, value) = form.kind()?;
        Some(form.text.replacen(&format!(r#""{name}":"{value}""#), &format!(r#""{name}":"wsguard-none""#), 1))
            .filter(|text| *text != form.text)
    }),
    ("a further member", false, |form| form.with_member(Place::Outer, "wsguardAudit", "1")),
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let is_given = probe.options().send.is_some();
    let (mut bad, mut tolerated, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, is_bad, change)) in CHANGES.into_iter().enumerate() {
        let is_free = |form: &Form| index == 0 && !is_given && !form.is_flat();
        let answer = match bench.ask(|form| if is_free(form) { None } else { change(form) }).await {
            Ok(answer) => answer,
            Err(outcome) if is_no_place(&outcome) => continue,
            Err(outcome) => return Err(outcome.and_all(bad).and_all(refused)),
        };
        let shown = line(name, &answer);
        match answer {
            Answer::Served(_) if is_bad => bad.push(shown),
            Answer::Served(_) => tolerated.push(shown),
            _ => refused.push(shown),
        }
    }
    if bad.is_empty() && tolerated.is_empty() && refused.is_empty() {
        return Ok(Outcome::unknown("the message has no part that could be of another form")
            .settled_by("--send with a JSON object that holds {marker} in a text"));
    }
    let mut lines = bad.clone().into_iter().chain(tolerated.clone()).chain(refused);
    let first = lines.next().unwrap_or_default();
    let outcome = match (bad.is_empty(), tolerated.is_empty()) {
        (false, _) => Outcome::fail(first),
        (true, false) => Outcome::warn(first),
        (true, true) => Outcome::pass(first),
    };
    Ok(outcome.and_all(lines))
}
