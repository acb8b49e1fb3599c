//! The report as Markdown, for pull requests and tickets.

use std::fmt::Write as _;

use super::{Item, Report};
use crate::outcome::Status;

/// The Markdown form.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let grade = report.grade.as_deref().unwrap_or("no letter");
    let summary = &report.summary;
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "# WebSocket audit of {}\n\n**Grade {grade}**, score {} of 100, coverage {} %: {} passed, {} failed, {} warned, \
         {} unknown, {} skipped.\n\n",
        text(&report.target),
        report.score,
        report.coverage,
        summary.pass,
        summary.fail,
        summary.warn,
        summary.unknown,
        summary.skipped,
    );
    for reason in &report.grade_reasons {
        let _ = writeln!(out, "- {}", text(reason));
    }
    if !report.grade_reasons.is_empty() {
        out.push('\n');
    }
    let _ = write!(
        out,
        "{} · {} {} · {} · credential: {}\n\n",
        report.started_at,
        report.tool.name,
        report.tool.version,
        text(&report.spoken.dialect),
        text(&report.spoken.credential),
    );
    let findings = report.findings();
    out.push_str("## Findings\n\n");
    if findings.is_empty() {
        out.push_str("None.\n\n");
    }
    for item in findings {
        finding(&mut out, item);
    }
    out.push_str("## All checks\n\n| check | status | severity | evidence |\n| --- | --- | --- | --- |\n");
    for item in &report.checks {
        let evidence = item.evidence.first().map(String::as_str).unwrap_or_default();
        let settle = item.settled_by.as_ref().map(|what| format!(" (settled by: {what})")).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} {} | {} | {} | {} |",
            item.id,
            cell(&item.title),
            item.status.0.as_str(),
            item.severity.0,
            cell(&format!("{evidence}{settle}")),
        );
    }
    if let Some(performance) = &report.performance {
        out.push_str("\n## Performance and stress\n\n| | |\n| --- | --- |\n");
        for (name, value) in performance.lines() {
            let _ = writeln!(out, "| {} | {} |", cell(&name), cell(&value));
        }
    }
    let budget = &report.budget;
    let _ = write!(
        out,
        "\n## Budget\n\n| | used | allowed |\n| --- | --- | --- |\n| handshakes | {} | {} |\n| sockets at a time | {} | {} |\n\
         | messages | {} | {} |\n| frames | {} | {} |\n| bytes | {} | {} |\n\nThe target limited the audit {} times.\n",
        budget.handshakes[0],
        budget.handshakes[1],
        budget.sockets[0],
        budget.sockets[1],
        budget.messages[0],
        budget.messages[1],
        budget.frames[0],
        budget.frames[1],
        budget.bytes[0],
        budget.bytes[1],
        budget.limited,
    );
    out
}

fn finding(out: &mut String, item: &Item) {
    let word = if item.status.0 == Status::Fail { "failed" } else { "warning" };
    let _ = write!(
        out,
        "### {} {}\n\n{word}, {}, {}\n\n",
        item.id,
        text(&item.title),
        item.severity.0,
        item.confidence.0.as_str()
    );
    for line in &item.evidence {
        let _ = writeln!(out, "- {}", text(line));
    }
    let mut sources = item.references.cwe.clone();
    sources.extend(item.references.asvs.iter().map(|id| format!("ASVS {id}")));
    let _ = write!(out, "\nRemedy: {}\n\n{} · <{}>\n\n", item.remediation, sources.join(", "), item.references.url);
}

/// Text of the target that must stay text: nothing in it is markup.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for letter in raw.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '~' => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
    }
    out
}

fn cell(raw: &str) -> String {
    text(raw).replace(['\n', '\r'], " ")
}
