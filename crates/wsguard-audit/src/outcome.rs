//! What a check found, how sure it is, and what its proof is.

use serde::Serialize;

use crate::check::Severity;

/// The answer of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Proved good.
    Pass,
    /// Proved bad.
    Fail,
    /// Not as it should be, without being a hole by itself.
    Warn,
    /// Nothing was proved.
    Unknown,
    /// Does not apply to this target, or was not asked for.
    Skipped,
}

impl Status {
    /// As it stands in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// How sure an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Seen, and seen again.
    Confirmed,
    /// Seen, with another explanation that is less likely.
    Probable,
    /// Follows from a version or a fingerprint alone.
    Candidate,
}

impl Confidence {
    /// As it stands in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Probable => "probable",
            Self::Candidate => "candidate",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
#[must_use = "an outcome that nobody reports was not found"]
pub struct Outcome {
    /// The answer.
    pub status: Status,
    /// How sure it is.
    pub confidence: Confidence,
    /// In place of the check's own severity.
    pub severity: Option<Severity>,
    /// What was seen, a line each, the decisive one first.
    pub evidence: Vec<String>,
    /// What would settle an `unknown`: `--token-b`.
    pub settle: Option<String>,
    /// The check saw it twice by itself.
    pub is_repeated: bool,
}

impl Outcome {
    fn new(status: Status, evidence: impl Into<String>) -> Self {
        Self {
            status,
            confidence: Confidence::Confirmed,
            severity: None,
            evidence: vec![evidence.into()],
            settle: None,
            is_repeated: false,
        }
    }

    /// Proved good by `evidence`.
    pub fn pass(evidence: impl Into<String>) -> Self {
        Self::new(Status::Pass, evidence)
    }

    /// Proved bad by `evidence`.
    pub fn fail(evidence: impl Into<String>) -> Self {
        Self::new(Status::Fail, evidence)
    }

    /// Not as it should be.
    pub fn warn(evidence: impl Into<String>) -> Self {
        Self::new(Status::Warn, evidence)
    }

    /// Nothing was proved, because of `why`.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::new(Status::Unknown, why)
    }

    /// Does not apply, because of `why`.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::new(Status::Skipped, why)
    }

    /// Another line of evidence.
    pub fn and(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// More lines of evidence.
    pub fn and_all(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// With less than certainty: another explanation is possible.
    pub fn probable(mut self) -> Self {
        self.confidence = Confidence::Probable;
        self
    }

    /// Seen twice by the check itself.
    pub(crate) fn twice(mut self) -> Self {
        self.is_repeated = true;
        self.and("seen twice")
    }

    /// From a fingerprint alone.
    pub fn candidate(mut self) -> Self {
        self.confidence = Confidence::Candidate;
        self
    }

    /// With another severity than the check's own.
    pub fn at(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    /// What would settle it: an option, or a circumstance.
    pub fn settled_by(mut self, what: impl Into<String>) -> Self {
        self.settle = Some(what.into());
        self
    }
}
