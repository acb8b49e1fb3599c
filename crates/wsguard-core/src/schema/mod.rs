//! JSON Schema 2020-12, compiled once and run over the tape.
//!
//! Attack: a message of the right type with the wrong content (missing, additional or mistyped fields, oversized values;
//! CWE-20, OWASP ASVS 5.0 2.2.1). A schema is compiled at start into a program of our own, so that a mistake in it stops the
//! start with line and column and a message costs no tree and no allocation. What the program cannot express exactly (see
//! [`Engine::Fallback`]) is left to the `jsonschema` crate.
//!
//! Two keywords are ours. `wsguard:content` (`text`, `html`, `reject`, `raw`) says what markup in a string means, see
//! [`CompiledSchema::content_classes`]. `wsguard:number: "any"` permits numbers beyond ±(2^53 - 1), which two parsers may round
//! differently and which are refused everywhere else. Both are annotations: they count where the subschema that holds them
//! applies, so not in a branch of `anyOf` that failed. Other unknown keywords and `format` assert nothing, as 2020-12 says.
//!
//! Numbers are compared as doubles. `integer` includes `1.0`.
//!
//! ```
//! use wsguard_core::json::{self, ScanLimits, Tape};
//! use wsguard_core::schema::CompiledSchema;
//!
//! let schema = CompiledSchema::compile("chat", r#"{"type": "object", "required": ["message"]}"#)?;
//! let mut tape = Tape::new();
//! let document = json::scan(r#"{"text": "hi"}"#, &ScanLimits::default(), &mut tape)?;
//! let violation = schema.check(document, document.root()).unwrap_err();
//! assert_eq!(violation.keyword().as_str(), "required");
//!
//! let error = CompiledSchema::compile("chat", r#"{"type": "objekt"}"#).unwrap_err();
//! assert_eq!((error.line(), error.column()), (1, 10));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod compile;
mod content;
mod equal;
mod error;
mod fallback;
mod keyword;
mod leaves;
mod pattern;
mod program;

pub use content::ContentClass;
pub use error::SchemaError;
pub use keyword::{Keyword, Violation};
pub(crate) use leaves::Leaf;

use crate::json::{Document, NodeId, ScanErrorKind, ScanLimits, Tape, Value};
use fallback::Fallback;
use program::Program;

/// What a schema file may hold; far beyond any schema, and bounded.
const SOURCE_LIMITS: ScanLimits =
    ScanLimits { depth: 64, nodes: 65_536, members: 4_096, items: 16_384, key_bytes: 1_024, number_bytes: 64 };

/// A schema, ready to check values. Shared by all threads.
#[derive(Debug)]
pub struct CompiledSchema {
    name: Box<str>,
    program: Program,
    fallback: Option<Fallback>,
}

/// Which engine runs a schema; `check-config` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Our program: no tree, no allocation, work bounded by [`CompiledSchema::STEPS_MAX`].
    Own,
    /// The `jsonschema` crate, which builds a tree of each message.
    Fallback {
        /// The keyword or construct that our program does not express.
        because: &'static str,
    },
}

impl CompiledSchema {
    /// Subschemas applied and values compared per check at most; then the value is refused ([`Keyword::Effort`]).
    ///
    /// A schema that applies two recursive branches to each level of a value can be led to work that is exponential in the
    /// depth of the value. Honest messages need a few steps per node.
    pub const STEPS_MAX: u32 = 262_144;

    /// Compiles the schema `source`. `name` appears in errors.
    ///
    /// # Errors
    /// The first mistake: not strict JSON, a keyword's value of a wrong kind, a `$ref` that goes nowhere or round in a circle
    /// without consuming data, a regular expression that is none, a draft other than 2020-12 or a keyword that only others have.
    ///
    /// # Specification
    /// JSON Schema 2020-12, Core and Validation
    pub fn compile(name: &str, source: &str) -> Result<Self, SchemaError> {
        let fail = |offset: usize, expected: String| SchemaError::new(name, source, offset, expected);
        let mut tape = Tape::new();
        let document = crate::json::scan(source, &SOURCE_LIMITS, &mut tape).map_err(|error| {
            let expected = match error.kind() {
                ScanErrorKind::Grammar => "JSON".to_owned(),
                kind => format!("strict JSON, found {}", kind.as_str()),
            };
            fail(error.offset(), expected)
        })?;
        let compiled = compile::compile(document).map_err(|fault| fail(fault.offset, fault.expected))?;
        let fallback = match compiled.because {
            Some(because) => {
                Some(Fallback::build(document, because).map_err(|fault| fail(fault.offset, fault.expected))?)
            }
            None => None,
        };
        let program = Program { source: source.into(), tape, schemas: compiled.schemas };
        Ok(Self { name: name.into(), program, fallback })
    }

    /// The name given to [`Self::compile`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What runs this schema.
    pub fn engine(&self) -> Engine {
        match &self.fallback {
            Some(fallback) => Engine::Fallback { because: fallback.because },
            None => Engine::Own,
        }
    }

    /// Checks `value`, which is of `document`.
    ///
    /// Cost: no allocation, except for patterns over escaped strings, `uniqueItems` and a schema that falls back.
    ///
    /// # Errors
    /// The first violation found.
    pub fn check(&self, document: Document<'_>, value: Value<'_>) -> Result<(), Violation> {
        match &self.fallback {
            Some(fallback) => fallback.check(value)?,
            None => check::check(&self.program, value)?,
        }
        if document.wide_numbers() == 0 { Ok(()) } else { self.refuse_wide(value) }
    }

    /// Lists each string in `value` that holds `<`, with its class, in the order of the text; keys are not listed.
    ///
    /// `value` has passed [`Self::check`]. A string's class is the strictest that the applicable subschemas give it; one that
    /// none of them mentions gets `default`. `out` is cleared first. Call it only when
    /// [`Document::markup_strings`] is not 0. Keys with markup: [`Value::subtree`] with [`Value::is_key`] and [`Value::has_markup`].
    pub fn content_classes(&self, value: Value<'_>, default: ContentClass, out: &mut Vec<(NodeId, ContentClass)>) {
        out.clear();
        let notes = self.notes(value);
        out.extend(
            value
                .subtree()
                .filter(|node| node.has_markup() && !node.is_key())
                .map(|node| (node.id(), notes.class(node.id()).unwrap_or(default))),
        );
    }

    #[cold]
    fn refuse_wide(&self, value: Value<'_>) -> Result<(), Violation> {
        let notes = self.notes(value);
        match value.subtree().find(|node| node.is_wide() && !notes.any_number(node.id())) {
            Some(node) => Err(Violation::new(node.id(), Keyword::Number)),
            None => Ok(()),
        }
    }

    fn notes(&self, value: Value<'_>) -> content::Notes {
        match &self.fallback {
            Some(fallback) => fallback.notes(value),
            None => content::notes(&self.program, value),
        }
    }
}

#[cfg(test)]
mod tests;
