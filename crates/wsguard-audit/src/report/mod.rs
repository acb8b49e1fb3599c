//! What is handed over: the report as data, and its forms.

mod compare;
mod html;
mod markdown;
mod page;
mod plot;
mod sarif;
mod time;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use compare::{Comparison, compare};
pub use html::html;
pub use markdown::markdown;
pub use page::{index, page};
pub use sarif::sarif;
pub(crate) use time::rfc3339;

use crate::CHECKS;
use crate::check::{Category, Severity};
use crate::discover::Way;
use crate::grade::{Mark, grade};
use crate::measure::Measured;
use crate::outcome::{Confidence, Outcome, Status};
use crate::perf::Performance;
use crate::probe::Shared;
use crate::probe::budget::{Limits, Used};

/// The version of the JSON form; `docs/audit-report.schema.json` describes it.
pub const SCHEMA_VERSION: &str = "1.0";

/// A report. Its serde form is the JSON form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// Who made it.
    pub tool: Tool,
    /// The URL, without its query.
    pub target: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// How long it took.
    pub duration_ms: u64,
    /// `A+` to `F`, `T`, or none.
    pub grade: Option<String>,
    /// 0 to 100.
    pub score: u32,
    /// Percent of the applicable checks that were decided.
    pub coverage: f64,
    /// Why the grade is not the one of the score.
    pub grade_reasons: Vec<String>,
    /// How the target was spoken to.
    pub spoken: Spoken,
    /// What the audit was allowed to do to the target, and what it did.
    pub budget: Account,
    /// What the run measured beside its checks.
    #[serde(default)]
    pub measured: Measured,
    /// Performance and stress, with `--full`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub performance: Option<Performance>,
    /// What changed since another report, with `--compare`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comparison: Option<Comparison>,
    /// Counts.
    pub summary: Summary,
    /// Every check, in the order of the catalogue.
    pub checks: Vec<Item>,
}

/// Who made a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tool {
    /// `wsguard audit`.
    pub name: String,
    /// Of this crate.
    pub version: String,
}

/// How the target was spoken to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spoken {
    /// The language.
    pub dialect: String,
    /// Where the credential went.
    pub credential: String,
    /// The message that the target answers, if one was found.
    pub template: Option<String>,
    /// How the good handshake went, if it did.
    pub baseline: Option<String>,
    /// How a handshake without a credential went.
    pub anonymous: String,
}

impl Spoken {
    /// What was found out, without secrets.
    pub(crate) fn of(way: &Way, secrets: &[String]) -> Self {
        let clean = |text: &str| masked(text, secrets);
        Self {
            dialect: way.dialect.name(),
            credential: way.placement.name(),
            template: way.template.as_ref().map(|template| clean(&template.send)),
            baseline: way.baseline.as_deref().map(clean),
            anonymous: clean(&way.anonymous),
        }
    }
}

/// Limits, and what was used of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Connections opened.
    pub handshakes: [u64; 2],
    /// Most connections open at a time.
    pub sockets: [u64; 2],
    /// Messages sent.
    pub messages: [u64; 2],
    /// Frames sent.
    pub frames: [u64; 2],
    /// Bytes sent.
    pub bytes: [u64; 2],
    /// Times that the target limited the audit, and the audit paused.
    pub limited: u64,
}

impl Account {
    pub(crate) fn of(limits: Limits, used: Used) -> Self {
        Self {
            handshakes: [used.handshakes, limits.handshakes],
            sockets: [u64::from(used.sockets), u64::from(limits.sockets)],
            messages: [used.messages, limits.messages],
            frames: [used.frames, limits.frames],
            bytes: [used.bytes, limits.bytes],
            limited: used.limited,
        }
    }
}

/// Counts of outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All checks.
    pub total: usize,
    /// Of them good.
    pub pass: usize,
    /// Of them bad.
    pub fail: usize,
    /// Of them not as they should be.
    pub warn: usize,
    /// Of them undecided.
    pub unknown: usize,
    /// Of them not applicable or not asked for.
    pub skipped: usize,
    /// Failures by severity.
    pub failed_by_severity: BTreeMap<String, usize>,
}

/// A check of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// `WSA-CSRF-01`.
    pub id: String,
    /// What holds when it passes.
    pub title: String,
    /// What it is about.
    pub category: String,
    /// The answer.
    pub status: Named<Status>,
    /// How bad a failure is.
    pub severity: Named<Severity>,
    /// How sure the answer is.
    pub confidence: Named<Confidence>,
    /// What was seen, the decisive line first.
    pub evidence: Vec<String>,
    /// What would settle an `unknown`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled_by: Option<String>,
    /// What to do about a failure.
    pub remediation: String,
    /// Where the check comes from.
    pub references: References,
}

/// Where a check comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct References {
    /// `CWE-1385`.
    pub cwe: Vec<String>,
    /// OWASP ASVS 5.0 requirements.
    pub asvs: Vec<String>,
    /// The text that asks for it.
    pub url: String,
}

/// A word of a closed list, written as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<T>(pub T);

macro_rules! named {
    ($type:ty, $($value:expr),+) => {
        impl Serialize for Named<$type> {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.0.as_str())
            }
        }
        impl<'de> Deserialize<'de> for Named<$type> {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = String::deserialize(from)?;
                [$($value),+]
                    .into_iter()
                    .find(|value| value.as_str() == word)
                    .map(Self)
                    .ok_or_else(|| serde::de::Error::custom(format!("{word:?} is not a word of this list")))
            }
        }
    };
}
named!(Status, Status::Pass, Status::Fail, Status::Warn, Status::Unknown, Status::Skipped);
named!(Severity, Severity::Critical, Severity::High, Severity::Medium, Severity::Low, Severity::Info);
named!(Confidence, Confidence::Confirmed, Confidence::Probable, Confidence::Candidate);

/// What a report is made from.
pub(crate) struct Run<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) started_at: SystemTime,
    pub(crate) duration: Duration,
    pub(crate) outcomes: BTreeMap<&'static str, Outcome>,
    pub(crate) secrets: Vec<String>,
    pub(crate) performance: Option<Performance>,
}

impl Report {
    pub(crate) fn new(run: Run<'_>) -> Self {
        let Run { shared, started_at, duration, outcomes, secrets, performance } = run;
        let clean = |text: &str| masked(text, &secrets);
        let order = |category: &str| Category::ALL.iter().position(|one| one.as_str() == category);
        let mut checks: Vec<Item> = CHECKS
            .iter()
            .map(|check| {
                let meta = check.meta;
                let outcome = outcomes.get(meta.id).cloned().unwrap_or_else(|| Outcome::skipped("not asked for"));
                Item {
                    id: meta.id.to_owned(),
                    title: meta.title.to_owned(),
                    category: meta.category.as_str().to_owned(),
                    status: Named(outcome.status),
                    severity: Named(outcome.severity.unwrap_or(meta.severity)),
                    confidence: Named(outcome.confidence),
                    evidence: outcome.evidence.iter().map(|line| clean(line)).collect(),
                    settled_by: outcome.settle,
                    remediation: meta.remedy.to_owned(),
                    references: References {
                        cwe: meta.refs.cwe.iter().map(|number| format!("CWE-{number}")).collect(),
                        asvs: meta.refs.asvs.iter().map(|&id| id.to_owned()).collect(),
                        url: meta.refs.url.to_owned(),
                    },
                }
            })
            .collect();
        checks.sort_by(|a, b| (order(&a.category), &a.id).cmp(&(order(&b.category), &b.id)));
        let marks: Vec<Mark<'_>> = checks
            .iter()
            .map(|item| Mark {
                id: &item.id,
                status: item.status.0,
                severity: item.severity.0,
                confidence: item.confidence.0,
            })
            .collect();
        let grade = grade(&marks);
        let (limits, used): (Limits, _) = (shared.budget.limits(), shared.budget.used());
        let way = shared.way.get().cloned().unwrap_or_default();
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            tool: Tool { name: "wsguard audit".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            target: clean(&shared.target.shown()),
            started_at: rfc3339(started_at),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            grade: grade.letter,
            score: grade.score,
            coverage: grade.coverage,
            grade_reasons: grade.reasons,
            spoken: Spoken::of(&way, &secrets),
            budget: Account::of(limits, used),
            measured: shared.budget.record().measured(),
            performance,
            comparison: None,
            summary: Summary::of(&checks),
            checks,
        }
    }

    /// The failures of at least this severity, candidates not counted.
    pub fn failures(&self, at_least: Severity) -> impl Iterator<Item = &Item> {
        self.checks.iter().filter(move |item| {
            item.status.0 == Status::Fail && item.severity.0 >= at_least && item.confidence.0 != Confidence::Candidate
        })
    }

    /// What to look at: failures and warnings, worst first.
    pub fn findings(&self) -> Vec<&Item> {
        let mut found: Vec<&Item> =
            self.checks.iter().filter(|item| matches!(item.status.0, Status::Fail | Status::Warn)).collect();
        found.sort_by_key(|item| (item.status.0 == Status::Warn, std::cmp::Reverse(item.severity.0)));
        found
    }

    /// The JSON form.
    ///
    /// # Errors
    /// Never for a report that was made here; serde's interface allows it.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl Summary {
    fn of(checks: &[Item]) -> Self {
        let count = |status: Status| checks.iter().filter(|item| item.status.0 == status).count();
        let failed = |severity: Severity| {
            checks.iter().filter(|item| item.status.0 == Status::Fail && item.severity.0 == severity).count()
        };
        Self {
            total: checks.len(),
            pass: count(Status::Pass),
            fail: count(Status::Fail),
            warn: count(Status::Warn),
            unknown: count(Status::Unknown),
            skipped: count(Status::Skipped),
            failed_by_severity: Severity::ALL.iter().map(|one| (one.as_str().to_owned(), failed(*one))).collect(),
        }
    }
}

/// `text` with every secret as `***`, control and bidi characters escaped.
pub(crate) fn masked(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), "***");
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let is_bidi = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || is_bidi {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_and_no_control_character_gets_into_a_report() {
        let secrets = ["abc.def".to_owned()];
        assert_eq!(masked("x abc.def \u{1b}[2J \u{202e}", &secrets), "x *** \\u{1b}[2J \\u{202e}");
    }
}
