//! `wsguard setup`

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::output::{self, BOLD, DIM, GREEN, YELLOW};
use crate::setup::apply::{ApplyError, Transaction};
use crate::setup::child::ChildError;
use crate::setup::detect::{Found, Project, detect};
use crate::setup::install::{self, InstallError};
use crate::setup::plan::{Content, Plan, Source, plan};
use crate::setup::verify::{self, Subject, VerifyError};
use crate::setup::{diff, interrupt};

/// What stands for `@wsguard/client` in package.json, in the place of the published version.
const CLIENT_SOURCE: &str = "WSGUARD_SETUP_CLIENT";

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Arguments {
    /// The project: an empty folder, a Cargo package with axum, or a front end of Vite and React.
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Replace files that differ from what would be made; the old ones stay as .bak. Keys are never replaced.
    #[arg(long)]
    force: bool,
    /// Show each step, and what the programs say that install and build.
    #[arg(long, short)]
    verbose: bool,
    /// Ask nothing. Without a terminal nothing is asked either.
    #[arg(long, short)]
    yes: bool,
    /// Print what would change as a diff, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Why a run of setup ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Child(#[from] ChildError),
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let root = match absolute(&arguments.directory) {
        Ok(root) => root,
        Err(error) => {
            return output::failed(format_args!("read {}: {error}", arguments.directory.display()), Exit::Usage);
        }
    };
    if !arguments.dry_run {
        match Transaction::recover(&root) {
            Ok(false) => {}
            Ok(true) => output::note("an earlier run was cut off: what it had done was taken back"),
            Err(error) => return output::failed(error, Exit::Failed),
        }
    }
    let found = match detect(&root) {
        Ok(found) => found,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    let source = Source { client: std::env::var(CLIENT_SOURCE).ok() };
    let plan = match plan(&found, arguments.force, &source) {
        Ok(Some(plan)) => plan,
        Ok(None) => return refused(&found),
        Err(error) => return output::failed(error, Exit::Usage),
    };
    output::note(introduction(&found, &plan, arguments.force));
    if arguments.dry_run {
        // Without changes there is nothing to print, and a patch of nothing is no patch.
        return if plan.changes.is_empty() {
            Exit::Good
        } else {
            output::result(diff::unified(&plan.changes).trim_end())
        };
    }
    if plan.is_empty() {
        return output::result(next_steps(&plan));
    }
    if let Some(Err(error)) = plan.install.as_ref().map(install::preflight) {
        return output::failed(error, Exit::Usage);
    }
    if !arguments.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !agreed() {
        output::note("nothing was changed");
        return Exit::Good;
    }
    if let Err(error) = interrupt::listen() {
        return output::failed(format_args!("listen for signals: {error}"), Exit::Failed);
    }
    match carry_out(&root, &plan, arguments.verbose) {
        Ok(()) => output::result(next_steps(&plan)),
        Err(failure) => output::failed(failure, Exit::Failed),
    }
}

/// `path` without `.`, `..` and links in it; one that is not there yet below what is.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::path::absolute(path),
        Err(error) => Err(error),
    }
}

/// Says what a project is that setup does not change, and what to do.
fn refused(found: &Found) -> Exit {
    if let Project::Foreign(foreign) = &found.project {
        let mut text =
            format!("{BOLD}This is {}.{BOLD:#} Setup does not change it. By hand:", output::harmless(&foreign.name));
        for (number, step) in (1..).zip(&foreign.by_hand) {
            // Writing to a String does not fail.
            let _ = write!(text, "\n  {number}. {}", output::harmless(step));
        }
        output::note(text);
    }
    Exit::Usage
}

/// What was found, and what is going to be done.
fn introduction(found: &Found, plan: &Plan, force: bool) -> String {
    let what = match &found.project {
        Project::Standalone if found.root.join("wsguard.toml").exists() => "a server of its own".to_owned(),
        Project::Standalone => "an empty folder: becomes a server of its own".to_owned(),
        Project::Axum(axum) => format!("the Cargo package {} with axum: gets the guarded route /ws", axum.package),
        Project::React(react) => format!(
            "a front end of Vite and React ({}, {}): gets the client and a chat, and the server beside it",
            if react.typescript { "TypeScript" } else { "JavaScript" },
            react.manager.program()
        ),
        Project::Foreign(foreign) => foreign.name.clone(),
    };
    let mut text =
        format!("{BOLD}{}{BOLD:#}\n  {}", output::harmless(&found.root.display().to_string()), output::harmless(&what));
    let mut line = |word: &str, rest: &str| {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {word:8}{}", output::harmless(rest));
    };
    if plan.is_empty() {
        line("", "everything is there: nothing to do");
    }
    for change in &plan.changes {
        let path = change.path.display();
        match (&change.new, &change.old, change.keeps_old) {
            (Content::KeyPair, ..) => line("create", &format!("{path} (a new Ed25519 key, mode 0600) and {path}.pub")),
            (_, None, _) => line("create", &path.to_string()),
            (_, Some(_), true) => line("replace", &format!("{path} (the old one stays as {path}.bak)")),
            (_, Some(_), false) => line("change", &path.to_string()),
        }
    }
    for path in &plan.kept {
        let way = if force { "" } else { "; --force replaces it" };
        line("keep", &format!("{} (it differs from what setup makes{way})", path.display()));
    }
    if let Some(install) = &plan.install {
        line("run", &install::sentence(&found.root, install, &plan.trial));
        line("check", "the configuration, a start, a health check, a first audit: half a minute");
    }
    if !plan.by_hand.is_empty() {
        let _ = write!(text, "\n{YELLOW}By hand, since it cannot be done safely:{YELLOW:#}");
        for what in &plan.by_hand {
            let _ = write!(text, "\n  {}", what.lines().map(output::harmless).collect::<Vec<_>>().join("\n  "));
        }
    }
    text
}

fn agreed() -> bool {
    use std::io::Write as _;
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "{BOLD}Do this?{BOLD:#} [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Does what is planned and looks at it. Where that fails, everything is as it was.
fn carry_out(root: &Path, plan: &Plan, verbose: bool) -> Result<(), Failure> {
    let mut transaction = Transaction::begin(root)?;
    match steps(root, plan, verbose, &mut transaction) {
        Ok(()) => Ok(transaction.commit()?),
        Err(failure) => {
            output::note("taking everything back");
            match transaction.roll_back() {
                Ok(()) => output::note("the project is as it was"),
                Err(error) => output::note(format_args!(
                    "{YELLOW}warning{YELLOW:#}: could not {error}; run setup again to take back the rest"
                )),
            }
            Err(failure)
        }
    }
}

fn steps(root: &Path, plan: &Plan, verbose: bool, transaction: &mut Transaction) -> Result<(), Failure> {
    let step = |text: &str| {
        if verbose {
            output::note(format_args!("{DIM}{}{DIM:#}", output::harmless(text)));
        }
    };
    transaction.apply(&plan.changes, |path| step(&format!("write {}", path.display())))?;
    if interrupt::asked() {
        return Err(ChildError::Interrupted.into());
    }
    if let Some(install) = &plan.install {
        output::note(format_args!("{} …", install::sentence(root, install, &plan.trial)));
        install::run(root, install, &plan.trial, transaction, verbose)?;
    }
    output::note("looking at what was made: half a minute …");
    let subject = Subject { root, trial: &plan.trial, install: plan.install.as_ref(), transaction };
    verify::verify(&subject, |text| {
        let text = output::indented(&output::harmless(text), 6, output::width(std::io::stderr()));
        output::note(format_args!("{GREEN}good{GREEN:#}  {text}"));
    })?;
    Ok(())
}

fn next_steps(plan: &Plan) -> String {
    let mut text = format!("{BOLD}Next{BOLD:#}");
    for (number, step) in (1..).zip(&plan.next) {
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {number}. {step}");
    }
    text
}
