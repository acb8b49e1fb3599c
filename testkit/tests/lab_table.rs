//! A check counts once a real server made it fail and another pass: the page on accuracy names both, and the lab has
//! their truth written down.

use std::collections::BTreeMap;
use std::path::Path;

use wsguard_audit::CHECKS;

/// Checks that say of what is allowed that it could be better.
const REMARKS: [&str; 2] = ["WSA-RATE-07", "WSA-RATE-08"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The written truth of a stack: check and verdict.
fn truth(stack: &str) -> std::io::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(root().join("testkit/lab/stacks").join(stack).join("stack.toml"))?;
    let line = |line: &str| {
        let (check, rest) = line.split_once(" = [\"")?;
        Some((check.to_owned(), rest.split('"').next()?.to_owned()))
    };
    Ok(text.lines().filter_map(line).filter(|(check, _)| check.starts_with("WSA-")).collect())
}

#[test]
fn real_servers_made_every_check_fail_and_pass() {
    let page = std::fs::read_to_string(root().join("docs/audit-accuracy.md")).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| WSA-"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .filter_map(|cells| Some((*cells.first()?, cells)))
        .collect();
    let mut missing = Vec::new();
    for check in CHECKS {
        let id = check.meta.id;
        let Some(&[.., bad, good]) = rows.get(id).map(Vec::as_slice) else {
            missing.push(format!("{id}: no row"));
            continue;
        };
        let wanted = if REMARKS.contains(&id) { "informational" } else { "vulnerable" };
        for (stack, wanted) in [(bad, wanted), (good, "sound")] {
            if stack == "-" {
                missing.push(format!("{id}: no stack that is {wanted}"));
            } else if truth(stack).unwrap().get(id).map(String::as_str) != Some(wanted) {
                missing.push(format!("{id}: {stack} is not written down as {wanted}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
