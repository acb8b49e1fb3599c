//! Characters that texts should not carry.

use super::input::{Bench, Form, is_breakdown, line, weighed};
use super::internals::internals;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-07",
    title: "Hidden characters refused",
    category: Category::Input,
    severity: Severity::Low,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[176], asvs: &["1.1.1"], url: "https://www.unicode.org/reports/tr36/" },
    what: "Sends the good message with an escaped NUL, a lone surrogate, a right-to-left override, a raw tab within its text, and with a byte order mark before it.",
    why: "NUL ends a string elsewhere, and a lone surrogate breaks encoders: what is checked differs from what is used.",
    remedy: "Refuse control characters and lone surrogates in texts, and what is not valid JSON.",
    traps: "Taken is `warn`, and only an error that shows the inside is `fail`. Text in a right-to-left language holds characters that turn its direction, rightly: that an override passes is told and not judged, since only who shows the text can isolate it.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// A change of the good message, by name.
type Change = (&'static str, fn(&Form) -> Option<String>);

const OVERRIDE: &str = "a right-to-left override";

const CHANGES: [Change; 5] = [
    ("an escaped NUL", |form| form.with_text("\\u0000z")),
    ("a lone surrogate", |form| form.with_text("\\ud800z")),
    (OVERRIDE, |form| form.with_text("\u{202e}z")),
    ("a raw tab", |form| form.with_text("\tz")),
    ("a byte order mark", |form| Some(format!("\u{feff}{}", form.text))),
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let (mut taken, mut refused, mut told, mut ignored) = (Vec::new(), Vec::new(), None, false);
    for (name, change) in CHANGES {
        let answer = bench.ask(change).await?;
        let shown = line(name, &answer);
        match &answer {
            Answer::Refused(text) if let Some(sign) = internals(text) => {
                return Ok(Outcome::fail(format!("{name}: the error shows {sign}")).and_all(taken));
            }
            Answer::Served(_) if name == OVERRIDE => {
                told = Some(format!("{shown}; isolate texts where they are shown"));
            }
            Answer::Served(_) => taken.push(shown),
            answer if is_breakdown(answer) => return Ok(Outcome::warn(shown).and_all(taken)),
            answer => {
                ignored |= matches!(answer, Answer::Silent(_));
                refused.push(shown);
            }
        }
    }
    Ok(weighed(taken, refused, ignored).and_all(told))
}
