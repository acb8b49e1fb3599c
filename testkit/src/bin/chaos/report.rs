//! The figures, for a terminal and for `docs/resilience.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::outcome::{Figures, Outcome, TIMES_MAX};
use crate::scenario::{BASE_MIB, Scenario};
use crate::{plot, scenarios};

/// Between these lines of the page stands what was measured.
const BEGIN: &str = "<!-- measured by `make chaos` -->\n";
const END: &str = "<!-- end of what was measured -->\n";

/// A scenario in a few lines.
pub(crate) fn line(outcome: &Outcome) -> String {
    let mut text = String::new();
    let beside = outcome.beside.map(|beside| format!(", beside {:.1}", beside.p99_ms)).unwrap_or_default();
    let _ = write!(
        text,
        "  p99 quiet {:.1} ms ({}){beside}, attacked {:.1} ms ({}), {:.1} times; p50 {:.2} -> {:.2} ms; newcomers {:.1} -> {:.1} ms\n  \
         memory {:.0} -> {:.0} MiB of {}; cores {:.2} -> {:.2}; log {} lines, {:.1} MiB\n  peers: {}\n",
        outcome.quiet.p99_ms,
        outcome.quiet.count,
        outcome.attack.p99_ms,
        outcome.attack.count,
        outcome.times(),
        outcome.quiet.p50_ms,
        outcome.attack.p50_ms,
        outcome.entry_quiet.p99_ms,
        outcome.entry_attack.p99_ms,
        outcome.rest_mib,
        outcome.peak_mib,
        outcome.bound_mib,
        outcome.cpu_quiet,
        outcome.cpu_attack,
        outcome.log_lines,
        outcome.log_bytes as f64 / 1_048_576.0,
        counts(&outcome.tally),
    );
    if !outcome.suffered_quiet.is_empty() {
        let _ = writeln!(text, "  while it was quiet: {}", counts(&outcome.suffered_quiet));
    }
    for finding in &outcome.findings {
        let _ =
            writeln!(text, "  {} {}: {}", if finding.holds { "yes:" } else { "NO: " }, finding.claim, finding.evidence);
    }
    let _ = write!(text, "  {}", outcome.verdict());
    text
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, count)| match what.strip_prefix("most: ") {
        Some(what) => format!("{what}: {count}"),
        None => format!("{count} {what}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Writes `docs/resilience.md` and its plot from everything that was measured last.
pub(crate) fn write(repository: &Path, kept: &Path) -> Result<(), String> {
    let mut outcomes = Vec::new();
    for scenario in scenarios::ALL {
        if let Ok(text) = fs::read_to_string(kept.join(format!("{}.json", scenario.name))) {
            let outcome: Outcome = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", scenario.name))?;
            outcomes.push((scenario, outcome));
        }
    }
    if outcomes.len() < scenarios::ALL.len() {
        eprintln!(
            "chaos: {} of {} scenarios were measured; docs/resilience.md stays as it is",
            outcomes.len(),
            scenarios::ALL.len()
        );
        return Ok(());
    }
    let path = repository.join("docs/resilience.md");
    let page = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let whole = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{}\n{END}{after}", measured(&outcomes)))
    });
    let whole = whole.ok_or("docs/resilience.md has not the two lines between which the figures stand")?;
    fs::write(&path, whole).map_err(|e| e.to_string())?;
    fs::write(repository.join("docs/resilience.svg"), plot::svg(&outcomes)).map_err(|e| e.to_string())
}

fn measured(outcomes: &[(&Scenario, Outcome)]) -> String {
    let mut text = format!("Measured on {}.\n\n", machine());
    text.push_str(
        "| scenario | honest p99, quiet | beside | attacked | times | newcomers p99, quiet; attacked | memory, MiB: rest; most; bound | cores, quiet; attacked | |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --- |\n",
    );
    for (scenario, outcome) in outcomes {
        let beside = outcome.beside.map_or_else(String::new, |beside| ms(beside.p99_ms));
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {beside} | {} | {:.1} | {}; {} | {:.0}; {:.0}; {} | {:.2}; {:.2} | {} |",
            scenario.title,
            anchor(scenario.title),
            ms(outcome.quiet.p99_ms),
            ms(outcome.attack.p99_ms),
            outcome.times(),
            ms(outcome.entry_quiet.p99_ms),
            ms(outcome.entry_attack.p99_ms),
            outcome.rest_mib,
            outcome.peak_mib,
            outcome.bound_mib,
            outcome.cpu_quiet,
            outcome.cpu_attack,
            outcome.verdict(),
        );
    }
    for (scenario, outcome) in outcomes {
        section(&mut text, scenario, outcome);
    }
    text
}

fn section(text: &mut String, scenario: &Scenario, outcome: &Outcome) {
    let _ = writeln!(text, "\n### {}\n\n{}.\n", capital(scenario.title), capital(scenario.what));
    let times = if outcome.rounds > 1 { format!(" in {} attacks", outcome.rounds) } else { String::new() };
    let _ = writeln!(text, "- honest messages: quiet {}; attacked {}", figures(outcome.quiet), figures(outcome.attack));
    let suffered = if outcome.suffered_attack.is_empty() {
        "nothing refused, nothing lost".to_owned()
    } else {
        counts(&outcome.suffered_attack)
    };
    let lost = match outcome.lost_with_the_process {
        0 => String::new(),
        lost => format!("; {lost} connections and attempts lost with the killed process"),
    };
    let _ = writeln!(text, "- honest clients: {suffered}{lost}");
    if !outcome.suffered_quiet.is_empty() {
        let _ = writeln!(text, "- while nobody attacked: {}", counts(&outcome.suffered_quiet));
    }
    let _ = writeln!(text, "- the attackers saw{times}: {}", counts(&outcome.tally));
    let _ = writeln!(
        text,
        "- memory: {BASE_MIB} MiB and {} connections x {} KiB ({})",
        scenario.bound.connections, scenario.bound.kib_each, scenario.bound.why
    );
    let told: Vec<_> = outcome.told.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    let verdict = if outcome.log_verdict == 0 { "whole" } else { "broken" };
    let _ = writeln!(
        text,
        "- told: {}; the log has {} lines ({:.1} MiB) and `wsguard log verify` finds it {verdict}",
        told.join(", "),
        outcome.log_lines,
        outcome.log_bytes as f64 / 1_048_576.0
    );
    for finding in &outcome.findings {
        let holds = if finding.holds { "holds" } else { "**does not hold**" };
        let _ = writeln!(text, "- {}: {holds} ({})", finding.claim, finding.evidence);
    }
}

fn figures(figures: Figures) -> String {
    format!(
        "p50 {}, p99 {}, longest {} of {}",
        ms(figures.p50_ms),
        ms(figures.p99_ms),
        ms(figures.max_ms),
        figures.count
    )
}

fn ms(value: f64) -> String {
    if value < 10.0 { format!("{value:.2} ms") } else { format!("{value:.0} ms") }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How pages are asked for a heading.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn machine() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    // Not those that are left to this process.
    let cores = about.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores of {}, half of them the attackers', Linux {}; p99 above {TIMES_MAX} times the quiet one counts as missed",
        model.unwrap_or("an unknown processor"),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_is_linked() {
        let mut names: Vec<_> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), scenarios::ALL.len());
        assert_eq!(anchor("kill -9 under load"), "kill--9-under-load");
        assert_eq!(anchor("the log's disk is full"), "the-logs-disk-is-full");
    }
}
