//! The tables of `docs/anomaly.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use testkit::evaluation::{Evaluation, Outcome, Plan, Row, Signals, shown};

/// Between these lines of the page stands what was measured.
const BEGIN: &str = "<!-- measured by `make anomaly` -->\n";
const END: &str = "<!-- end of what was measured -->\n";

/// False alarms for each honest connection-hour at which detection is given.
pub(crate) const SHARES: [f64; 2] = [0.001, 0.01];

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0".to_owned(),
        small if small < 0.995 => format!("{small:.2} %"),
        large => format!("{large:.0} %"),
    }
}

fn share_of(row: &Row, test: impl Fn(&Outcome) -> bool) -> f64 {
    row.outcomes.iter().filter(|outcome| test(outcome)).count() as f64 / row.outcomes.len().max(1) as f64
}

fn found(row: &Row, signals: Signals, score: u8) -> String {
    match row.detected(signals, score) {
        (_, None) => "0".to_owned(),
        (share, Some(time)) => format!("{}, {}", percent(share), shown(time)),
    }
}

pub(crate) fn tables(plan: &Plan, evaluation: &Evaluation) -> String {
    let [low, high] = SHARES.map(|share| evaluation.threshold(Signals::All, share));
    let without = evaluation.threshold(Signals::WithoutTransitions, 0.01);
    let policy = &evaluation.policy;
    let honest: u64 =
        evaluation.rows.iter().filter(|row| !row.character.hostile).map(|row| row.outcomes.len() as u64).sum();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{honest} honest connection-hours ({} of each character) and {} attacks of each hostile character, an hour each \
         at most. The roles were learnt from {} sessions of each honest character before, and went on learning from the \
         honest hours; each attack came to a copy of what was learnt, one attacker among honest peers.\n",
        plan.honest, plan.hostile, plan.learn
    );
    let _ = writeln!(
        text,
        "A score of **{low}** is reached in at most 0.1 % of the honest connection-hours, **{high}** in at most 1 %. \
         `anomaly.alert_at` = {} is reached in {}, `anomaly.charge_at` = {} in {}.\n",
        policy.alert_at,
        percent(evaluation.false_alarms(Signals::All, policy.alert_at)),
        policy.charge_at,
        percent(evaluation.false_alarms(Signals::All, policy.charge_at)),
    );
    let _ = writeln!(
        text,
        "| hostile | at 0.1 % false alarms | at 1 % | at 1 %, without `transitions` | `alert_at` | `charge_at` | closed by the ladder |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for row in evaluation.rows.iter().filter(|row| row.character.hostile) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.character.name,
            found(row, Signals::All, low),
            found(row, Signals::All, high),
            found(row, Signals::WithoutTransitions, without),
            found(row, Signals::All, policy.alert_at),
            found(row, Signals::All, policy.charge_at),
            percent(share_of(row, |outcome| outcome.closed.is_some())),
        );
    }
    let _ = writeln!(
        text,
        "\nEach cell: share of the attacks that are found, and the time after which half of those are. The last column \
         counts anomaly charges alone, not what quotas and refusals add.\n\n\
         | honest | hours at {low} or more | at {high} | at `alert_at` | at `charge_at` | slowed | closed |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for row in evaluation.rows.iter().filter(|row| !row.character.hostile) {
        let at = |score| percent(row.detected(Signals::All, score).0);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.character.name,
            at(low),
            at(high),
            at(policy.alert_at),
            at(policy.charge_at),
            percent(share_of(row, |outcome| outcome.slowed.is_some())),
            percent(share_of(row, |outcome| outcome.closed.is_some())),
        );
    }
    let _ = writeln!(
        text,
        "\nWhere a cell says 0, no hour of {} did; the true share is below {} with 95 % confidence.",
        plan.honest,
        percent(3.0 / plan.honest.max(1) as f64),
    );
    text
}

/// What is found when other sessions were learnt from.
pub(crate) fn others(others: &[(&str, Evaluation)], all: &Evaluation) -> String {
    let alert_at = all.policy.alert_at;
    let mut text =
        "\nShare of the attacks that reach `alert_at` when the roles were learnt from fewer sessions of each \
                    character, or from hostile sessions of every kind as well:\n\n| hostile"
            .to_owned();
    for (name, _) in others {
        let _ = write!(text, " | {name}");
    }
    text.push_str(" | as above |\n| --- | --- |");
    text.push_str(&" --- |".repeat(others.len()));
    text.push('\n');
    for (index, row) in all.rows.iter().enumerate().filter(|(_, row)| row.character.hostile) {
        let _ = write!(text, "| {}", row.character.name);
        for (_, evaluation) in others {
            let found = evaluation.rows.get(index).map_or(0.0, |row| row.detected(Signals::All, alert_at).0);
            let _ = write!(text, " | {}", percent(found));
        }
        let _ = writeln!(text, " | {} |", percent(row.detected(Signals::All, alert_at).0));
    }
    text
}

/// For whoever tunes: the mean points of each signal at the highest score, by character.
pub(crate) fn signals(evaluation: &Evaluation) -> String {
    let mut text = String::from("\n");
    for row in &evaluation.rows {
        let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
        let mut scores: Vec<u8> = row.outcomes.iter().map(|outcome| outcome.highest.score).collect();
        scores.sort_unstable();
        for part in row.outcomes.iter().flat_map(|outcome| &outcome.highest.parts) {
            *sums.entry(part.signal).or_default() += u32::from(part.points);
        }
        let at = |share: f64| {
            let place = (scores.len() as f64 * share).floor();
            scores.iter().enumerate().find(|(index, _)| *index as f64 >= place).map_or(0, |(_, score)| *score)
        };
        let _ = write!(
            text,
            "{:24} p10 {:3} p50 {:3} p99 {:3} p99.9 {:3} ",
            row.character.name,
            at(0.1),
            at(0.5),
            at(0.99),
            at(0.999)
        );
        for (signal, sum) in sums {
            let _ = write!(text, " {signal} {:.1}", f64::from(sum) / row.outcomes.len().max(1) as f64);
        }
        text.push('\n');
        if !row.character.hostile
            && let Some(worst) = row.outcomes.iter().max_by_key(|outcome| outcome.highest.score)
        {
            let _ = writeln!(text, "    worst: {}", worst.highest);
        }
    }
    text
}

/// Puts `measured` between the two lines of the page at `path`.
pub(crate) fn put_into(path: &Path, measured: &str) -> io::Result<()> {
    let page = fs::read_to_string(path)?;
    let whole = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{measured}\n{END}{after}"))
    });
    let whole = whole.ok_or_else(|| io::Error::other("expected the two lines between which the figures stand"))?;
    fs::write(path, whole)
}
