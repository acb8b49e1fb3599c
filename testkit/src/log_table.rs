//! The table of events in `docs/log.md`, and whether a line of the log fits it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/log.md");

/// Fields of every entry, and of the chain.
const ALWAYS: [&str; 7] =
    ["@timestamp", "ecs.version", "event.kind", "event.category", "event.type", "event.action", "event.outcome"];

/// The fields of an event: those that are always there, and those that may be.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    required: BTreeSet<String>,
    allowed: BTreeSet<String>,
}

impl Fields {
    fn of(cell: &str) -> Self {
        let mut fields = Self::default();
        for word in cell.split(", ") {
            let (word, is_optional) = word.trim().strip_suffix('?').map_or((word.trim(), false), |word| (word, true));
            let names: &[(&str, bool)] = match word {
                "the peer" => &[("source.ip", true), ("wsguard.session", false), ("user.name", false)],
                "the refusal" => {
                    &[("wsguard.control", true), ("event.code", true), ("event.reason", true), ("message", false)]
                }
                name => &[(name.trim_matches('`'), true)],
            };
            for (name, is_required) in names {
                fields.allowed.insert((*name).to_owned());
                if *is_required && !is_optional {
                    fields.required.insert((*name).to_owned());
                }
            }
        }
        fields
    }

    fn allow(&self, name: &str) -> bool {
        self.allowed.iter().any(|known| known.strip_suffix('*').map_or(known == name, |begin| name.starts_with(begin)))
    }
}

/// The events of the table, by their `event.action`.
pub fn events() -> BTreeMap<String, Fields> {
    // Without the table there is no event, and no line fits.
    let table = DOCUMENT.split_once("| `event.action` | when | fields |\n").map_or("", |(_, table)| table);
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut events = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [actions, _, fields] = cells.as_slice() {
            for action in actions.split(", ") {
                events.insert(action.trim_matches('`').to_owned(), Fields::of(fields));
            }
        }
    }
    events
}

/// What is wrong with a line of the log; `None` where it fits, and for lines that are no entries.
pub fn fault_of(events: &BTreeMap<String, Fields>, line: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let action = entry.get("event.action")?.as_str()?;
    let Some(fields) = events.get(action) else {
        return Some(format!("docs/log.md does not know {action}: {line}"));
    };
    let present: BTreeSet<&str> = entry.as_object()?.keys().map(String::as_str).collect();
    let missing = fields.required.iter().map(String::as_str).chain(ALWAYS);
    let missing: Vec<&str> = missing.filter(|name| !name.ends_with('*') && !present.contains(name)).collect();
    if !missing.is_empty() {
        return Some(format!("{action} is documented with {missing:?}: {line}"));
    }
    let is_known = |name: &str| ALWAYS.contains(&name) || name.starts_with("wsguard.log.") || fields.allow(name);
    let unknown: Vec<&&str> = present.iter().filter(|name| !is_known(name)).collect();
    (!unknown.is_empty()).then(|| format!("{action} is documented without {unknown:?}: {line}"))
}
