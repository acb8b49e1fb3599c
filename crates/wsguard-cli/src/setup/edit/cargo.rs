//! `Cargo.toml`.

use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use super::Edit;

/// A dependency: its name, the versions that fit, and features.
pub(crate) type Dependency = (&'static str, &'static str, &'static [&'static str]);

/// Adds the dependencies that the file does not have. One that is there stays as it is.
pub(crate) fn add(original: &str, needed: &[Dependency], needed_by_examples: &[Dependency]) -> Edit {
    let Ok(mut document) = original.parse::<DocumentMut>() else {
        return Edit::ByHand("Cargo.toml cannot be read".to_owned());
    };
    let mut changed = false;
    for (section, wanted) in [("dependencies", needed), ("dev-dependencies", needed_by_examples)] {
        // What a program depends on, its examples have too.
        let known = |name: &str, document: &DocumentMut| {
            [section, "dependencies"].iter().any(|list| document.get(list).is_some_and(|all| all.get(name).is_some()))
        };
        for (name, version, features) in wanted {
            if known(name, &document) {
                continue;
            }
            let table = document.entry(section).or_insert_with(|| Item::Table(Table::new()));
            let Some(table) = table.as_table_like_mut() else {
                return Edit::ByHand(format!("{section} in Cargo.toml is no table"));
            };
            table.insert(name, Item::Value(requirement(version, features)));
            changed = true;
        }
    }
    if changed { Edit::Changed(document.to_string()) } else { Edit::Same }
}

fn requirement(version: &str, features: &[&str]) -> Value {
    if features.is_empty() {
        return version.into();
    }
    let mut table = InlineTable::new();
    table.insert("version", version.into());
    table.insert("features", Value::Array(features.iter().copied().collect()));
    Value::InlineTable(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_nothing_else_moves() {
        let original = "# shop\n[package]\nname   = \"shop\" # spaced\n\n[dependencies]\nserde.workspace = true\naxum = \"0.8\"\n\n[profile.release]\nlto = true\n";
        let Edit::Changed(text) =
            add(original, &[("serde", "1", &["derive"]), ("wsguard", "0.1", &[])], &[("a", "1", &["x"])])
        else {
            panic!("unchanged")
        };
        let want = original.replace("axum = \"0.8\"\n", "axum = \"0.8\"\nwsguard = \"0.1\"\n")
            + "\n[dev-dependencies]\na = { version = \"1\", features = [\"x\"] }\n";
        assert_eq!(text, want);
        assert_eq!(add(&text, &[("wsguard", "0.2", &[])], &[("a", "1", &[]), ("axum", "1", &[])]), Edit::Same);
    }
}
