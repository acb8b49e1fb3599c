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

/// An annotation of ours at the root of each schema. The crate gives up annotations where a pattern ran out of steps, and has none
/// where the value does not fit: without this one nothing is known, which must not be taken for "no subschema speaks".
const WHOLE: &str = "wsguard:whole";

/// Steps of a backtracking pattern per match: enough for honest patterns, and it ends hostile input within a millisecond.
const BACKTRACK_STEPS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Fallback {
    validator: Validator,
    pub(super) because: &'static str,
}

impl Fallback {
    pub(super) fn build(schema: Document<'_>, because: &'static str) -> Result<Self, Fault> {
        let mut tree: Tree =
            serde_json::from_str(schema.text()).map_err(|error| Fault::new(0, format!("a JSON text ({error})")))?;
        if let Tree::Object(root) = &mut tree {
            root.insert(WHOLE.to_owned(), Tree::Bool(true));
        }
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
        let Ok(tree) = tree(value) else { return Notes::incomplete() };
        let (mut notes, mut places, mut is_whole) = (Notes::default(), Places::of(value), false);
        for entry in self.validator.evaluate(&tree).iter_annotations() {
            let said = |keyword: &str| entry.annotations.value().get(keyword);
            is_whole |= entry.instance_location.as_str().is_empty() && said(WHOLE).is_some();
            let says = |keyword: &str| said(keyword).and_then(Tree::as_str);
            let class = says("wsguard:content").and_then(ContentClass::from_name);
            let is_any_number = says("wsguard:number") == Some("any");
            if class.is_none() && !is_any_number {
                continue;
            }
            let Some(place) = places.find(entry.instance_location.as_str()) else {
                return Notes::incomplete();
            };
            if let Some(class) = class {
                notes.add_class(place.id(), class);
            }
            if is_any_number {
                notes.add_any_number(place.id());
            }
        }
        if is_whole { notes.sorted() } else { Notes::incomplete() }
    }
}

/// Finds values by their JSON Pointers (RFC 6901). Annotations come nearly in the order of the text, so that the way to one
/// is most of the way to the next: the items of an array are counted once, and not for each of them anew.
struct Places<'v> {
    way: Vec<Place<'v>>,
}

struct Place<'v> {
    token: String,
    value: Value<'v>,
    items: Option<Vec<Value<'v>>>,
}

impl<'v> Places<'v> {
    fn of(root: Value<'v>) -> Self {
        Self { way: vec![Place::new("", root)] }
    }

    fn find(&mut self, pointer: &str) -> Option<Value<'v>> {
        let mut last = 0_usize;
        for token in pointer.split('/').skip(1) {
            let next = last.saturating_add(1);
            if self.way.get(next).is_none_or(|place| place.token != token) {
                self.way.truncate(next);
                let value = self.way.last_mut()?.child(token)?;
                self.way.push(Place::new(token, value));
            }
            last = next;
        }
        self.way.get(last).map(|place| place.value)
    }
}

impl<'v> Place<'v> {
    fn new(token: &str, value: Value<'v>) -> Self {
        Self { token: token.to_owned(), value, items: None }
    }

    fn child(&mut self, token: &str) -> Option<Value<'v>> {
        if self.value.is_object() {
            return self.value.get(&token.replace("~1", "/").replace("~0", "~"));
        }
        let value = self.value;
        self.items.get_or_insert_with(|| value.items().collect()).get(token.parse::<usize>().ok()?).copied()
    }
}

fn tree(value: Value<'_>) -> Result<Tree, Violation> {
    // Whatever passed the scanner is JSON to serde_json too; were it not, the value could not be judged.
    serde_json::from_str(value.raw()).map_err(|_| Violation::new(value.id(), Keyword::Schema))
}
