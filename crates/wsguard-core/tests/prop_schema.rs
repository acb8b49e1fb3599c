//! Our program agrees with the `jsonschema` crate on every keyword that it claims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code: a panic is a failed test")]

use proptest::prelude::*;
use serde_json::{Map, Value as Tree, json};
use wsguard_core::json::{self, ScanLimits, Tape};
use wsguard_core::schema::{CompiledSchema, ContentClass, Engine};

/// Few names, strings and numbers, so that schema and instance meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "x-1", "a/b", "\u{e9}"]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Tree> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(2),
        json!(2.5),
        json!(3),
        json!(6),
        json!(-0.0),
        json!(1e15),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("x-1"),
        json!("\u{e9}"),
        json!("\u{1f600}\n"),
        json!("12"),
        json!("<"),
        json!("<a>"),
    ])
}

fn instance() -> impl Strategy<Value = Tree> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::Array),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

fn names() -> impl Strategy<Value = Tree> {
    prop::collection::btree_set(name(), 0..3).prop_map(|names| json!(names))
}

/// One keyword that needs no subschema.
fn assertion() -> impl Strategy<Value = (&'static str, Tree)> {
    let kind = prop::sample::select(vec!["null", "boolean", "object", "array", "number", "string", "integer"]);
    let kinds = prop::collection::btree_set(kind, 1..4).prop_map(|kinds| json!(kinds));
    let counted = prop::sample::select(vec![
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
    ]);
    let bounded = prop::sample::select(vec!["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]);
    prop_oneof![
        kinds.prop_map(|kinds| ("type", kinds)),
        instance().prop_map(|value| ("const", value)),
        prop::collection::vec(instance(), 1..4).prop_map(|values| ("enum", Tree::Array(values))),
        (counted, prop_oneof![(0_u32..4).prop_map(|count| json!(count)), Just(json!(1.0))]),
        (bounded, prop::sample::select(vec![json!(-1), json!(0), json!(1.0), json!(2.5), json!(3)])),
        prop::sample::select(vec![1, 2, 3]).prop_map(|unit| ("multipleOf", json!(unit))),
        any::<bool>().prop_map(|unique| ("uniqueItems", json!(unique))),
        prop::sample::select(vec!["^a", "b$", "^[^a]+$", r"^\w*$", r"\s", "^.{1,2}$", r"^\d+$", "a|b", r"\S-\d"])
            .prop_map(|pattern| ("pattern", json!(pattern))),
        prop::sample::select(vec!["raw", "html", "text", "reject"]).prop_map(|class| ("wsguard:content", json!(class))),
        names().prop_map(|names| ("required", names)),
        (name(), names()).prop_map(|(trigger, names)| ("dependentRequired", json!({ trigger: names }))),
    ]
}

fn object(keywords: Vec<(&'static str, Tree)>) -> Tree {
    let mut members: Map<String, Tree> =
        keywords.into_iter().map(|(keyword, value)| (keyword.to_owned(), value)).collect();
    if members.contains_key("wsguard:content") {
        // A class where no string is permitted is a mistake in the schema.
        members.remove("type");
    }
    if !members.contains_key("then") && !members.contains_key("else") {
        // The crate forgets the annotations of such an `if`, which Core §10.2.2.1 tells to collect.
        members.remove("if");
    }
    Tree::Object(members)
}

fn schema() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => prop::collection::vec(assertion(), 0..3).prop_map(object),
        1 => any::<bool>().prop_map(Tree::Bool),
        1 => Just(json!({ "$ref": "#/$defs/d" })),
        1 => Just(json!({ "items": { "$ref": "#" } })),
    ];
    leaf.prop_recursive(3, 32, 4, |inner| {
        let one = prop::sample::select(vec![
            "items",
            "contains",
            "additionalProperties",
            "propertyNames",
            "not",
            "if",
            "then",
            "else",
        ]);
        let list = prop::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]);
        let named = prop::sample::select(vec!["properties", "dependentSchemas"]);
        let applicator = prop_oneof![
            (one, inner.clone()),
            (list, prop::collection::vec(inner.clone(), 1..4).prop_map(Tree::Array)),
            (named, prop::collection::btree_map(name(), inner.clone(), 0..3).prop_map(|members| json!(members))),
            (prop::sample::select(vec!["^a", "b$", "^x-\\d$"]), inner)
                .prop_map(|(pattern, schema)| ("patternProperties", json!({ pattern: schema }))),
        ];
        prop::collection::vec(prop_oneof![2 => applicator, 1 => assertion()], 1..5).prop_map(object)
    })
}

/// The schema with something for `#/$defs/d` to find.
fn with_definition(schema: Tree) -> Tree {
    match schema {
        Tree::Object(mut members) => {
            members.insert(
                "$defs".to_owned(),
                json!({ "d": { "type": ["integer", "array"], "maxItems": 2, "minimum": 1 } }),
            );
            Tree::Object(members)
        }
        other => json!({ "allOf": [other], "$defs": { "d": true } }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_agree(schema in schema(), instances in prop::collection::vec(instance(), 1..12)) {
        let schema = with_definition(schema);
        let second = jsonschema::options().should_validate_formats(false).build(&schema).expect("a good schema");
        let ours = CompiledSchema::compile("random", &schema.to_string()).unwrap_or_else(|error| panic!("{error}: {schema}"));
        prop_assert_eq!(ours.engine(), Engine::Own);
        for instance in instances {
            let text = instance.to_string();
            let mut tape = Tape::new();
            let document = json::scan(&text, &ScanLimits::default(), &mut tape).unwrap();
            let verdict = ours.check(document, document.root());
            prop_assert_eq!(verdict.is_ok(), second.is_valid(&instance), "{} {} {:?}", schema, text, verdict);
            if let Err(violation) = verdict {
                let pointer = violation.pointer(document.root());
                prop_assert!(document.root().pointer(&pointer).is_some(), "{}", pointer);
            }
        }
    }

    #[test]
    fn single_keywords_agree(keyword in assertion(), instances in prop::collection::vec(instance(), 8..24)) {
        let schema = object(vec![keyword]);
        for nested in [schema.clone(), json!({ "items": schema, "additionalProperties": schema })] {
            let second = jsonschema::options().should_validate_formats(false).build(&nested).expect("a good schema");
            let ours = CompiledSchema::compile("random", &nested.to_string()).unwrap_or_else(|error| panic!("{error}: {nested}"));
            for instance in &instances {
                let text = instance.to_string();
                let mut tape = Tape::new();
                let document = json::scan(&text, &ScanLimits::default(), &mut tape).unwrap();
                let verdict = ours.check(document, document.root());
                prop_assert_eq!(verdict.is_ok(), second.is_valid(instance), "{} {} {:?}", nested, text, verdict);
            }
        }
    }

    /// The same annotations, whichever engine runs; `unevaluatedItems` of `true` changes nothing but the engine.
    #[test]
    fn content_classes_agree(schema in schema(), instances in prop::collection::vec(instance(), 1..12)) {
        // A reference to the root would mean another schema in there.
        let schema = schema.to_string().replace("\"$ref\":\"#\"", "\"$ref\":\"#/$defs/d\"");
        let schema = with_definition(serde_json::from_str(&schema).unwrap());
        let ours = CompiledSchema::compile("own", &schema.to_string()).unwrap();
        let other = json!({ "allOf": [schema], "$defs": schema["$defs"], "unevaluatedItems": true });
        let other = CompiledSchema::compile("fallback", &other.to_string()).unwrap();
        for instance in instances {
            let text = instance.to_string();
            let mut tape = Tape::new();
            let document = json::scan(&text, &ScanLimits::default(), &mut tape).unwrap();
            let accepted = ours.check(document, document.root()).is_ok();
            prop_assert_eq!(accepted, other.check(document, document.root()).is_ok());
            if accepted {
                let (mut left, mut right) = (Vec::new(), Vec::new());
                ours.content_classes(document.root(), ContentClass::Text, &mut left);
                other.content_classes(document.root(), ContentClass::Text, &mut right);
                prop_assert_eq!(left, right, "{} {}", schema, text);
            }
        }
    }
}
