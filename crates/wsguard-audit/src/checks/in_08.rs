//! Markup that comes back.

use serde_json::Value;

use super::input::{Bench, line};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-08",
    title: "Markup does not come back raw",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[79], asvs: &["1.2.1", "1.3.3"], url: "https://owasp.org/www-community/attacks/xss/" },
    what: "Sends the good message with a tag that nobody knows within its text, and looks for it in the answer: raw, encoded, in which member.",
    why: "What one peer sends and another peer's page puts into its document runs there as script.",
    remedy: "Encode where the text is put into a page; refuse markup in messages that need none; never send members that are meant to be HTML with raw input in them.",
    traps: "Raw in a text of JSON is no hole by itself, the page has to encode: `warn`. `fail` needs a member whose name says that it is HTML. Sent to the audit's own echo alone, in no shared room beyond it.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

const TAG: &str = "<x y='1'>";

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let answer = bench.ask(|form| form.with_text(TAG)).await?;
    let shown = line("markup", &answer);
    Ok(match answer {
        Answer::Served(reply) => {
            let body = reply.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let field = serde_json::from_str::<Value>(body).ok().and_then(|value| html_field(&value));
            match field {
                Some(name) => Outcome::fail(format!("raw in the member {name:?}")).and(shown),
                None if reply.contains(TAG) => Outcome::warn(shown).and("raw: every page that shows it must encode it"),
                None => Outcome::pass(shown).and("it does not come back raw"),
            }
        }
        Answer::Refused(_) | Answer::Ended(_) => Outcome::pass(shown),
        _ => Outcome::unknown(shown).settled_by("--send and --expect with {marker} in a text that comes back"),
    })
}

/// The member that holds the raw tag, where its name says that it is put into a page as it is.
fn html_field(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => object.iter().find_map(|(name, held)| {
            let lower = name.to_ascii_lowercase();
            let is_html = lower.contains("html") || lower == "markup";
            match held.as_str() {
                Some(text) if is_html && text.contains(TAG) => Some(name.clone()),
                _ => html_field(held),
            }
        }),
        Value::Array(list) => list.iter().find_map(html_field),
        _ => None,
    }
}
