//! A check explained: `wsguard audit --explain ID`, and the pages of `docs/checks/`.

use crate::CHECKS;
use crate::check::{Category, Meta, Need, Turn};

/// The page of a check, as Markdown.
pub fn page(meta: &Meta) -> String {
    let cwe: Vec<String> = meta
        .refs
        .cwe
        .iter()
        .map(|number| format!("[CWE-{number}](https://cwe.mitre.org/data/definitions/{number}.html)"))
        .collect();
    let mut sources = cwe;
    sources.extend(meta.refs.asvs.iter().map(|id| format!("OWASP ASVS 5.0 {id}")));
    sources.push(format!("<{}>", meta.refs.url));
    let needs: Vec<&str> = meta.needs.iter().map(|need| words(*need)).collect();
    let needs = if needs.is_empty() { "nothing but the target".to_owned() } else { needs.join("; ") };
    let mut turn = match meta.turn {
        Turn::Waiting => "waits on sockets of its own, beside the others",
        Turn::Quiet => "runs beside others",
        Turn::Alone => "runs alone, after the others",
        Turn::Provoking => "runs alone, after all that provoke no limits",
        Turn::Last => "runs at the end",
        Turn::Perilous if meta.intrusive => "runs behind all others",
        Turn::Perilous => "runs alone, after the others; behind all with `--intrusive`",
        Turn::Ending => "begins first with `--logout-token`, and is the very last without",
    }
    .to_owned();
    if meta.intrusive {
        turn.push_str("; only with `--intrusive`");
    }
    format!(
        "# {id}: {title}\n\n\
         | category | severity | since |\n| --- | --- | --- |\n| {category} | {severity} | {since} |\n\n\
         ## What is done\n\n{what}\n\n\
         ## Why\n\n{why}\n\n\
         ## Remedy\n\n{remedy}\n\n\
         ## What could be mistaken for it\n\n{traps}\n\n\
         ## Details\n\n- Needs: {needs}.\n- Order: {turn}.\n- Sources: {sources}.\n",
        id = meta.id,
        title = meta.title,
        category = meta.category.as_str(),
        severity = meta.severity,
        since = meta.since,
        what = meta.what,
        why = meta.why,
        remedy = meta.remedy,
        traps = meta.traps,
        sources = sources.join(", "),
    )
}

fn words(need: Need) -> &'static str {
    match need {
        Need::Baseline => "a good handshake",
        Need::Template => "a message that the target answers (found, or `--send` and `--expect`)",
        Need::Credential => "a target that asks for a credential",
        Need::Token => "a token (`--token`)",
        Need::Jwt => "a token that is a JWT",
        Need::TokenB => "a second identity (`--token-b`)",
        Need::ExpiredToken => "a token that has ended (`--expired-token`)",
        Need::ForeignToken => "a token for another service (`--foreign-token`)",
        Need::SendGiven => "a message that only the first identity may send (`--send`)",
        Need::Cookie => "a cookie (`--cookie`)",
        Need::LogoutUrl => "`--logout-url`",
        Need::TicketUrl => "`--ticket-url`",
        Need::Tls => "a target that speaks TLS",
        Need::Json => "messages that are JSON",
        Need::Full => "`--full`",
    }
}

/// The table of all checks, as Markdown.
pub fn index() -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        "# The checks of `wsguard audit`\n\nMade by `cargo xtask codegen` from `crates/wsguard-audit/src/checks/`: {} checks.\n",
        CHECKS.len()
    );
    for category in Category::ALL {
        let _ = write!(out, "\n## {}\n\n| check | | severity |\n| --- | --- | --- |\n", category.as_str());
        for check in CHECKS.iter().filter(|check| check.meta.category == category) {
            let meta = check.meta;
            let _ = writeln!(out, "| [{id}]({id}.md) | {} | {} |", meta.title, meta.severity, id = meta.id);
        }
    }
    out
}
