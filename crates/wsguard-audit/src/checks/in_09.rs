//! Texts that mean something to what stands behind.

use super::input::{Bench, line};
use super::internals::voice;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-09",
    title: "No sign of injection",
    category: Category::Input,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs {
        cwe: &[89, 943, 1336],
        asvs: &["1.2.4"],
        url: "https://owasp.org/www-project-web-security-testing-guide/",
    },
    what: "Puts a single quote, a product of two random numbers in braces, and `{\"$ne\":null}` into the text of the good message, and compares the answers with the good one.",
    why: "A text that reaches a query, a template or a filter as more than a text lets its sender ask for what he may not have.",
    remedy: "Bind parameters, never build queries or templates from input, and refuse objects where a text belongs.",
    traps: "The product of random factors is not in an answer by chance. Nothing is sent that makes a database wait. That nothing shows is evidence against what the audit can see from outside, no proof: `probable`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let [first, second] = crate::probe::random::<2>().map(|byte| u32::from(byte).saturating_add(1_301));
    let product = first.saturating_mul(second).to_string();
    let template = format!("{{{{{first}*{second}}}}}");
    let mut seen = Vec::new();
    let quote = bench.ask(|form| form.with_text("'")).await?;
    seen.push(line("a single quote", &quote));
    let braces = bench.ask(|form| form.with_text(&template)).await?;
    seen.push(line(&template, &braces));
    if let Answer::Served(reply) = &braces
        && reply.contains(&product)
    {
        return Ok(Outcome::fail(format!("{template} comes back as {product}")).and_all(seen));
    }
    let operator = bench.ask(|form| form.with_value(r#"{"$ne":null}"#)).await?;
    seen.push(line(r#"{"$ne":null}"#, &operator));
    if let Answer::Silent(others) = &operator
        && let Some(wide) = others.iter().find(|other| is_wider(other, &bench.control))
    {
        let wide = format!("{{\"$ne\":null}} brings more than a text: {}", crate::probe::shortened(wide));
        return Ok(Outcome::fail(wide).probable().and_all(seen));
    }
    for (name, answer) in [("a single quote", &quote), (template.as_str(), &braces), (r#"{"$ne":null}"#, &operator)] {
        for text in texts(answer) {
            if let Some(sign) = voice(text, "an error of a database") {
                return Ok(Outcome::fail(format!("{name}: the answer shows {sign}")).and_all(seen));
            }
        }
    }
    let all = [&quote, &braces, &operator];
    if all.iter().all(|answer| matches!(answer, Answer::Silent(_))) {
        return Ok(Outcome::unknown("none of the texts was answered").and_all(seen));
    }
    let first = if seen.is_empty() { String::new() } else { seen.remove(0) };
    Ok(Outcome::pass(first).and_all(seen).probable())
}

fn texts(answer: &Answer) -> &[String] {
    match answer {
        Answer::Served(text) | Answer::Refused(text) => std::slice::from_ref(text),
        Answer::Silent(others) => others,
        _ => &[],
    }
}

/// Much longer than the good answer, and not because it repeats the question.
fn is_wider(text: &str, control: &str) -> bool {
    !text.contains("$ne") && text.len() > control.len().saturating_mul(2).saturating_add(100)
}
