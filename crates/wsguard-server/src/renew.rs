//! Keys and certificates read again while the server runs: what a SIGHUP asks for.
//!
//! Each source is judged for itself, in one step: one that cannot be used is told with its path, and what was in force
//! stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::TlsFiles;
use crate::journal::{Entry, Journal, Outcome};
use crate::keyholder::Keyholder;
use crate::tls::Certificates;

/// What can be renewed.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) holder: Arc<Keyholder>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) journal: Arc<Journal>,
}

impl Renewal {
    /// Reads the files of `auth.keys` and `tls.*` again, maybe others than before, and puts in force what is good. With no
    /// key files the keys stay as they are: those of an issuer are renewed elsewhere, and the development key has no file.
    ///
    /// Blocks on the file system.
    pub(crate) fn renew(&self, keys: &[PathBuf], tls: Option<&TlsFiles>) {
        if !keys.is_empty() {
            self.tell("keys", self.holder.reload_files(keys).map_err(|error| error.to_string()));
        }
        if let (Some(certificates), Some(files)) = (&self.certificates, tls) {
            self.tell("certificate", certificates.reload(files).map_err(|error| error.to_string()));
        }
    }

    fn tell(&self, what: &str, outcome: Result<bool, String>) {
        let (action, outcome, detail) = match (what, outcome) {
            (_, Ok(false)) => return,
            ("keys", Ok(true)) => ("keys_changed", Outcome::Success, None),
            ("keys", Err(fault)) => ("keys_refused", Outcome::Failure, Some(fault)),
            (_, Ok(true)) => ("certificate_changed", Outcome::Success, None),
            (_, Err(fault)) => ("certificate_refused", Outcome::Failure, Some(fault)),
        };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Several faults stand in several lines; an entry is one.
        let detail = detail.map(|fault| format!("what was in force stays: {}", fault.replace('\n', "; ")));
        self.journal.record(Entry { detail, ..Entry::new(u64::try_from(unix).unwrap_or(u64::MAX), action, outcome) });
    }
}
