//! Judges any WebSocket server from outside.
//!
//! [`audit`] finds out how the target is spoken to, runs the checks of [`checks`](CHECKS) within a budget that is
//! printed and kept, and gives a [`Report`]: findings with evidence, a grade, and beside it how much of the catalogue
//! was decided at all. Nothing passes for lack of evidence: what was not proved is [`Status::Unknown`].
//!
//! The crate shares nothing with the guard but the protocol's words. Its peer is its own and writes bytes that no
//! client library would.
//!
//! ```
//! use wsguard_audit::{Options, explain};
//!
//! let mut options = Options::new("wss://chat.example/ws", Some("secret-token"));
//! options.only = vec!["csrf".into()];
//! assert!(options.wants("WSA-CSRF-01") && !options.wants("WSA-TLS-03"));
//! assert!(explain("WSA-CSRF-01").unwrap().contains("Origin"));
//! ```

mod check;
mod checks;
#[allow(dead_code, reason = "as for the probe")]
mod discover;
mod grade;
pub mod health;
pub mod measure;
mod outcome;
mod pace;
pub mod perf;
#[allow(dead_code, reason = "a set of hands for the whole catalogue; not every finger is in use")]
mod probe;
pub mod report;
mod runner;
mod target;

pub use check::{Category, Check, Meta, Need, Refs, Severity, Turn};
pub use checks::ALL as CHECKS;
pub use grade::Grade;
pub use outcome::{Confidence, Outcome, Status};
pub use pace::Pace;
pub use probe::budget::{Limits, Used};
pub use report::Report;
pub use runner::{AuditError, Progress, Silent, audit};
pub use target::{Options, Target, TargetError};

/// The page of a check, as Markdown; `None` when no check has this id.
pub fn explain(id: &str) -> Option<String> {
    let id = id.to_ascii_uppercase();
    CHECKS.iter().find(|check| check.meta.id == id).map(|check| report::page(check.meta))
}
