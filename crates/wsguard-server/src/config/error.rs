//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest excerpt of a wrong value that an error repeats, in characters: a whole file given by mistake stays out of logs.
const SHOWN_CHARS_MAX: usize = 64;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file, with line and column from 1. The column counts characters.
    File {
        /// The file as it was given.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// Column from 1, in characters.
        column: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag of the command line, such as `--listen`.
    Flag(&'static str),
    /// Nowhere: what is missing, or what only the combination of keys makes wrong.
    Whole,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it stands.
    pub place: Place,
    /// The key, such as `rate.burst`; empty for a mistake that concerns no key (a syntax error).
    pub key: String,
    /// What was expected, and what was found instead: `expected a whole number from 1 to 100000, got "fast"`.
    pub message: String,
}

/// Every mistake of a configuration, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

/// Something that is allowed and weakens a protection, or has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key.
    pub key: &'static str,
    /// What it means for the server.
    pub message: String,
}

impl ConfigErrors {
    /// The mistakes; at least one.
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    /// Writes one line a mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    /// Writes `wsguard.toml:12: rate.burst: expected …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Whole => f.write_str("configuration: ")?,
            place => write!(f, "{place}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Whole => f.write_str("defaults"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Quotes a wrong value: control characters escaped, cut after [`SHOWN_CHARS_MAX`] characters.
pub(super) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Turns byte offsets of a text into lines and columns.
pub(super) struct Lines<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Lines<'_> {
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        Place::File { path: self.path.to_owned(), line, column }
    }
}
