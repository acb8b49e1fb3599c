//! What setup is going to do, decided before anything is done.

mod axum;
mod react;
mod server;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::detect::{Ci, Found, Manager, Project, read};
use super::edit::{Edit, ignore};

/// Stands in every source that setup makes: by it a later run knows its own files.
const MARK: &str = "Made by `wsguard setup`";

/// What is going to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Files, in the order in which they are made.
    pub(crate) changes: Vec<Change>,
    /// Files that differ from what setup would make, and stay.
    pub(crate) kept: Vec<PathBuf>,
    /// What only a person can do.
    pub(crate) by_hand: Vec<String>,
    /// What is installed or built, and where.
    pub(crate) install: Option<Install>,
    /// How what was made is started and looked at.
    pub(crate) trial: Trial,
    /// What a person does next.
    pub(crate) next: [String; 3],
}

/// One file.
#[derive(Debug)]
pub(crate) struct Change {
    /// Relative to the project.
    pub(crate) path: PathBuf,
    /// What is there now.
    pub(crate) old: Option<String>,
    pub(crate) new: Content,
    /// Whether the old file is kept beside the new one.
    pub(crate) keeps_old: bool,
}

/// What will stand in a file.
#[derive(Debug)]
pub(crate) enum Content {
    Text(String),
    /// A new private key, mode 0600, and the public one beside it. Made when the plan is carried out, and never shown.
    KeyPair,
}

/// What is installed, by whom.
#[derive(Clone, Debug)]
pub(crate) enum Install {
    /// Builds the package: `cargo build`.
    Cargo,
    /// Installs the packages of a folder below the project.
    Node { manager: Manager, folder: PathBuf },
}

/// How what was made is started.
#[derive(Clone, Debug)]
pub(crate) enum Trial {
    /// `wsguard serve --dev`.
    Server,
    /// The application itself, by the name of its program.
    Application { program: String },
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("change {}: it is a symbolic link, and where it leads is not this project's", .0.display())]
    Link(PathBuf),
    #[error("write {}: it is there and was not made by setup; --force replaces it and keeps it as .bak", .0.display())]
    Taken(PathBuf),
    #[error("{0}")]
    Template(String),
}

/// Collects the parts of a plan.
struct Planner<'a> {
    root: &'a Path,
    force: bool,
    changes: Vec<Change>,
    kept: Vec<PathBuf>,
    by_hand: Vec<String>,
}

impl Planner<'_> {
    /// What is at `path` now.
    fn now(&self, path: &Path) -> Result<Option<String>, PlanError> {
        let mut place = self.root.to_owned();
        for part in path.components() {
            place.push(part);
            if fs::symlink_metadata(&place).is_ok_and(|about| about.file_type().is_symlink()) {
                return Err(PlanError::Link(path.to_owned()));
            }
        }
        read(&place).map_err(|error| PlanError::Unreadable { path: path.to_owned(), error })
    }

    /// A file of setup's own. One that differs stays, unless `--force`.
    fn create(&mut self, path: impl Into<PathBuf>, text: String) -> Result<(), PlanError> {
        let path = path.into();
        let old = self.now(&path)?;
        match &old {
            Some(old) if *old == text => {}
            Some(_) if !self.force => self.kept.push(path),
            _ => {
                let keeps_old = old.is_some();
                self.changes.push(Change { path, old, new: Content::Text(text), keeps_old });
            }
        }
        Ok(())
    }

    /// The same for a source that others are going to import: somebody else's file of that name is no use to them.
    fn create_source(&mut self, path: impl Into<PathBuf>, text: String) -> Result<(), PlanError> {
        let path = path.into();
        let is_foreign = self.now(&path)?.is_some_and(|old| !old.contains(MARK));
        if is_foreign && !self.force {
            return Err(PlanError::Taken(path));
        }
        self.create(path, text)
    }

    /// A file that others wrote, or that is not there yet.
    fn edit(&mut self, path: impl Into<PathBuf>, change: impl FnOnce(&str) -> Edit) -> Result<(), PlanError> {
        let path = path.into();
        let old = self.now(&path)?;
        match change(old.as_deref().unwrap_or_default()) {
            Edit::Changed(text) => {
                self.changes.push(Change { path, old, new: Content::Text(text), keeps_old: false });
            }
            Edit::Same => {}
            Edit::ByHand(what) => self.by_hand.push(what),
        }
        Ok(())
    }

    /// A key pair. Keys that are there are never replaced: that would log everybody out.
    fn key(&mut self, path: &str) -> Result<(), PlanError> {
        let path = PathBuf::from(path);
        let public = PathBuf::from(format!("{}.pub", path.display()));
        // A clone of the repository has the public part alone, and needs no more.
        if self.now(&path)?.is_none() && self.now(&public)?.is_none() {
            self.changes.push(Change { path, old: None, new: Content::KeyPair, keeps_old: false });
        }
        Ok(())
    }

    fn ignore(&mut self, lines: &[String]) -> Result<(), PlanError> {
        self.edit(".gitignore", |original| ignore::add(original, lines))
    }

    fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Plans what is to be done in `found`; `None` where it is a project that setup does not change.
///
/// # Errors
/// A file in the way, or one that cannot be read.
pub(crate) fn plan(found: &Found, force: bool, source: &Source) -> Result<Option<Plan>, PlanError> {
    let root = &found.root;
    let mut planner = Planner { root, force, changes: Vec::new(), kept: Vec::new(), by_hand: Vec::new() };
    let (install, trial, next) = match &found.project {
        Project::Standalone => server::standalone(&mut planner, found.ci, source)?,
        Project::Axum(project) => axum::plan(&mut planner, project, found.ci)?,
        Project::React(project) => react::plan(&mut planner, project, found.ci, source)?,
        Project::Foreign(_) => return Ok(None),
    };
    let Planner { changes, kept, by_hand, .. } = planner;
    Ok(Some(Plan { changes, kept, by_hand, install, trial, next }))
}

type Parts = (Option<Install>, Trial, [String; 3]);

/// Where the packages of wsguard come from.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// What stands for `@wsguard/client` in package.json, in the place of the published version: for the project's own
    /// tests (CONTRIBUTING.md).
    pub(crate) client: Option<String>,
}

impl Source {
    fn client(&self) -> String {
        self.client.clone().unwrap_or_else(|| format!("^{VERSION}"))
    }
}

/// The version of this program: the libraries are released with it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Plan {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.install.is_none()
    }
}

/// What the unit, the audit job and the texts say of a kind of project.
struct Words<'a> {
    /// The service.
    name: &'a str,
    description: &'a str,
    /// What is installed as the program.
    binary: &'a str,
    /// What goes to /etc beside it.
    files: &'a str,
    unit: &'a str,
    key: &'a str,
    is_server: bool,
    port: u16,
    origin: &'a str,
}

fn unit(words: &Words<'_>) -> String {
    let config = format!("/etc/{}/wsguard.toml", words.name);
    let arguments = if words.is_server { format!(" serve --config {config}") } else { String::new() };
    let environment = if words.is_server { String::new() } else { format!("Environment=WSGUARD_CONFIG={config}\n") };
    let reload = if words.is_server { "ExecReload=/bin/kill -HUP $MAINPID\n" } else { "" };
    super::template::fill(
        super::template::UNIT,
        &[
            ("name", words.name),
            ("description", words.description),
            ("binary", words.binary),
            ("files", words.files),
            ("unit", words.unit),
            ("key", words.key),
            ("arguments", &arguments),
            ("environment", &environment),
            ("reload", reload),
        ],
    )
}

/// The audit job, where the project's checks run.
fn audit_job(planner: &mut Planner<'_>, ci: Ci, words: &Words<'_>) -> Result<(), PlanError> {
    let (path, template, build) = match ci {
        Ci::GitHub => (
            ".github/workflows/websocket-audit.yml",
            super::template::GITHUB,
            "      - name: Build\n        run: cargo build\n",
        ),
        Ci::GitLab => (".gitlab/websocket-audit.yml", super::template::GITLAB, "    - cargo build\n"),
    };
    let build = if words.is_server { "" } else { build };
    let start = if words.is_server {
        format!("wsguard serve --config wsguard.toml --listen 127.0.0.1:{} --admin 127.0.0.1:0", words.port)
    } else {
        format!("./target/debug/{}", words.binary_name())
    };
    let text = super::template::fill(
        template,
        &[
            ("version", VERSION),
            ("build", build),
            ("start", &start),
            ("url", &format!("ws://localhost:{}/ws", words.port)),
            ("origin", words.origin),
        ],
    );
    planner.create(path, text)?;
    if ci == Ci::GitLab {
        let text = planner.now(Path::new(".gitlab-ci.yml"))?.unwrap_or_default();
        if !text.contains(path) {
            planner
                .by_hand
                .push(format!(".gitlab-ci.yml: include the audit job:\n    include:\n      - local: {path}"));
        }
    }
    Ok(())
}

impl Words<'_> {
    fn binary_name(&self) -> &str {
        self.binary.rsplit('/').next().unwrap_or(self.binary)
    }
}

#[cfg(test)]
mod tests;
