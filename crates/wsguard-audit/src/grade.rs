//! From outcomes to a letter: 100 points less what was found, capped by the worst of it.
//!
//! `docs/audit.md` explains the numbers to those who are graded.

use serde::{Deserialize, Serialize};

use crate::check::Severity;
use crate::outcome::{Confidence, Status};

/// Share of the applicable checks that must be decided for a letter, in percent.
pub(crate) const COVERAGE_MIN: f64 = 60.0;

/// The checks whose failure means that the server cannot be told from an impostor.
const TRUST: [&str; 3] = ["WSA-TLS-04", "WSA-TLS-05", "WSA-TLS-06"];

/// What the letter is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark<'a> {
    pub(crate) id: &'a str,
    pub(crate) status: Status,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
}

/// A letter, with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grade {
    /// `A+` to `F`, `T` for a certificate that cannot be trusted; `None` where too little was decided.
    pub letter: Option<String>,
    /// 0 to 100.
    pub score: u32,
    /// Percent of the applicable checks that were decided.
    pub coverage: f64,
    /// Why the letter is not the one of the score.
    pub reasons: Vec<String>,
}

/// Points that a failure costs.
const fn weight(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 40,
        Severity::High => 20,
        Severity::Medium => 8,
        Severity::Low => 3,
        Severity::Info => 0,
    }
}

/// Points that an outcome costs, in quarters.
fn cost(mark: Mark<'_>) -> u32 {
    let share = match (mark.status, mark.confidence) {
        (Status::Fail, Confidence::Confirmed) => 4,
        (Status::Fail, Confidence::Probable) => 2,
        (Status::Warn, Confidence::Confirmed | Confidence::Probable) => 1,
        _ => 0,
    };
    weight(mark.severity).saturating_mul(share)
}

/// Grades a run.
pub(crate) fn grade(marks: &[Mark<'_>]) -> Grade {
    let count = |wanted: fn(Status) -> bool| marks.iter().filter(|mark| wanted(mark.status)).count();
    let applicable = count(|status| status != Status::Skipped);
    let decided = count(|status| matches!(status, Status::Pass | Status::Fail | Status::Warn));
    let percent = |part: usize, whole: usize| {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        if whole == 0 { 0.0 } else { (f64::from(part) * 1000.0 / f64::from(whole)).round() / 10.0 }
    };
    let coverage = percent(decided, applicable);
    let lost = marks.iter().fold(0_u32, |sum, mark| sum.saturating_add(cost(*mark)));
    let score = 100_u32.saturating_sub(lost.div_ceil(4));

    let confirmed = |severity: Severity| {
        marks
            .iter()
            .find(|mark| {
                mark.status == Status::Fail && mark.severity == severity && mark.confidence == Confidence::Confirmed
            })
            .map(|mark| mark.id)
    };
    let mut reasons = Vec::new();
    let mut letter = letter_of(score, marks);
    if let Some(id) = confirmed(Severity::High) {
        reasons.push(format!("{id} is a confirmed finding of high severity: at most C"));
        if matches!(letter, "A+" | "A" | "B") {
            letter = "C";
        }
    }
    if let Some(id) = confirmed(Severity::Critical) {
        reasons.push(format!("{id} is a confirmed critical finding: F"));
        letter = "F";
    }
    if let Some(mark) = marks
        .iter()
        .find(|mark| mark.status == Status::Fail && TRUST.contains(&mark.id) && mark.severity > Severity::Info)
    {
        reasons.push(format!("{}: the certificate cannot be trusted: T", mark.id));
        letter = "T";
    }
    let letter = if coverage < COVERAGE_MIN {
        reasons.push(format!("{coverage} % of the applicable checks were decided; a letter needs {COVERAGE_MIN} %"));
        None
    } else {
        Some(letter.to_owned())
    };
    Grade { letter, score, coverage, reasons }
}

fn letter_of(score: u32, marks: &[Mark<'_>]) -> &'static str {
    let is_clean = !marks
        .iter()
        .any(|mark| mark.status == Status::Fail || (mark.status == Status::Warn && mark.severity >= Severity::Medium));
    match score {
        97.. if is_clean => "A+",
        90.. => "A",
        80.. => "B",
        65.. => "C",
        50.. => "D",
        30.. => "E",
        _ => "F",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: &str, status: Status, severity: Severity, confidence: Confidence) -> Mark<'_> {
        Mark { id, status, severity, confidence }
    }

    #[test]
    fn letters_follow_the_findings() {
        use Confidence::{Candidate, Confirmed, Probable};
        use Severity::{Critical, High, Low, Medium};
        use Status::{Fail, Pass, Skipped, Unknown, Warn};
        let passed = |count: usize| vec![mark("p", Pass, High, Confirmed); count];
        let with =
            |count: usize, more: &[Mark<'static>]| passed(count).into_iter().chain(more.iter().copied()).collect();
        let cases: [(&str, Vec<Mark<'_>>, Option<&str>, u32); 12] = [
            ("all good", passed(10), Some("A+"), 100),
            ("a small warning", with(10, &[mark("x", Warn, Low, Confirmed)]), Some("A+"), 99),
            ("a medium warning", with(10, &[mark("x", Warn, Medium, Confirmed)]), Some("A"), 98),
            ("a small failure", with(10, &[mark("x", Fail, Low, Confirmed)]), Some("A"), 97),
            ("a medium failure", with(10, &[mark("x", Fail, Medium, Confirmed)]), Some("A"), 92),
            ("a high failure", with(10, &[mark("x", Fail, High, Confirmed)]), Some("C"), 80),
            ("a probable high failure", with(10, &[mark("x", Fail, High, Probable)]), Some("A"), 90),
            ("a candidate costs nothing", with(10, &[mark("x", Fail, Critical, Candidate)]), Some("A"), 100),
            ("critical", with(10, &[mark("x", Fail, Critical, Confirmed)]), Some("F"), 60),
            ("no trust", with(10, &[mark("WSA-TLS-04", Fail, High, Confirmed)]), Some("T"), 80),
            ("not applicable is not missing", with(3, &[mark("x", Skipped, High, Confirmed); 9]), Some("A+"), 100),
            ("too little known", with(5, &[mark("x", Unknown, High, Confirmed); 5]), None, 100),
        ];
        for (name, marks, letter, score) in cases {
            let grade = grade(&marks);
            assert_eq!((grade.letter.as_deref(), grade.score), (letter, score), "{name}: {grade:?}");
        }
    }

    #[test]
    fn nothing_was_looked_at() {
        assert_eq!(grade(&[]).letter, None);
    }
}
