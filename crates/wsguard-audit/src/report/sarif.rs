//! The report as SARIF 2.1.0, for code scanning.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{Item, Report};
use crate::CHECKS;
use crate::check::{Meta, Severity};
use crate::outcome::{Confidence, Status};

/// The SARIF form.
pub fn sarif(report: &Report) -> Value {
    // A report of another version may hold checks that this one does not know.
    let known: Vec<&Meta> = CHECKS
        .iter()
        .map(|check| check.meta)
        .filter(|meta| report.checks.iter().any(|item| item.id == meta.id))
        .collect();
    let rules: Vec<Value> = known
        .iter()
        .map(|meta| {
            let mut tags = vec!["security".to_owned(), meta.category.as_str().to_owned()];
            tags.extend(meta.refs.cwe.iter().map(|number| format!("external/cwe/cwe-{number:03}")));
            json!({
                "id": meta.id,
                "name": meta.title,
                "shortDescription": {"text": meta.title},
                "fullDescription": {"text": format!("{} {}", meta.what, meta.why)},
                "help": {"text": meta.remedy, "markdown": super::page(meta)},
                "helpUri": meta.refs.url,
                "defaultConfiguration": {"level": level(meta.severity)},
                "properties": {"security-severity": points(meta.severity), "tags": tags},
            })
        })
        .collect();
    let results: Vec<Value> = report.checks.iter().map(|item| result(report, item, &known)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": report.tool.name,
                "version": report.tool.version,
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "invocations": [{"executionSuccessful": true, "startTimeUtc": report.started_at}],
            "properties": {
                "grade": report.grade,
                "score": report.score,
                "coverage": report.coverage,
                "measured": {"handshake": report.measured.handshake, "answer": report.measured.answer},
                "performance": report.performance,
            },
            "results": results,
        }],
    })
}

fn result(report: &Report, item: &Item, known: &[&Meta]) -> Value {
    let (kind, severity) = match (item.status.0, item.confidence.0) {
        (Status::Fail, Confidence::Candidate) => ("review", "none"),
        (Status::Fail | Status::Warn, _) => {
            let is_warning = item.status.0 == Status::Warn;
            ("fail", if is_warning { "note" } else { level(item.severity.0) })
        }
        (Status::Pass, _) => ("pass", "none"),
        (Status::Unknown, _) => ("open", "none"),
        (Status::Skipped, _) => ("notApplicable", "none"),
    };
    let mut message = format!("{}: {}", item.title, item.evidence.join(". "));
    if let Some(settle) = &item.settled_by {
        message.push_str(". Settled by: ");
        message.push_str(settle);
    }
    let mut result = json!({
        "ruleId": item.id,
        "kind": kind,
        "level": severity,
        "message": {"text": message},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": report.target}},
            "logicalLocations": [{"fullyQualifiedName": report.target, "kind": "resource"}],
        }],
        "partialFingerprints": {"wsguardAudit/v1": fingerprint(&report.target, &item.id)},
        "properties": {
            "status": item.status.0.as_str(),
            "severity": item.severity.0.as_str(),
            "confidence": item.confidence.0.as_str(),
        },
    });
    let index = known.iter().position(|meta| meta.id == item.id);
    if let (Some(index), Some(result)) = (index, result.as_object_mut()) {
        result.insert("ruleIndex".to_owned(), json!(index));
    }
    result
}

/// The same for the same check of the same target, whatever else changed.
pub(crate) fn fingerprint(target: &str, id: &str) -> String {
    let sum = digest(&SHA256, format!("{id}\n{target}").as_bytes());
    sum.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// What code scanning sorts by, 0 to 10.
const fn points(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "3.0",
        Severity::Info => "0.0",
    }
}
