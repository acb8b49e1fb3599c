//! Mistakes in a schema file.

use std::fmt;

/// A schema that cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    name: String,
    line: usize,
    column: usize,
    expected: String,
}

/// A mistake at a byte of the source.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) expected: String,
}

impl Fault {
    pub(super) fn new(offset: usize, expected: impl Into<String>) -> Self {
        Self { offset, expected: expected.into() }
    }
}

impl SchemaError {
    pub(super) fn new(name: &str, source: &str, offset: usize, expected: String) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        Self {
            name: name.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
            column: before.get(line_start..).unwrap_or_default().chars().count().saturating_add(1),
            expected,
        }
    }

    /// The name of the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line, counted from 1.
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1.
    pub const fn column(&self) -> usize {
        self.column
    }

    /// What was expected there.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, column, expected } = self;
        write!(f, "read schema {name}: expected {expected} (line {line}, column {column})")
    }
}

impl std::error::Error for SchemaError {}
