//! Schemas that our program does not express: the `jsonschema` crate over a tree, built for each message.
//!
//! Annotations in an `if` that has neither `then` nor `else` are not seen here (the crate drops that `if`); the caller's default holds.

use super::content::{ContentClass, Notes};
use super::error::Fault;
use super::keyword::{Keyword, Violation};
use super::program::PATTERN_BYTES_MAX;
use crate::json::{Document, Value};
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value as Tree;

/// Steps of a backtracking pattern per match: enough for honest patterns, and it ends hostile input within a millisecond.
const BACKTRACK_STEPS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Fallback {
    validator: Validator,
    pub(super) because: &'static str,
}

impl Fallback {
    pub(super) fn build(schema: Document<'_>, because: &'static str) -> Result<Self, Fault> {
        let tree: Tree =
            serde_json::from_str(schema.text()).map_err(|error| Fault::new(0, format!("a JSON text ({error})")))?;
        let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_STEPS_MAX).size_limit(PATTERN_BYTES_MAX);
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(false)
            .with_pattern_options(patterns)
            .offline()
            .build(&tree);
        match built {
            Ok(validator) => Ok(Self { validator, because }),
            Err(error) => {
                // An error about the schema names the place in it as that of the instance; some only name a keyword.
                let place = schema.root().pointer(error.instance_path().as_str()).unwrap_or(schema.root());
                Err(Fault::new(place.span().0, format!("a schema that can be compiled ({error})")))
            }
        }
    }

    pub(super) fn check(&self, value: Value<'_>) -> Result<(), Violation> {
        let tree = tree(value)?;
        self.validator.validate(&tree).map_err(|error| {
            let place = value.pointer(error.instance_path().as_str()).unwrap_or(value);
            Violation::new(place.id(), Keyword::from_name(error.kind().keyword()))
        })
    }

    pub(super) fn notes(&self, value: Value<'_>) -> Notes {
        let mut notes = Notes::default();
        let Ok(tree) = tree(value) else { return notes };
        for entry in self.validator.evaluate(&tree).iter_annotations() {
            let Some(place) = value.pointer(entry.instance_location.as_str()) else {
                continue;
            };
            let says = |keyword: &str| entry.annotations.value().get(keyword).and_then(Tree::as_str);
            if let Some(class) = says("wsguard:content").and_then(ContentClass::from_name) {
                notes.add_class(place.id(), class);
            }
            if says("wsguard:number") == Some("any") {
                notes.add_any_number(place.id());
            }
        }
        notes.sorted()
    }
}

fn tree(value: Value<'_>) -> Result<Tree, Violation> {
    // Whatever passed the scanner is JSON to serde_json too; were it not, the value could not be judged.
    serde_json::from_str(value.raw()).map_err(|_| Violation::new(value.id(), Keyword::Schema))
}
