//! The report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write as _;

use super::{Item, Report, plot};
use crate::check::Category;
use crate::outcome::{Confidence, Status};

/// The HTML form.
pub fn html(report: &Report) -> String {
    let findings = report.findings();
    let mut list = String::new();
    for item in &findings {
        finding(&mut list, item);
    }
    if findings.is_empty() {
        list.push_str("<p>Nothing failed and nothing warned.</p>");
    }
    let mut rows = String::new();
    for item in &report.checks {
        row(&mut rows, item);
    }
    let mut reasons = String::new();
    for reason in &report.grade_reasons {
        // Writing to a String does not fail.
        let _ = write!(reasons, "<p>{}</p>", escaped(reason));
    }
    let tone = match report.grade.as_deref() {
        Some("A+" | "A" | "B") => "good",
        Some("C" | "D") => "fair",
        Some(_) => "bad",
        None => "none",
    };
    // One pass over the page: what the target said is never looked through for places to fill.
    let mut page = String::new();
    let mut rest = include_str!("page.html");
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        match name {
            "target" => page.push_str(&escaped(&report.target)),
            "grade" => page.push_str(&escaped(report.grade.as_deref().unwrap_or("?"))),
            "tone" => page.push_str(tone),
            "started" => page.push_str(&escaped(&report.started_at)),
            "seconds" => page.push_str(&report.duration_ms.div_ceil(1_000).to_string()),
            "score" => page.push_str(&report.score.to_string()),
            "coverage" => page.push_str(&report.coverage.to_string()),
            "reasons" => page.push_str(&reasons),
            "bar" => page.push_str(&bar(report)),
            "findings" => page.push_str(&list),
            "subjects" => page.push_str(&subjects(report)),
            "rows" => page.push_str(&rows),
            "measured" => page.push_str(&measured(report)),
            "facts" => page.push_str(&facts(report)),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Outcomes in the order of bars, with the colour of each.
const TONES: [(Status, &str); 5] = [
    (Status::Fail, "--critical"),
    (Status::Warn, "--medium"),
    (Status::Pass, "--pass"),
    (Status::Unknown, "--unknown"),
    (Status::Skipped, "--line"),
];

/// All outcomes in one line, and what its colours mean.
fn bar(report: &Report) -> String {
    let all: Vec<&Item> = report.checks.iter().collect();
    let mut out = format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 14\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{}</svg>",
        strips(&all, 0, 0, 1000, 14)
    );
    out.push_str("<ul class=\"key\">");
    for (status, colour) in TONES {
        let count = all.iter().filter(|item| item.status.0 == status).count();
        let _ = write!(out, "<li><i style=\"background:var({colour})\"></i>{count} {}</li>", status.as_str());
    }
    out.push_str("</ul>");
    out
}

/// Rectangles side by side, as wide as there are outcomes of each kind.
fn strips(items: &[&Item], x: usize, y: usize, width: usize, height: usize) -> String {
    let total = items.len().max(1);
    let mut out = String::new();
    let mut before = 0_usize;
    for (status, colour) in TONES {
        let count = items.iter().filter(|item| item.status.0 == status).count();
        let place = |count: usize| width.saturating_mul(count).checked_div(total).unwrap_or(0);
        let (from, to) = (place(before), place(before.saturating_add(count)));
        before = before.saturating_add(count);
        if count > 0 {
            let _ = write!(
                out,
                "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\" style=\"fill:var({colour})\"/>",
                x.saturating_add(from),
                to.saturating_sub(from)
            );
        }
    }
    out
}

/// A bar for each subject of the catalogue.
fn subjects(report: &Report) -> String {
    let of = |category: Category| -> Vec<&Item> {
        report.checks.iter().filter(|item| item.category == category.as_str()).collect()
    };
    let lines: Vec<(Category, Vec<&Item>)> =
        Category::ALL.into_iter().map(|one| (one, of(one))).filter(|(_, items)| !items.is_empty()).collect();
    let height = lines.len().saturating_mul(24);
    let mut out = format!(
        "<svg viewBox=\"0 0 700 {height}\" width=\"100%\" style=\"max-width:44rem\" role=\"img\" aria-label=\"Outcomes by subject\">"
    );
    for (index, (category, items)) in lines.iter().enumerate() {
        let top = index.saturating_mul(24);
        let bad = items.iter().filter(|item| matches!(item.status.0, Status::Fail | Status::Warn)).count();
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{}\">{}</text>{}<text x=\"505\" y=\"{}\">{bad} of {} to look at</text>",
            top.saturating_add(15),
            category.as_str(),
            strips(items, 120, top.saturating_add(4), 370, 14),
            top.saturating_add(15),
            items.len(),
        );
    }
    out.push_str("</svg>");
    out
}

fn finding(out: &mut String, item: &Item) {
    let severity = item.severity.0;
    let word = if item.status.0 == Status::Fail { "failed" } else { "warning" };
    let sure = match item.confidence.0 {
        Confidence::Confirmed => "",
        Confidence::Probable => ", probable",
        Confidence::Candidate => ", candidate",
    };
    let _ = write!(
        out,
        "<article class=\"{severity}\"><header><h3>{}</h3><span class=\"tag\">{severity}, {word}{sure}</span>\
         <code class=\"soft\">{}</code></header><ul class=\"evidence\">",
        escaped(&item.title),
        escaped(&item.id),
    );
    for line in &item.evidence {
        let _ = write!(out, "<li>{}</li>", escaped(line));
    }
    let mut sources = item.references.cwe.clone();
    sources.extend(item.references.asvs.iter().map(|id| format!("ASVS {id}")));
    let _ = write!(
        out,
        "</ul><p class=\"remedy\">{}</p><p class=\"soft\">{}, <a href=\"{url}\">{url}</a></p></article>",
        escaped(&item.remediation).replace('`', ""),
        escaped(&sources.join(", ")),
        url = escaped(&item.references.url),
    );
}

fn row(out: &mut String, item: &Item) {
    let status = item.status.0.as_str();
    let evidence = item.evidence.first().map(String::as_str).unwrap_or_default();
    let _ = write!(
        out,
        "<tr><td><code>{}</code></td><td class=\"status {status}\">{status}</td><td>{}</td><td>{}<small>{}",
        escaped(&item.id),
        item.severity.0,
        escaped(&item.title),
        escaped(evidence),
    );
    if let Some(settle) = &item.settled_by {
        let _ = write!(out, ". Settled by: {}", escaped(settle));
    }
    out.push_str("</small></td></tr>\n");
}

/// Plots of the run, and performance where it was measured.
fn measured(report: &Report) -> String {
    let mut out = String::new();
    if let Some(performance) = &report.performance {
        out.push_str("<h2>Performance and stress</h2><dl>");
        for (name, value) in performance.lines() {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escaped(&name), escaped(&value));
        }
        out.push_str("</dl>");
        out.push_str(&plot::ramp(performance));
    }
    let run = plot::run(&report.measured);
    if !run.is_empty() {
        let _ = write!(out, "<h2>What the run measured</h2>{run}");
    }
    out
}

fn facts(report: &Report) -> String {
    let of = |pair: [u64; 2]| format!("{} of {}", pair[0], pair[1]);
    let budget = &report.budget;
    let rows = [
        ("Language", report.spoken.dialect.clone()),
        ("Credential", report.spoken.credential.clone()),
        ("Good handshake", report.spoken.baseline.clone().unwrap_or_else(|| "none".into())),
        ("Without a credential", report.spoken.anonymous.clone()),
        ("Message", report.spoken.template.clone().unwrap_or_else(|| "none was found that the target answers".into())),
        ("Handshakes", of(budget.handshakes)),
        ("Sockets at a time", of(budget.sockets)),
        ("Messages", of(budget.messages)),
        ("Frames", of(budget.frames)),
        ("Bytes sent", of(budget.bytes)),
        ("Limits met", budget.limited.to_string()),
        ("Made by", format!("{} {}", report.tool.name, report.tool.version)),
    ];
    let mut out = String::from("<dl>");
    for (name, value) in rows {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    out.push_str("</dl>");
    out
}

/// Text of the target, harmless in text and attributes.
fn escaped(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
