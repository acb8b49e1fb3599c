//! The figures, for a terminal and for `docs/resilience.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::outcome::{ENTRY_MS_MAX, Figures, Outcome, TIMES_MAX};
use crate::scenario::{Newcomers, Scenario};
use crate::{plot, scenarios};

/// Between these lines of the page stands what was measured.
const BEGIN: &str = "<!-- measured by `make chaos` -->\n";
const END: &str = "<!-- end of what was measured -->\n";

/// A scenario in a few lines.
pub(crate) fn line(outcome: &Outcome) -> String {
    let mut text = String::new();
    let beside = outcome.beside.map(|beside| format!(", beside {:.1}", beside.p99_ms)).unwrap_or_default();
    let worst = if outcome.rounds > 1 { format!(", worst {:.1}", outcome.worst_p99_ms()) } else { String::new() };
    let exempt = match outcome.entries_exempt {
        0 => String::new(),
        exempt => format!(", {exempt} exempt"),
    };
    let _ = write!(
        text,
        "  p99 quiet {:.1} ms ({}){beside}, attacked {:.1} ms{worst} ({}), {:.1} times; p50 {:.2} -> {:.2} ms; newcomers {:.1} ({}) -> {:.1} ms ({}{exempt})\n  \
         memory {:.0} -> {:.0} MiB of {}; cores {:.2} -> {:.2}; log {} lines, {:.1} MiB\n  peers: {}\n",
        outcome.quiet.p99_ms,
        outcome.quiet.count,
        outcome.attack_p99_ms(),
        outcome.attack.count,
        outcome.times(),
        outcome.quiet.p50_ms,
        outcome.attack.p50_ms,
        outcome.entry_quiet.p99_ms,
        outcome.entry_quiet.count,
        outcome.entry_attack.p99_ms,
        outcome.entry_attack.count,
        outcome.rest_mib,
        outcome.peak_mib,
        outcome.bound_mib,
        outcome.cpu_quiet,
        outcome.cpu_attack,
        outcome.log_lines,
        outcome.log_bytes as f64 / 1_048_576.0,
        counts(&outcome.tally),
    );
    let _ = writeln!(text, "  told: {}", tellings(outcome));
    for finding in &outcome.findings {
        let _ =
            writeln!(text, "  {} {}: {}", if finding.holds { "yes:" } else { "NO: " }, finding.claim, finding.evidence);
    }
    let _ = write!(text, "  {}", outcome.verdict());
    text
}

fn tellings(outcome: &Outcome) -> String {
    let told = outcome.told.iter().map(|told| format!("{}: {} (at least {})", told.what, told.count, told.least));
    told.collect::<Vec<_>>().join(", ")
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, count)| match what.strip_prefix("most: ") {
        Some(what) => format!("{what}: {count}"),
        None => format!("{count} {what}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Writes `docs/resilience.md` and its plot from everything that was measured last; where it is only tried out (`scratch`),
/// beside what was measured.
pub(crate) fn write(repository: &Path, kept: &Path, scratch: bool) -> Result<(), String> {
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
    let folder = if scratch { kept.to_owned() } else { repository.join("docs") };
    fs::write(folder.join("resilience.md"), whole).map_err(|e| e.to_string())?;
    fs::write(folder.join("resilience.svg"), plot::svg(&outcomes)).map_err(|e| e.to_string())
}

fn measured(outcomes: &[(&Scenario, Outcome)]) -> String {
    let mut text = format!("Measured on {}.\n\n{}\n\n", machine(outcomes), grounds(outcomes));
    text.push_str(
        "| scenario | honest p99, quiet | beside | attacked | times | newcomers p99, quiet; attacked | memory, MiB: rest; most; bound | cores, quiet; attacked | |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --- |\n",
    );
    for (scenario, outcome) in outcomes {
        let beside = outcome.beside.map_or_else(String::new, |beside| ms(beside.p99_ms));
        let worst = if outcome.rounds > 1 { format!("; worst {}", ms(outcome.worst_p99_ms())) } else { String::new() };
        let exempt = match scenario.newcomers {
            Newcomers::Served => "",
            Newcomers::Exempt(_) => " *",
        };
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {beside} | {}{worst} | {:.1} | {}; {}{exempt} | {:.0}; {:.0}; {} | {:.2}; {:.2} | {} |",
            scenario.title,
            anchor(scenario.title),
            ms(outcome.quiet.p99_ms),
            ms(outcome.attack_p99_ms()),
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
        if let Newcomers::Exempt(why) = scenario.newcomers {
            let (title, count) = (scenario.title, outcome.entries_exempt);
            let _ = writeln!(
                text,
                "\n\\* {title}: {count} newcomers are exempt, {why}; those before and after are judged."
            );
        }
    }
    for (scenario, outcome) in outcomes {
        section(&mut text, scenario, outcome);
    }
    text
}

/// How many times the figures rest on.
fn grounds(outcomes: &[(&Scenario, Outcome)]) -> String {
    let span = |of: &dyn Fn(&Outcome) -> Vec<usize>| {
        let counts: Vec<_> = outcomes.iter().flat_map(|(_, outcome)| of(outcome)).collect();
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        format!("{} to {}", least.unwrap_or_default(), most.unwrap_or_default())
    };
    let mut text = format!(
        "A p99 of honest messages rests on {} of them in quiet times and on {} in an attack, one of newcomers on {} of \
         them in quiet times and on {} under attack: a hundredth of these are slower. Newcomers' p99 under attack may be \
         {ENTRY_MS_MAX:.0} ms at most.",
        span(&|outcome| vec![outcome.quiet.count]),
        span(&|outcome| outcome.attacks.iter().map(|attack| attack.count).collect()),
        span(&|outcome| vec![outcome.entry_quiet.count]),
        span(&|outcome| vec![outcome.entry_attack.count]),
    );
    let most = outcomes.iter().map(|(_, outcome)| outcome.rounds).max().unwrap_or_default();
    text.push_str(if most > 1 {
        " Of several attacks the table has the median of their p99, and their worst beside it."
    } else {
        " Each scenario attacked once."
    });
    text
}

fn section(text: &mut String, scenario: &Scenario, outcome: &Outcome) {
    let _ = writeln!(text, "\n### {}\n\n{}.\n", capital(scenario.title), capital(scenario.what));
    let times = if outcome.rounds > 1 { format!(" in {} attacks", outcome.rounds) } else { String::new() };
    let _ = writeln!(text, "- honest messages: quiet {}; attacked {}", figures(outcome.quiet), figures(outcome.attack));
    if outcome.rounds > 1 {
        let each: Vec<_> =
            outcome.attacks.iter().map(|attack| format!("{} of {}", ms(attack.p99_ms), attack.count)).collect();
        let _ = writeln!(text, "- p99 of each attack: {}", each.join(", "));
    }
    let exempt = match (outcome.entries_exempt, scenario.newcomers) {
        (exempt @ 1.., Newcomers::Exempt(why)) => format!("; {exempt} exempt, {why}"),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "- newcomers: quiet {}; attacked {}{exempt}",
        figures(outcome.entry_quiet),
        figures(outcome.entry_attack)
    );
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
    if !outcome.suffered_beside.is_empty() {
        let _ = writeln!(text, "- while another server was attacked: {}", counts(&outcome.suffered_beside));
    }
    let _ = writeln!(text, "- the attackers saw{times}: {}", counts(&outcome.tally));
    let _ = writeln!(text, "- memory: {}", scenario.bound);
    let verdict = if outcome.log_verdict == 0 { "whole" } else { "broken" };
    let _ = writeln!(
        text,
        "- told: {}; the log has {} lines ({:.1} MiB) and `wsguard log verify` finds it {verdict}",
        tellings(outcome),
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

fn machine(outcomes: &[(&Scenario, Outcome)]) -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    // Not those that are left to this process.
    let cores = about.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let order = match outcomes.iter().filter(|(_, outcome)| outcome.crowd_first).count() {
        0 => "equals on it",
        first if first == outcomes.len() => "the clients first where both want it",
        _ => "the clients first in some scenarios only",
    };
    format!(
        "{cores} cores of {}, half of them the attackers', the other shared by server and honest clients, {order}; Linux {}; p99 above {TIMES_MAX} times the quiet one counts as missed",
        model.unwrap_or("an unknown processor"),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::good;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_is_linked() {
        let mut names: Vec<_> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), scenarios::ALL.len());
        let exempt = scenarios::ALL.iter().filter(|scenario| matches!(scenario.newcomers, Newcomers::Exempt(_)));
        assert_eq!(exempt.map(|scenario| scenario.name).collect::<Vec<_>>(), ["descriptors", "kill"]);
        assert_eq!(anchor("kill -9 under load"), "kill--9-under-load");
        assert_eq!(anchor("the log's disk is full"), "the-logs-disk-is-full");
    }
    #[test]
    fn the_page_says_on_how_much_it_rests_and_who_is_exempt() {
        let attack = Figures { count: 70, p50_ms: 1.0, p99_ms: 3.0, max_ms: 9.0 };
        let twice = Outcome { rounds: 2, attacks: vec![Figures { p99_ms: 2.0, ..attack }, attack], ..good() };
        let outcomes: Vec<_> = scenarios::ALL
            .into_iter()
            .map(|scenario| {
                let exempt = matches!(scenario.newcomers, Newcomers::Exempt(_));
                (scenario, Outcome { entries_exempt: usize::from(exempt) * 31, may_exempt: exempt, ..twice.clone() })
            })
            .collect();
        let page = measured(&outcomes);
        for part in [
            "on 100 to 100 of them in quiet times and on 70 to 70 in an attack",
            "| 2.50 ms; worst 3.00 ms | 1.2 |",
            "- p99 of each attack: 2.00 ms of 70, 3.00 ms of 70",
            "\\* file descriptors run out: 31 newcomers are exempt, ",
            "\\* kill -9 under load: 31 newcomers are exempt, ",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        let once = measured(&[(scenarios::ALL[0], good())]);
        assert!(once.contains("Each scenario attacked once.") && !once.contains("worst"), "{once}");
    }
}
