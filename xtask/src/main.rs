//! Chores of the workspace: `cargo xtask codegen [--check]` and `cargo xtask tidy`.
//!
//! Exit codes as in the rest of wsguard: 0 good, 1 something is stale or forbidden, 2 wrong usage or a tool that
//! could not do its work.

#![expect(clippy::print_stdout, reason = "xtask is a command line tool; what it found is its output")]

mod codegen;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask codegen [--check] | cargo xtask tidy";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let outcome = match arguments.as_slice() {
        ["codegen"] => generate(&root),
        ["codegen", "--check"] => check(&root),
        ["tidy"] => tidy(&root),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// The folder that holds the workspace: the one above this crate.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn generate(root: &Path) -> Result<bool, String> {
    for file in codegen::files()? {
        let path = root.join(file.path);
        if file.is_stale(root) {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| format!("create {}: {error}", folder.display()))?;
            }
            std::fs::write(&path, &file.text).map_err(|error| format!("write {}: {error}", file.path))?;
            println!("wrote {}", file.path);
        }
    }
    Ok(true)
}

fn check(root: &Path) -> Result<bool, String> {
    let mut good = true;
    for file in codegen::files()? {
        if file.is_stale(root) {
            println!("stale: {} (run `cargo xtask codegen`)", file.path);
            good = false;
        }
    }
    Ok(good)
}

fn tidy(root: &Path) -> Result<bool, String> {
    let findings = tidy::forbidden_edges(&tidy::Graph::of_workspace(root)?);
    for finding in &findings {
        println!("forbidden: {finding}");
    }
    for (path, lines) in tidy::long_files(root)? {
        println!("warning: {path} has {lines} lines; cut it at {}", tidy::LINES_MAX);
    }
    Ok(findings.is_empty())
}
