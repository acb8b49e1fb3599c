//! The schema validator: on the keywords that it claims it agrees with the `jsonschema` crate.
//!
//! Input: bytes that choose a schema and three values.

use serde_json::{Map, Value as Tree, json};
use wsguard_core::json::{self, ScanLimits, Tape};
use wsguard_core::schema::{CompiledSchema, Engine};

/// Few names and numbers, so that schema and value meet.
const NAMES: [&str; 6] = ["a", "b", "ab", "x-1", "a/b", "\u{e9}"];
const PATTERNS: [&str; 8] = ["^a", "b$", "^[^a]+$", r"^\w*$", r"\s", "^.{1,2}$", r"^\d+$", "a|b"];
const KINDS: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];

/// Panics where the validators disagree about what `data` chooses.
pub fn run(data: &[u8]) {
    let mut choices = Choices(data.iter());
    let mut schema = match choices.schema(3) {
        Tree::Object(members) => members,
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    schema.insert("$defs".to_owned(), json!({"d": {"type": ["integer", "array"], "maxItems": 2, "minimum": 1}}));
    let schema = Tree::Object(schema);
    let judge = jsonschema::options().should_validate_formats(false).build(&schema).expect("a good schema");
    let ours = CompiledSchema::compile("fuzz", &schema.to_string()).expect("a good schema");
    assert_eq!(ours.engine(), Engine::Own, "{schema}");
    for _ in 0..3 {
        let value = choices.value(3);
        let text = value.to_string();
        let mut tape = Tape::new();
        let document = json::scan(&text, &ScanLimits::default(), &mut tape).expect("a good value");
        let verdict = ours.check(document, document.root());
        assert_eq!(verdict.is_ok(), judge.is_valid(&value), "{schema} {text} {verdict:?}");
        if let Err(violation) = verdict {
            let pointer = violation.pointer(document.root());
            assert!(document.root().pointer(&pointer).is_some(), "{pointer} points nowhere in {text}");
        }
    }
}

/// Decisions, a byte each; zeros when the bytes are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % count
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.below(of.len());
        *of.get(place).expect("below the length")
    }

    fn scalar(&mut self) -> Tree {
        match self.below(16) {
            0 => Tree::Null,
            1 => json!(true),
            2 => json!(false),
            3 => json!(1.0),
            4 => json!(-1),
            5 => json!(2.5),
            6 => json!(-0.0),
            7 => json!(1e15),
            8 => json!(""),
            9 => json!("\u{1f600}\n"),
            10 => json!("12"),
            11 => json!("<a>"),
            12 | 13 => json!(self.one(&NAMES)),
            _ => json!(self.below(7)),
        }
    }

    fn value(&mut self, depth: usize) -> Tree {
        match self.below(3) {
            1 if depth > 0 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            2 if depth > 0 => {
                let members: Map<String, Tree> =
                    (0..self.below(4)).map(|_| (self.one(&NAMES).to_owned(), self.value(depth - 1))).collect();
                Tree::Object(members)
            }
            _ => self.scalar(),
        }
    }

    fn names(&mut self) -> Tree {
        let mut names: Vec<&str> = (0..self.below(3)).map(|_| self.one(&NAMES)).collect();
        names.sort_unstable();
        names.dedup();
        json!(names)
    }

    fn schemas(&mut self, depth: usize) -> Tree {
        (0..=self.below(3)).map(|_| self.schema(depth)).collect()
    }

    fn schema(&mut self, depth: usize) -> Tree {
        match self.below(8) {
            0 => return Tree::Bool(self.below(2) == 1),
            1 => return json!({"$ref": "#/$defs/d"}),
            2 => return json!({"items": {"$ref": "#"}}),
            _ => {}
        }
        let mut members: Map<String, Tree> = Map::new();
        for _ in 0..=self.below(4) {
            let (keyword, value) = self.keyword(depth);
            members.insert(keyword.to_owned(), value);
        }
        if !members.contains_key("then") && !members.contains_key("else") {
            // The crate forgets the annotations of such an `if`, which Core §10.2.2.1 tells to collect.
            members.remove("if");
        }
        Tree::Object(members)
    }

    fn keyword(&mut self, depth: usize) -> (&'static str, Tree) {
        if depth > 0 && self.below(3) > 0 {
            let below = depth - 1;
            let name = self.one(&[
                "items",
                "contains",
                "additionalProperties",
                "propertyNames",
                "not",
                "if",
                "then",
                "else",
                "allOf",
                "anyOf",
                "oneOf",
                "prefixItems",
                "properties",
                "dependentSchemas",
                "patternProperties",
            ]);
            let value = match name {
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.schemas(below),
                "properties" | "dependentSchemas" => json!({self.one(&NAMES): self.schema(below)}),
                "patternProperties" => json!({self.one(&PATTERNS): self.schema(below)}),
                _ => self.schema(below),
            };
            return (name, value);
        }
        match self.below(10) {
            0 => {
                let mut kinds: Vec<&str> = (0..=self.below(3)).map(|_| self.one(&KINDS)).collect();
                kinds.sort_unstable();
                kinds.dedup();
                ("type", json!(kinds))
            }
            1 => ("const", self.value(2)),
            2 => ("enum", (0..=self.below(3)).map(|_| self.value(2)).collect()),
            3 | 4 => {
                let name = self.one(&[
                    "minLength",
                    "maxLength",
                    "minItems",
                    "maxItems",
                    "minProperties",
                    "maxProperties",
                    "minContains",
                    "maxContains",
                ]);
                (name, json!(self.below(4)))
            }
            5 => {
                let name = self.one(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]);
                (name, self.one(&[-1.0, 0.0, 1.0, 2.5, 3.0]).into())
            }
            6 => ("multipleOf", json!(self.below(3) + 1)),
            7 => ("uniqueItems", json!(self.below(2) == 1)),
            8 => ("pattern", json!(self.one(&PATTERNS))),
            _ => {
                if self.below(2) == 0 {
                    ("required", self.names())
                } else {
                    ("dependentRequired", json!({self.one(&NAMES): self.names()}))
                }
            }
        }
    }
}
