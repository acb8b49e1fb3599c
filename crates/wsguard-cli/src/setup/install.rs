//! What a project depends on, installed by the program that the project uses for it, as who we are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::apply::{ApplyError, Transaction};
use super::child::{ChildError, Running, shown, without_settings};
use super::detect::Manager;
use super::plan::{Install, Trial};

/// Longest time for all downloads and a first build of everything.
const PATIENCE: Duration = Duration::from_mins(45);

/// Why something could not be installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("find {0}, which this project is installed with: install it, and run setup again")]
    Missing(&'static str),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What package managers leave in a folder besides what they are asked for.
const NODE_FILES: [&str; 7] = [
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    ".pnp.cjs",
    ".pnp.loader.mjs",
    ".yarn/install-state.gz",
];

/// The command, for the plan and for the run.
pub(crate) fn command(root: &Path, install: &Install, trial: &Trial) -> Command {
    let mut command = match install {
        Install::Cargo => {
            let mut command = Command::new("cargo");
            command.arg("build");
            if let Trial::Application { program } = trial {
                command.args(["--bin", program, "--example", "ws_client"]);
            }
            command.current_dir(root);
            command
        }
        Install::Node { manager, folder } => {
            let mut command = Command::new(manager.program());
            command.arg("install");
            match manager {
                Manager::Npm => command.args(["--no-audit", "--no-fund"]),
                Manager::Pnpm => command.arg("--no-frozen-lockfile"),
                Manager::Yarn => &mut command,
            };
            // Berry refuses to write its lock file where it believes to be in CI; both are asked no questions.
            command.env("YARN_ENABLE_IMMUTABLE_INSTALLS", "false").env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0");
            command.current_dir(root.join(folder));
            command
        }
    };
    without_settings(&mut command);
    command
}

/// Whether the program that installs is here. Asked before anything is changed.
pub(crate) fn preflight(install: &Install) -> Result<(), InstallError> {
    let program = match install {
        Install::Cargo => "cargo",
        Install::Node { manager, .. } => manager.program(),
    };
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0");
    if command.status().is_ok_and(|status| status.success()) { Ok(()) } else { Err(InstallError::Missing(program)) }
}

/// Installs. What is there is protected first: packages are put aside and installed anew, since nobody can tell what a
/// failed installation did to them.
pub(crate) fn run(
    root: &Path,
    install: &Install,
    trial: &Trial,
    transaction: &mut Transaction,
    verbose: bool,
) -> Result<(), InstallError> {
    match install {
        Install::Cargo => {
            let lock = cargo_lock(root);
            match lock.strip_prefix(root) {
                Ok(inside) => transaction.protect(inside)?,
                Err(_) => transaction.protect_above(&lock)?,
            }
            if !root.join("target").exists() {
                transaction.protect(Path::new("target"))?;
            }
        }
        Install::Node { folder, .. } => {
            for file in NODE_FILES {
                transaction.protect(&folder.join(file))?;
            }
            transaction.protect(&folder.join("node_modules"))?;
        }
    }
    let command = command(root, install, trial);
    let log = transaction.scratch().with_extension("log");
    Ok(Running::start(command, (!verbose).then_some(log.as_path()))?.finish(PATIENCE)?)
}

/// The lock file of the package at `root`, which may lie in a workspace above it.
fn cargo_lock(root: &Path) -> PathBuf {
    let mut command = Command::new("cargo");
    command.args(["locate-project", "--workspace", "--message-format", "plain"]).current_dir(root).stdin(Stdio::null());
    let manifest = command.output().ok().filter(|output| output.status.success());
    let above = manifest.and_then(|output| String::from_utf8(output.stdout).ok()).map(PathBuf::from);
    let folder = above.as_deref().and_then(Path::parent).filter(|folder| root.starts_with(folder)).unwrap_or(root);
    folder.join("Cargo.lock")
}

/// The command as a person reads it in the plan.
pub(crate) fn sentence(root: &Path, install: &Install, trial: &Trial) -> String {
    let text = shown(&command(root, install, trial));
    match install {
        Install::Node { folder, .. } if !folder.as_os_str().is_empty() => format!("{text} (in {})", folder.display()),
        _ => text,
    }
}
