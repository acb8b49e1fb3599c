//! A new policy while connections are open: on SIGHUP, and when a file that it is made of changes.
//!
//! Attack: a protection that is not switched on because that would cost every connection, and a half-written file that
//! switches one off (CWE-367, CWE-1188). The whole configuration is read and checked as at a start; with one mistake in it
//! nothing changes. What is good comes into force in one step.
//!
//! Files are looked at every two seconds: a few `stat` calls, where notifications of the kernel are lost on network file
//! systems, on the symbolic links of mounted secrets, and when an editor replaces the file. A file that changed is read
//! when it has stayed the same for one more look, so that one which is being written is not read half.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use wsguard::Guard;
use wsguard::core::policy::Policy;
use wsguard::core::token::{Key, KeyRing};

use crate::app::unix_ms;
use crate::config::{Config, Loaded, Overrides};
use crate::journal::{Entry, Journal, Outcome};
use crate::keyholder::Keyholder;
use crate::serve::{ServeError, environment};
use crate::setup;
use crate::tls::Certificates;

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is renewed, and where that is told.
pub(crate) struct Reloadable {
    pub(crate) guard: Guard,
    pub(crate) holder: Arc<Keyholder>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) journal: Arc<Journal>,
}

/// Replaces the policy of a running server.
pub(crate) struct Reloader {
    parts: Reloadable,
    loaded: Loaded,
    file: Option<PathBuf>,
    overrides: Overrides,
    port: u16,
    /// What was last read, or refused: each state of the files is judged once.
    judged: Vec<Stamp>,
    seen: Vec<Stamp>,
}

/// How a file stands on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Device, inode, length, seconds and nanoseconds of the last change; `None` where there is no such file.
    state: Option<[i128; 5]>,
}

/// A policy that is ready to come into force, and what will be said of it.
struct Next {
    policy: Policy,
    files: Vec<Key>,
    loaded: Loaded,
}

impl Reloader {
    pub(crate) fn new(
        parts: Reloadable,
        loaded: &Loaded,
        file: Option<PathBuf>,
        overrides: Overrides,
        port: u16,
    ) -> Self {
        let judged = stamps(file.as_deref(), &loaded.config);
        Self { parts, loaded: loaded.clone(), file, overrides, port, seen: judged.clone(), judged }
    }

    /// Waits for signals and changes, for ever.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                signal = hangup.recv() => {
                    if signal.is_none() {
                        return;
                    }
                    self = self.on_a_thread(|this| this.reload("SIGHUP")).await;
                }
                _ = looks.tick() => {
                    self = self.on_a_thread(|this| if this.has_changed() { this.reload("a file changed") }).await;
                }
            }
        }
    }

    /// Files are read where blocking is allowed.
    async fn on_a_thread(mut self, act: impl FnOnce(&mut Self) + Send + 'static) -> Self {
        let done = tokio::task::spawn_blocking(move || {
            act(&mut self);
            self
        });
        match done.await {
            Ok(this) => this,
            // The thread panicked, which is our mistake: the policy in force stays, and later changes need a restart.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether the files differ from those that were judged, and have settled.
    fn has_changed(&mut self) -> bool {
        let stamps = stamps(self.file.as_deref(), &self.loaded.config);
        let settled = stamps == self.seen;
        self.seen = stamps;
        settled && self.seen != self.judged
    }

    fn reload(&mut self, why: &str) {
        self.judged = stamps(self.file.as_deref(), &self.loaded.config);
        self.seen.clone_from(&self.judged);
        let next = match self.read() {
            Ok(next) => next,
            Err(error) => {
                // The certificate is judged for itself: it must not wait for a mistake elsewhere.
                self.renew_certificate(why);
                return self.refuse(why, &error.to_string());
            }
        };
        let (old, new) = (self.parts.guard.policy(), names(&next.policy));
        let mut said: Vec<String> = Vec::new();
        for change in self.loaded.changes(&next.loaded) {
            let restart = if change.needs_restart { " (counts after a restart)" } else { "" };
            said.push(format!("{}: {} → {}{restart}", change.key, change.old, change.new));
        }
        if next.loaded.config.tls.is_some() != self.parts.certificates.is_some() {
            said.push("TLS was switched on or off (counts after a restart)".to_owned());
        }
        said.extend(differences("message types", &names(&old), &new));
        said.extend(differences("keys", &key_ids(&self.parts.guard.context().keys()), &key_ids(&next.policy.keys)));
        if let Err(error) = self.parts.guard.handle().reload(next.policy) {
            let error = format!("{error} since the start: restart to number them anew");
            return self.refuse(why, &error);
        }
        // The policy had the issuer's keys of a moment ago; together with those of now the files stood or will stand.
        if let Err(error) = self.parts.holder.set_files(next.files) {
            tracing::error!(%error, "the keys of files and issuer cannot stand together; those of a moment ago stay");
        }
        for warning in &next.loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.loaded = next.loaded;
        self.renew_certificate(why);
        // The new configuration may name other files.
        self.judged = stamps(self.file.as_deref(), &self.loaded.config);
        self.seen.clone_from(&self.judged);
        if said.is_empty() {
            said.push("no setting differs; files were read again".to_owned());
        }
        tracing::info!(why, "the policy was reloaded: {}", said.join("; "));
        self.record("policy_reloaded", Outcome::Success, format!("{why}: {}", said.join("; ")));
    }

    fn read(&self) -> Result<Next, ServeError> {
        let mut loaded = Config::load(self.file.as_deref(), environment(), &self.overrides)?;
        loaded.config.settle_port(self.port);
        let (policy, files) = setup::policy(&loaded.config, &self.parts.holder)?;
        Ok(Next { policy, files, loaded })
    }

    /// Serves the certificate that the files hold now, if they hold one; else the old one stays.
    fn renew_certificate(&self, why: &str) {
        let (Some(certificates), Some(files)) = (&self.parts.certificates, &self.loaded.config.tls) else {
            return;
        };
        match certificates.reload(files) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(why, "the certificate was reloaded");
                self.record("certificate_changed", Outcome::Success, format!("{why}: {}", files.cert.display()));
            }
            Err(error) => {
                tracing::error!(why, "the certificate was not reloaded, the one before stays: could not {error}");
                self.record("certificate_refused", Outcome::Failure, format!("{why}: could not {error}"));
            }
        }
    }

    fn refuse(&self, why: &str, error: &str) {
        tracing::error!(why, "the policy was not reloaded, the one before stays: could not {error}");
        self.record("policy_refused", Outcome::Failure, format!("{why}: could not {error}"));
    }

    fn record(&self, action: &'static str, outcome: Outcome, detail: String) {
        let mut entry = Entry::new(unix_ms(), action, outcome);
        entry.reference = Some(self.parts.guard.context().reference().to_string());
        entry.detail = Some(detail);
        self.parts.journal.record(entry);
    }
}

/// The files that a policy is made of, as they stand.
fn stamps(file: Option<&Path>, config: &Config) -> Vec<Stamp> {
    let mut paths: Vec<PathBuf> = file.into_iter().map(Path::to_owned).collect();
    paths.extend(config.auth.keys.iter().cloned());
    paths.extend(config.tls.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]));
    if let Some(directory) = &config.messages_dir {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut schemas: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        schemas.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        schemas.sort();
        paths.push(directory.clone());
        paths.append(&mut schemas);
    }
    paths.into_iter().map(Stamp::of).collect()
}

impl Stamp {
    fn of(path: PathBuf) -> Self {
        let state = fs::metadata(&path).ok().map(|metadata| {
            let length = if metadata.is_dir() { 0 } else { metadata.len() };
            let (seconds, nanos) = if metadata.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
            [metadata.dev().into(), metadata.ino().into(), length.into(), seconds.into(), nanos.into()]
        });
        Self { path, state }
    }
}

fn names(policy: &Policy) -> Vec<String> {
    policy.message_names().map(str::to_owned).collect()
}

fn key_ids(ring: &KeyRing) -> Vec<String> {
    ring.keys().iter().map(|key| key.id().to_owned()).collect()
}

/// What came and what went, in words.
fn differences(of: &str, old: &[String], new: &[String]) -> Vec<String> {
    let without = |left: &[String], right: &[String]| {
        left.iter().filter(|name| !right.contains(name)).cloned().collect::<Vec<_>>().join(", ")
    };
    let (gone, come) = (without(old, new), without(new, old));
    let mut said = Vec::new();
    if !come.is_empty() {
        said.push(format!("{of} added: {come}"));
    }
    if !gone.is_empty() {
        said.push(format!("{of} removed: {gone}"));
    }
    said
}
