//! The table of contents of the book: its lines for checks and decisions are made from their pages, the others by hand.

use std::fmt::Write as _;
use std::path::Path;

use crate::codegen::File;

const PATH: &str = "docs/SUMMARY.md";

/// The line below which the checks stand, and how theirs begin.
const CHECKS: (&str, &str) = ("(checks/README.md)", "    - [WSA-");

/// The line below which the decisions stand, and what theirs lead to.
const DECISIONS: (&str, &str) = ("# Decided", "(decisions/");

/// The table, with a line for each of `checks` and for each decision.
///
/// # Errors
/// When it cannot be read, has no place for them, or a decision has no heading.
pub(crate) fn file(root: &Path, checks: &[File]) -> Result<File, String> {
    let before = std::fs::read_to_string(root.join(PATH)).map_err(|error| format!("read {PATH}: {error}"))?;
    Ok(File { path: PATH.into(), text: with(&before, checks, &decisions(root)?)? })
}

fn with(before: &str, checks: &[File], decisions: &str) -> Result<String, String> {
    for place in [CHECKS.0, DECISIONS.0] {
        if !before.contains(place) {
            return Err(format!("read {PATH}: it has no line with {place}"));
        }
    }
    let is_made = |line: &&str| line.starts_with(CHECKS.1) || line.contains(DECISIONS.1);
    let mut text = String::new();
    for line in before.lines().filter(|line| !is_made(line)) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line}");
        if line.contains(CHECKS.0) {
            for page in checks {
                if let Some(title) = page.text.lines().next().and_then(|line| line.strip_prefix("# WSA-")) {
                    let _ = writeln!(text, "{}{title}]({})", CHECKS.1, page.path.trim_start_matches("docs/"));
                }
            }
        } else if line.starts_with(DECISIONS.0) {
            let _ = write!(text, "\n{decisions}");
        }
    }
    // The empty line that followed the heading is the last now.
    Ok(format!("{}\n", text.trim_end()))
}

/// A line for each decision, by number.
fn decisions(root: &Path) -> Result<String, String> {
    let folder = root.join("docs/decisions");
    let failed = |error: std::io::Error| format!("read {}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut lines = String::new();
    for name in names.iter().filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "md")) {
        let page = std::fs::read_to_string(folder.join(name)).map_err(failed)?;
        let heading = page.lines().next().and_then(|line| line.strip_prefix("# "));
        let heading = heading.ok_or_else(|| format!("read {name}: it does not begin with a heading"))?;
        // The book numbers its pages itself.
        let title = heading.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start_matches(". ");
        let _ = writeln!(lines, "- [{title}](decisions/{name})");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_once_and_what_is_between_stays() {
        let before = "# Summary\n\n- [A](a.md)\n  - [Checks](checks/README.md)\n    - [WSA-OLD](checks/WSA-OLD.md)\n\n# Decided\n\n- [x](decisions/x.md)\n";
        let checks = [File { path: "docs/checks/WSA-A-01.md".into(), text: "# WSA-A-01: good\n".into() }];
        let want = "# Summary\n\n- [A](a.md)\n  - [Checks](checks/README.md)\n    - [WSA-A-01: good](checks/WSA-A-01.md)\n\n# Decided\n\n- [one](decisions/1.md)\n";
        let made = with(before, &checks, "- [one](decisions/1.md)\n").unwrap();
        assert_eq!(made, want);
        assert_eq!(with(&made, &checks, "- [one](decisions/1.md)\n").unwrap(), want);
        assert!(with("# Summary\n", &checks, "").is_err());
    }
}
