//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use super::{Item, Report};
use crate::outcome::Status;

/// The HTML form.
pub fn html(report: &Report) -> String {
    let mut findings = String::new();
    for item in report.findings() {
        finding(&mut findings, item);
    }
    if findings.is_empty() {
        findings.push_str("<p>None.</p>");
    }
    let mut rows = String::new();
    for item in &report.checks {
        let evidence = item.evidence.first().map(String::as_str).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = write!(
            rows,
            "<tr class=\"{status}\"><td>{id}</td><td>{title}</td><td><b>{status}</b></td><td>{severity}</td><td>{evidence}</td></tr>",
            status = item.status.0.as_str(),
            id = escaped(&item.id),
            title = escaped(&item.title),
            severity = item.severity.0,
            evidence = escaped(evidence),
        );
    }
    include_str!("page.html")
        .replace("{{target}}", &escaped(&report.target))
        .replace("{{grade}}", &escaped(report.grade.as_deref().unwrap_or("–")))
        .replace("{{score}}", &report.score.to_string())
        .replace("{{coverage}}", &report.coverage.to_string())
        .replace("{{findings}}", &findings)
        .replace("{{rows}}", &rows)
}

fn finding(out: &mut String, item: &Item) {
    let word = if item.status.0 == Status::Fail { "failed" } else { "warning" };
    let mut evidence = String::new();
    for line in &item.evidence {
        let _ = write!(evidence, "<li>{}</li>", escaped(line));
    }
    let _ = write!(
        out,
        "<article class=\"{}\"><h3>{} {}</h3><p>{word}, {}, {}</p><ul>{evidence}</ul><p>{}</p></article>",
        item.severity.0,
        escaped(&item.id),
        escaped(&item.title),
        item.severity.0,
        item.confidence.0.as_str(),
        escaped(&item.remediation),
    );
}

/// Text of the target, harmless in text and attributes.
fn escaped(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
