//! Every key of the configuration as a row: what documents are made from.

use serde::Serialize;

use super::limit::{LIMITS, TYPE_PER_SECOND, Unit, show};
use super::source::{KEYS, names, needs_restart};

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// The key, such as `rate.burst`.
    pub key: &'static str,
    /// Unit and range of a number, form of anything else.
    pub form: String,
    /// What holds where it is not set.
    pub default: String,
    /// What it sets.
    pub meaning: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// Whether only a restart makes a change count.
    pub needs_restart: bool,
}

/// Every key, section by section; a section stands where its first key does.
pub fn reference() -> Vec<KeyRow> {
    let others = KEYS.iter().map(|key| KeyRow {
        key: key.name,
        form: key.form.to_owned(),
        default: key.default.to_owned(),
        meaning: key.meaning,
        reason: key.reason,
        needs_restart: needs_restart(key.name),
    });
    let limits = LIMITS.iter().map(|limit| {
        let unit = match limit.unit {
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::Time => "time",
        };
        let range = format!("{unit} from {} to {}", show(limit.unit, limit.min), show(limit.unit, limit.max));
        let is_table = limit.key == TYPE_PER_SECOND.key;
        KeyRow {
            key: limit.key,
            form: if is_table { format!("table: message type = {range} a second") } else { range },
            default: if is_table { "none".to_owned() } else { show(limit.unit, limit.default) },
            meaning: limit.meaning,
            reason: limit.reason,
            needs_restart: needs_restart(limit.key),
        }
    });
    let mut rows: Vec<KeyRow> = others.chain(limits).collect();
    let section = |key: &'static str| key.split_once('.').map_or(key, |(section, _)| section);
    let place = |row: &KeyRow| names().position(|name| section(name) == section(row.key));
    rows.sort_by_key(place);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_said_with_form_default_meaning_and_reason() {
        let rows = reference();
        assert_eq!(rows.len(), names().count());
        for row in &rows {
            for said in [&row.form, &row.default, row.meaning, row.reason] {
                assert!(!said.is_empty() && !said.contains('|'), "{row:?}");
            }
        }
        // Sections are not torn apart.
        let mut sections: Vec<&str> = rows.iter().filter_map(|row| Some(row.key.split_once('.')?.0)).collect();
        sections.dedup();
        let torn = sections.iter().filter(|section| sections.iter().filter(|other| other == section).count() > 1);
        assert_eq!(torn.count(), 0, "{sections:?}");
    }
}
