//! Chores of the workspace: `cargo xtask codegen [--check]`, `cargo xtask tidy`, `cargo xtask links [--book DIR]`.
//!
//! Exit codes as in the rest of wsguard: 0 good, 1 something is stale or forbidden, 2 wrong usage or a tool that
//! could not do its work.

#![expect(clippy::print_stdout, reason = "xtask is a command line tool; what it found is its output")]

mod checks;
mod codegen;
mod configuration;
mod links;
mod preprocess;
mod summary;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask codegen [--check] | cargo xtask tidy | cargo xtask links [--book DIR]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = workspace_root();
    let outcome = match arguments.as_slice() {
        ["codegen"] => generate(&root),
        ["codegen", "--check"] => check(&root),
        ["tidy"] => tidy(&root),
        ["links"] => broken(links::in_sources(&root)),
        ["links", "--book", book] => broken(links::in_book(Path::new(book))),
        // mdBook asks for these two: docs/book.toml.
        ["preprocess"] => preprocess::run(&root).map(|()| true),
        ["preprocess", "supports", renderer] => Ok(*renderer == "html"),
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
    // The list of the checks comes first: their pages are made by the crate that it is part of.
    write(root, &[checks::registry(root)?])?;
    write(root, &codegen::files()?)?;
    write(root, &pages(root)?)?;
    for stray in checks::strays(root)? {
        std::fs::remove_file(root.join(&stray)).map_err(|error| format!("remove {stray}: {error}"))?;
        println!("removed {stray}");
    }
    Ok(true)
}

/// What is made by programs of other crates.
fn pages(root: &Path) -> Result<Vec<codegen::File>, String> {
    let mut pages = checks::pages(root)?;
    pages.push(summary::file(root, &pages)?);
    pages.push(configuration::page(root)?);
    Ok(pages)
}

fn broken(found: Result<Vec<String>, String>) -> Result<bool, String> {
    let found = found?;
    for link in &found {
        println!("broken link: {link}");
    }
    Ok(found.is_empty())
}

fn write(root: &Path, files: &[codegen::File]) -> Result<(), String> {
    for file in files.iter().filter(|file| file.is_stale(root)) {
        let path = root.join(&file.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("create {}: {error}", folder.display()))?;
        }
        std::fs::write(&path, &file.text).map_err(|error| format!("write {}: {error}", file.path))?;
        println!("wrote {}", file.path);
    }
    Ok(())
}

fn check(root: &Path) -> Result<bool, String> {
    let registry = checks::registry(root)?;
    let mut files = codegen::files()?;
    // Pages of a list that is stale would be of the old one.
    if !registry.is_stale(root) {
        files.extend(pages(root)?);
    }
    files.push(registry);
    let stale = files.iter().filter(|file| file.is_stale(root)).map(|file| file.path.clone());
    let stale: Vec<String> = stale.chain(checks::strays(root)?).collect();
    for path in &stale {
        println!("stale: {path} (run `cargo xtask codegen`)");
    }
    Ok(stale.is_empty())
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
