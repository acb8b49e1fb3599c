//! Messages of a megabyte.

use super::input::{Bench, is_breakdown, line};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-IN-10",
    title: "Message size bounded",
    category: Category::Input,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Json],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.2.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Sends the good message with its text padded to 64 KiB and one byte, 256 KiB and 1 MiB (with `--full` 16 MiB), until one is refused.",
    why: "Every connection may hold a whole message in memory; what one peer may send, ten thousand may send at once.",
    remedy: "Close with 1009 above the largest message that the protocol needs; 64 KiB is plenty for most.",
    traps: "A refusal may come from the bound of a member, or from a proxy: both count, and the evidence says how the refusal looked.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

const SIZES: [usize; 3] = [65_537, 262_144, 1_048_640];
/// With `--full` alone.
const HUGE: usize = 16 * 1_048_576;

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut bench = Bench::open(probe).await?;
    let mut taken = String::from("the good message");
    let sizes = SIZES.into_iter().chain(probe.options().full.then_some(HUGE));
    for size in sizes {
        let padding = "x".repeat(size);
        let answer = bench.ask(|form| form.with_text(&padding)).await?;
        let shown = line(&format!("{size} bytes"), &answer);
        match answer {
            Answer::Served(_) if size >= HUGE => return Ok(Outcome::fail(format!("{size} bytes are answered"))),
            Answer::Served(_) => taken = format!("{size} bytes are answered"),
            // A reset is what a sender sees whose bytes were not read any more.
            Answer::Ended(_) | Answer::Refused(_) if size >= HUGE => {
                return Ok(Outcome::warn(taken).and(shown));
            }
            answer @ (Answer::Ended(_) | Answer::Refused(_)) => {
                bench.is_served_anew().await?;
                let outcome = Outcome::pass(shown).and(taken);
                return Ok(if is_breakdown(&answer) { outcome.probable() } else { outcome });
            }
            _ => return Ok(Outcome::unknown(shown).and(taken)),
        }
    }
    Ok(Outcome::warn(taken).and("no bound was found").settled_by("--full"))
}
