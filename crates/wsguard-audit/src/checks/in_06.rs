//! Names that mean something to JavaScript.

use super::input::{Bench, Place, is_breakdown, is_no_place, line, weighed};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-06",
    title: "Prototype keys refused",
    category: Category::Input,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1321], asvs: &["1.1.1"], url: "https://cwe.mitre.org/data/definitions/1321.html" },
    what: "Sends the good message with `__proto__`, `constructor.prototype` and an escaped `__proto__`, each holding a random member that changes nothing, then asks on a new connection whether that member turns up in an answer that has nothing to do with it.",
    why: "A program that merges such an object changes every object it has: roles, defaults, options of the template engine.",
    remedy: "Refuse `__proto__`, `constructor` and `prototype` as names, after unescaping.",
    traps: "To take them without an effect is a warning; where the target names another language than JavaScript, it is `info`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

/// Languages without prototypes, as servers name them.
const OTHER_LANGUAGES: [&str; 9] =
    ["python", "tornado", "aiohttp", "uvicorn", "daphne", "hypercorn", "autobahn", "jetty", "kestrel"];

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let stain = crate::probe::marker();
    let held = format!(r#"{{"{stain}":"1"}}"#);
    let under = format!(r#"{{"prototype":{held}}}"#);
    let mut bench = Bench::open(probe).await?;
    let (mut taken, mut refused, mut ignored) = (Vec::new(), Vec::new(), false);
    for place in [Place::Outer, Place::Inner] {
        for (name, raw) in [("__proto__", &held), ("constructor", &under), ("\\u005f\\u005fproto\\u005f\\u005f", &held)]
        {
            let answer = match bench.ask(|form| form.with_member(place, name, raw)).await {
                Ok(answer) => answer,
                Err(outcome) if is_no_place(&outcome) && !(taken.is_empty() && refused.is_empty()) => continue,
                Err(outcome) => return Err(outcome.and_all(taken)),
            };
            ignored |= matches!(answer, Answer::Silent(_));
            let shown = line(&format!("{name} as {}", place.name()), &answer);
            match answer {
                Answer::Served(_) => taken.push(shown),
                answer if is_breakdown(&answer) => return Ok(Outcome::warn(shown).and_all(taken)),
                _ => refused.push(shown),
            }
        }
        if !taken.is_empty() {
            break;
        }
    }
    let later = bench.is_served_anew().await?;
    if later.contains(&stain) {
        return Ok(Outcome::fail(format!(
            "the member turns up on another connection: {}",
            crate::probe::shortened(&later)
        ))
        .and_all(taken));
    }
    let outcome = weighed(taken, refused, ignored);
    let is_other = OTHER_LANGUAGES.iter().any(|word| bench.server.contains(word));
    Ok(if is_other { outcome.at(Severity::Info) } else { outcome })
}
