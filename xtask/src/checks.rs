//! The catalogue of `wsguard audit`: its list is made from the files of the folder, its pages from what the list holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::codegen::File;

/// One file per check, named after its id: `csrf_01.rs` is WSA-CSRF-01. Other files are shared by checks.
const FOLDER: &str = "crates/wsguard-audit/src/checks";

/// One page per check.
const PAGES: &str = "docs/checks";

/// `mod.rs` of the folder.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn registry(root: &Path) -> Result<File, String> {
    let mut checks = Vec::new();
    let mut modules = Vec::new();
    for name in names(&root.join(FOLDER))? {
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "mod") {
            let number = module.rsplit_once('_').map(|(_, number)| number);
            if number.is_some_and(|number| number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())) {
                checks.push(module.to_owned());
            }
            modules.push(module.to_owned());
        } else if !name.contains('.') {
            modules.push(name);
        }
    }
    modules.sort();
    modules.dedup();
    checks.sort();
    let mut text = String::from(
        "//! The catalogue. Made by `cargo xtask codegen` from the files of this folder: add a file, not a line.\n\n",
    );
    for module in &modules {
        // Writing to a String does not fail.
        let _ = writeln!(text, "mod {module};");
    }
    text.push_str("\nuse crate::check::Check;\n\n/// Every check, by id.\npub const ALL: &[Check] = &[\n");
    for check in &checks {
        let _ = writeln!(text, "    Check {{ meta: &{check}::META, run: |probe| Box::pin({check}::run(probe)) }},");
    }
    text.push_str("];\n");
    Ok(File { path: format!("{FOLDER}/mod.rs"), text })
}

/// The pages, from the crate itself.
///
/// # Errors
/// When the crate does not build, or says something else than pages.
pub(crate) fn pages(root: &Path) -> Result<Vec<File>, String> {
    let pages: BTreeMap<String, String> = crate::codegen::said_by(root, "catalogue")?;
    Ok(pages.into_iter().map(|(name, text)| File { path: format!("{PAGES}/{name}"), text }).collect())
}

/// Pages of checks that are gone.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn strays(root: &Path) -> Result<Vec<String>, String> {
    let pages = root.join(PAGES);
    if !pages.is_dir() {
        return Ok(Vec::new());
    }
    let checks = names(&root.join(FOLDER))?;
    let is_stray = |name: &String| {
        let module = name.strip_prefix("WSA-").and_then(|rest| rest.strip_suffix(".md"));
        module.is_some_and(|module| !checks.contains(&format!("{}.rs", module.to_ascii_lowercase().replace('-', "_"))))
    };
    Ok(names(&pages)?.into_iter().filter(is_stray).map(|name| format!("{PAGES}/{name}")).collect())
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}
