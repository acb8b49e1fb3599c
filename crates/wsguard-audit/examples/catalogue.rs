//! Prints the pages of the catalogue as one JSON object, for `cargo xtask codegen`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;

fn main() -> Result<(), serde_json::Error> {
    let checks = wsguard_audit::CHECKS;
    let mut pages: BTreeMap<String, String> = checks
        .iter()
        .filter_map(|check| Some((format!("{}.md", check.meta.id), wsguard_audit::explain(check.meta.id)?)))
        .collect();
    pages.insert("README.md".to_owned(), wsguard_audit::report::index());
    println!("{}", serde_json::to_string(&pages)?);
    Ok(())
}
