//! What errors tell.

use super::input::{Bench, Form, is_no_place};
use super::internals::internals;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::shortened;

pub(super) const META: Meta = Meta {
    id: "WSA-ERR-01",
    title: "No internals in messages",
    category: Category::Errors,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Last,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[209], asvs: &["16.5.1"], url: "https://cwe.mitre.org/data/definitions/209.html" },
    what: "Provokes errors with messages that are unfinished, empty of meaning, of the wrong type or hold a quote, then reads everything that the target said to any check: traces, paths, errors of databases and deserialisers.",
    why: "A trace names files, libraries and versions, and often the query: a map for whoever looks for the next hole.",
    remedy: "Answer with a code and a reference; write the rest into the log.",
    traps: "A text that only holds the word exception is none: one sign must be plain (a trace, a path, a database), or two weaker ones come together.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Errors that few servers expect.
const ERRORS: [fn(&Form) -> Option<String>; 5] = [
    |form| Some(form.text.strip_suffix(|_: char| true)?.to_owned()),
    |form| Some(form.text.split(['{', '[']).next()?.to_owned() + "null"),
    |form| form.with_value("[1]"),
    |form| form.with_text("'"),
    |form| {
        let (name, value) = form.kind()?;
        Some(form.text.replacen(&format!(r#""{name}":"{value}""#), &format!(r#""{name}":"wsguard-none""#), 1))
    },
];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut trouble = None;
    if probe.way().template.is_some() {
        match Bench::open(probe).await {
            Ok(mut bench) => {
                for change in ERRORS {
                    match bench.ask(change).await {
                        Err(outcome) if !is_no_place(&outcome) => {
                            trouble = outcome.evidence.first().cloned();
                            break;
                        }
                        _ => {}
                    }
                }
            }
            Err(outcome) => trouble = outcome.evidence.first().cloned(),
        }
    }
    let heard: Vec<_> = probe.transcript().into_iter().filter(|heard| heard.kind != "body").collect();
    for heard in &heard {
        if let Some(sign) = internals(&heard.text) {
            return Ok(Outcome::fail(format!("a {} shows {sign}", heard.kind))
                .and(shortened(&heard.text))
                .and(format!("said to {}", heard.check)));
        }
    }
    let errors = heard.iter().filter(|heard| crate::discover::dialect::is_refusal(&heard.text)).count();
    let reasons = heard.iter().filter(|heard| heard.kind == "close reason").count();
    if errors == 0 && reasons == 0 {
        let why = trouble.unwrap_or_else(|| format!("{} messages, and no error among them", heard.len()));
        return Err(Outcome::unknown(why).settled_by("--send and --expect, and a run of all checks"));
    }
    Ok(Outcome::pass(format!(
        "no sign of the inside in {errors} errors, {reasons} close reasons and {} messages in all",
        heard.len()
    )))
}
