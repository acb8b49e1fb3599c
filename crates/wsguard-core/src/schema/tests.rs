use super::*;

fn compiled(source: &str) -> CompiledSchema {
    CompiledSchema::compile("test", source).unwrap_or_else(|error| panic!("{error}"))
}

/// What refuses `instance`, and where.
fn refused(schema: &CompiledSchema, instance: &str) -> Option<(String, &'static str)> {
    let mut tape = Tape::new();
    let document = crate::json::scan(instance, &ScanLimits::default(), &mut tape).unwrap();
    let violation = schema.check(document, document.root()).err()?;
    Some((violation.pointer(document.root()), violation.keyword().as_str()))
}

#[test]
fn keywords_by_case() {
    for (schema, good, bad, keyword) in [
        ("true", "[1]", "", ""),
        ("false", "", "1", "false"),
        (r#"{"type":"integer"}"#, "1.0", "1.5", "type"),
        (r#"{"type":"integer"}"#, "-0", r#""1""#, "type"),
        (r#"{"type":["string","null"]}"#, "null", "0", "type"),
        (r#"{"type":"number"}"#, "1e5", "true", "type"),
        (r#"{"const":{"a":[1,"x"],"b":null}}"#, r#"{"b":null,"a":[1.0,"\u0078"]}"#, r#"{"a":[1,"x"],"b":0}"#, "const"),
        (r#"{"enum":["a",1,false]}"#, "1e0", "0", "enum"),
        (r#"{"enum":["\u00e9"]}"#, "\"\u{e9}\"", r#""e""#, "enum"),
        (r#"{"minLength":2,"maxLength":3}"#, "\"\u{1f600}\u{1f600}\"", "\"\u{1f600}\"", "minLength"),
        (r#"{"minLength":2,"maxLength":3}"#, r#""\ud83d\ude00\n\"""#, r#""abcd""#, "maxLength"),
        (r#"{"pattern":"^\\d+$"}"#, r#""\u0031""#, r#""x""#, "pattern"),
        (r#"{"pattern":"b"}"#, r#""abc""#, r#""acc""#, "pattern"),
        (r#"{"minimum":1,"maximum":2.5}"#, "2.5", "2.6", "maximum"),
        (r#"{"minimum":1}"#, r#""x""#, "0.999", "minimum"),
        (r#"{"exclusiveMinimum":1,"exclusiveMaximum":2}"#, "1.5", "1", "exclusiveMinimum"),
        (r#"{"exclusiveMaximum":2}"#, "1", "2.0", "exclusiveMaximum"),
        (r#"{"multipleOf":3}"#, "-9", "10", "multipleOf"),
        (r#"{"multipleOf":1}"#, "7.0", "7.5", "multipleOf"),
        (r#"{"required":["a","b"]}"#, r#"{"b":1,"c":1,"a":1}"#, r#"{"a":1,"c":1}"#, "required"),
        (
            r#"{"properties":{"a":true},"additionalProperties":false}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1,"b":1}"#,
            "additionalProperties",
        ),
        (r#"{"required":["a"],"additionalProperties":{"type":"null"}}"#, r#"{"a":null}"#, r#"{"a":1}"#, "type"),
        (
            r#"{"patternProperties":{"^x-":{"type":"string"}},"additionalProperties":false}"#,
            r#"{"x-a":""}"#,
            r#"{"y":""}"#,
            "additionalProperties",
        ),
        (r#"{"patternProperties":{"^x-":{"type":"string"}}}"#, r#"{"y":1}"#, r#"{"\u0078-":1}"#, "type"),
        (r#"{"propertyNames":{"maxLength":2}}"#, r#"{"ab":1}"#, r#"{"abc":1}"#, "maxLength"),
        (r#"{"minProperties":1,"maxProperties":2}"#, r#"{"a":1}"#, "{}", "minProperties"),
        (r#"{"maxProperties":1}"#, "[]", r#"{"a":1,"b":1}"#, "maxProperties"),
        (r#"{"dependentRequired":{"a":["b","c"]}}"#, r#"{"b":1}"#, r#"{"a":1,"b":1}"#, "dependentRequired"),
        (r#"{"dependentSchemas":{"a":{"maxProperties":1}}}"#, r#"{"b":1,"c":1}"#, r#"{"a":1,"b":1}"#, "maxProperties"),
        (r#"{"items":{"type":"string"}}"#, r#"["a"]"#, r#"["a",1]"#, "type"),
        (r#"{"prefixItems":[{"type":"string"}],"items":false}"#, r#"["a"]"#, r#"["a",1]"#, "false"),
        (r#"{"contains":{"const":1}}"#, "[0,1]", "[0]", "contains"),
        (r#"{"contains":{"const":1},"minContains":2,"maxContains":2}"#, "[1,0,1]", "[1]", "minContains"),
        (r#"{"contains":{"const":1},"maxContains":1}"#, "[1]", "[1,1]", "maxContains"),
        (r#"{"contains":false,"minContains":0}"#, "[]", "", ""),
        (r#"{"minItems":1,"maxItems":2}"#, "[1]", "[]", "minItems"),
        (r#"{"maxItems":2}"#, "{}", "[1,2,3]", "maxItems"),
        (
            r#"{"uniqueItems":true}"#,
            r#"[1,"1",true,[1],{"a":1},{"a":2},null,false,0,""]"#,
            r#"[{"a":1,"b":2},{"b":2,"a":1.0}]"#,
            "uniqueItems",
        ),
        (r#"{"uniqueItems":true}"#, "[[],[0],[0,0]]", r#"["a",1,"\u0061"]"#, "uniqueItems"),
        (r#"{"allOf":[{"type":"string"},{"minLength":1}]}"#, r#""a""#, r#""""#, "minLength"),
        (r#"{"anyOf":[{"type":"string"},{"minimum":1}]}"#, "1", "0", "anyOf"),
        (r#"{"oneOf":[{"type":"integer"},{"minimum":2}]}"#, "2.5", "3", "oneOf"),
        (r#"{"oneOf":[{"type":"integer"},{"minimum":2}]}"#, "1", "1.5", "oneOf"),
        (r#"{"not":{"type":"string"}}"#, "1", r#""""#, "not"),
        (r#"{"if":{"type":"string"},"then":{"minLength":1},"else":{"minimum":1}}"#, "1", "0", "minimum"),
        (r#"{"if":{"type":"string"},"then":{"minLength":1}}"#, "0", r#""""#, "minLength"),
        (r##"{"$ref":"#/$defs/a~1%25b","$defs":{"a/%b":{"type":"null"}}}"##, "null", "1", "type"),
        (r##"{"$ref":"#here","$defs":{"x":{"$anchor":"here","type":"null"}}}"##, "null", "1", "type"),
        (r##"{"type":"array","items":{"$ref":"#"}}"##, "[[],[[]]]", "[[1]]", "type"),
        (r#"{"format":"email","unknown":{"type":1},"title":"t"}"#, r#""no mail""#, "", ""),
    ] {
        let schema = compiled(schema);
        assert_eq!(schema.engine(), Engine::Own, "{schema:?}");
        if !good.is_empty() {
            assert_eq!(refused(&schema, good), None, "{schema:?} {good}");
        }
        if !bad.is_empty() {
            assert_eq!(refused(&schema, bad).map(|(_, keyword)| keyword), Some(keyword), "{schema:?} {bad}");
        }
    }
}

#[test]
fn violations_point_to_the_value() {
    let schema =
        compiled(r#"{"properties":{"a/b":{"items":{"required":["x"]}},"n":{"propertyNames":{"maxLength":1}}}}"#);
    for (instance, pointer, keyword) in [
        (r#"{"c":[[]],"a/b":[{"x":1},{"y":{"x":1}}]}"#, "/a~1b/1", "required"),
        (r#"{"n":{"a":1,"long":2}}"#, "/n/long", "maxLength"),
    ] {
        assert_eq!(refused(&schema, instance), Some((pointer.to_owned(), keyword)), "{instance}");
    }
}

#[test]
fn mistakes_are_located() {
    for (source, line, column, expected) in [
        ("{\n  \"type\": \"objekt\"\n}", 2, 11, "null, boolean"),
        ("{\"type\": 1}", 1, 10, "null, boolean"),
        ("{\"a\": 1,\n}", 2, 1, "JSON"),
        ("{\"a\": 1,\n\"a\": 2}", 2, 4, "strict JSON, found duplicate_key"),
        ("{\"minLength\": -1}", 1, 15, "a whole number"),
        ("{\"minLength\": 1.5}", 1, 15, "a whole number"),
        ("{\"properties\": []}", 1, 16, "an object"),
        ("{\"properties\": {\"\u{e9}\": 3}}", 1, 22, "a schema"),
        ("{\"required\": [\"a\", \"a\"]}", 1, 20, "a name that is not yet"),
        ("{\"allOf\": []}", 1, 11, "at least one schema"),
        ("{\"pattern\": \"(\"}", 1, 13, "a regular expression"),
        ("{\"patternProperties\": {\"[\": true}}", 1, 24, "a regular expression"),
        ("{\"$ref\": \"#/$defs/none\"}", 1, 10, "a reference to a subschema"),
        ("{\"$ref\": \"#none\"}", 1, 10, "a reference to a subschema"),
        ("{\"multipleOf\": 0}", 1, 16, "greater than 0"),
        ("{\"uniqueItems\": 1}", 1, 17, "true or false"),
        ("{\"items\": [true]}", 1, 11, "prefixItems"),
        ("{\"dependencies\": {}}", 1, 2, "dependentRequired"),
        ("{\"$schema\": \"http://json-schema.org/draft-07/schema#\"}", 1, 13, "2020-12"),
        ("{\"wsguard:content\": \"txt\"}", 1, 21, "\"text\", \"html\""),
        ("{\"type\": \"object\", \"wsguard:content\": \"text\"}", 1, 39, "only where strings"),
        ("{\"wsguard:number\": true}", 1, 20, "\"any\""),
        ("{\"wsguard:contents\": \"text\"}", 1, 2, "wsguard:content or"),
        ("{\"$defs\": {\"unused\": {\"type\": \"x\"}}}", 1, 31, "null, boolean"),
        ("[]", 1, 1, "a schema"),
        ("{\"$ref\": \"#\"}", 1, 1, "do not lead back"),
        ("{\"$defs\": {\"a\": {\"anyOf\": [{\"$ref\": \"#/$defs/a\"}]}}}", 1, 17, "do not lead back"),
        ("{\"unevaluatedProperties\": 5}", 1, 27, "a schema that can be compiled"),
        ("{\"$ref\": \"https://example.com/other.json\"}", 1, 1, "a schema that can be compiled"),
    ] {
        let error = CompiledSchema::compile("test", source).unwrap_err();
        assert!(error.expected().contains(expected), "{source}: {error}");
        assert_eq!((error.line(), error.column()), (line, column), "{source}: {error}");
    }
}

#[test]
fn fallback_is_chosen_for_what_we_do_not_express() {
    for (source, because, good, bad, keyword) in [
        (
            r#"{"properties":{"a":true},"unevaluatedProperties":false}"#,
            "unevaluatedProperties",
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            "unevaluatedProperties",
        ),
        (r#"{"prefixItems":[true],"unevaluatedItems":false}"#, "unevaluatedItems", "[1]", "[1,2]", "unevaluatedItems"),
        (r#"{"pattern":"^(?!a)"}"#, "pattern", r#""b""#, r#""a""#, "pattern"),
        (r#"{"multipleOf":0.01}"#, "multipleOf a fraction", "0.07", "0.075", "multipleOf"),
        (
            r##"{"$dynamicRef":"#x","$defs":{"d":{"$dynamicAnchor":"x","type":"null"}}}"##,
            "$dynamicRef",
            "null",
            "1",
            "type",
        ),
        (
            r#"{"$ref":"https://json-schema.org/draft/2020-12/schema"}"#,
            "$ref to another document",
            "{}",
            r#"{"type":1}"#,
            "anyOf",
        ),
    ] {
        let schema = compiled(source);
        assert_eq!(schema.engine(), Engine::Fallback { because }, "{source}");
        assert_eq!(refused(&schema, good), None, "{source} {good}");
        assert_eq!(refused(&schema, bad).map(|(_, keyword)| keyword), Some(keyword), "{source} {bad}");
    }
}

#[test]
fn wide_numbers_need_permission() {
    let wide = "9007199254740993";
    for unevaluated in ["", r#","unevaluatedItems":true"#] {
        for (schema, instance, good) in [
            ("{}", format!("[{wide}]"), false),
            (r#"{"items":{"type":"integer"}}"#, format!("[{wide}]"), false),
            (r#"{"items":{"wsguard:number":"any"}}"#, format!("[1,{wide}]"), true),
            (r#"{"prefixItems":[{"wsguard:number":"any"}]}"#, format!("[{wide},1]"), true),
            (r#"{"prefixItems":[{"wsguard:number":"any"}]}"#, format!("[1,{wide}]"), false),
            (r#"{"allOf":[{"items":{"wsguard:number":"any"}}],"items":true}"#, format!("[{wide}]"), true),
            (r#"{"anyOf":[{"items":{"wsguard:number":"any","maximum":1}},true]}"#, format!("[{wide}]"), false),
            (r#"{"items":{"wsguard:number":"any","maximum":5}}"#, format!("[{wide}]"), false),
        ] {
            let source = format!("{}{unevaluated}}}", schema.strip_suffix('}').unwrap());
            let source = source.replace("{,", "{");
            let schema = compiled(&source);
            assert_eq!(schema.engine() == Engine::Own, unevaluated.is_empty());
            assert_eq!(refused(&schema, &instance).is_none(), good, "{source} {instance}");
        }
    }
}

#[test]
fn content_classes_come_from_the_subschemas_that_apply() {
    use ContentClass::{Html, Raw, Reject, Text};
    for (name, schema, instance, want) in [
        ("default", "{}", r#"{"a":"<"}"#, vec![Text]),
        (
            "clean strings are not listed",
            r#"{"additionalProperties":{"wsguard:content":"raw"}}"#,
            r#"{"a":"x","b":"\u003c"}"#,
            vec![Raw],
        ),
        ("keys are not listed", "{}", r#"{"<":"x"}"#, vec![]),
        (
            "strictest of several",
            r#"{"allOf":[{"items":{"wsguard:content":"raw"}},{"items":{"wsguard:content":"html"}}]}"#,
            r#"["<"]"#,
            vec![Html],
        ),
        ("explicit beats default", r#"{"items":{"wsguard:content":"raw"}}"#, r#"["<"]"#, vec![Raw]),
        (
            "branch that failed says nothing",
            r#"{"items":{"anyOf":[{"maxLength":1,"wsguard:content":"reject"},{"wsguard:content":"html"}]}}"#,
            r#"["<","<b>"]"#,
            vec![Reject, Html],
        ),
        (
            "if and else",
            r#"{"if":{"properties":{"k":{"const":1}}},"then":{"properties":{"t":{"wsguard:content":"raw"}}},"else":{"properties":{"t":{"wsguard:content":"reject"}}}}"#,
            r#"{"k":2,"t":"<"}"#,
            vec![Reject],
        ),
        (
            "not says nothing",
            r#"{"items":{"not":{"type":"number","not":{"wsguard:content":"raw"}}}}"#,
            r#"["<"]"#,
            vec![Text],
        ),
        (
            "patterns",
            r#"{"patternProperties":{"^h":{"wsguard:content":"html"}},"additionalProperties":{"wsguard:content":"reject"}}"#,
            r#"{"h":"<","x":"<"}"#,
            vec![Html, Reject],
        ),
        ("contains", r#"{"contains":{"const":"<","wsguard:content":"raw"}}"#, r#"["<","<<"]"#, vec![Raw, Text]),
        (
            "recursive",
            r##"{"properties":{"t":{"wsguard:content":"html"},"n":{"$ref":"#"}}}"##,
            r#"{"n":{"n":{"t":"<"}}}"#,
            vec![Html],
        ),
    ] {
        for unevaluated in ["", r#","unevaluatedItems":true}"#] {
            let source = if unevaluated.is_empty() {
                schema.to_owned()
            } else {
                format!("{}{unevaluated}", schema.strip_suffix('}').unwrap()).replace("{,", "{")
            };
            let schema = compiled(&source);
            assert_eq!(schema.engine() == Engine::Own, unevaluated.is_empty());
            let mut tape = Tape::new();
            let document = crate::json::scan(instance, &ScanLimits::default(), &mut tape).unwrap();
            schema.check(document, document.root()).unwrap();
            let mut classes = Vec::new();
            schema.content_classes(document.root(), Text, &mut classes);
            let found: Vec<ContentClass> = classes.iter().map(|(_, class)| *class).collect();
            assert_eq!(found, want, "{name} {source}");
            assert!(classes.iter().all(|(id, _)| document.value(*id).unwrap().has_markup()));
        }
    }
}

#[test]
fn what_the_other_engine_cannot_find_out_is_of_the_strictest_class() {
    let classes_of = |source: &str, instance: &str| {
        let schema = compiled(source);
        assert_ne!(schema.engine(), Engine::Own, "{source}");
        let mut tape = Tape::new();
        let document = crate::json::scan(instance, &ScanLimits::default(), &mut tape).unwrap();
        let mut classes = Vec::new();
        schema.content_classes(document.root(), ContentClass::Raw, &mut classes);
        (
            schema.check(document, document.root()).is_ok(),
            classes.into_iter().map(|(_, class)| class).collect::<Vec<_>>(),
        )
    };
    let pattern = r#"{"properties":{"title":{"wsguard:content":"text"},
        "body":{"if":{"pattern":"^(?:(?!```).)*$"},"then":{"maxLength":60000},"else":{"wsguard:content":"text"}}}}"#;
    for (letters, class) in [(9_000, ContentClass::Text), (10_001, ContentClass::Reject)] {
        let instance = format!(r#"{{"title":"<b>","body":"{}"}}"#, "a".repeat(letters));
        assert_eq!(classes_of(pattern, &instance), (true, vec![class]), "a pattern over {letters} letters");
    }
    // Where the schema control is in shadow, what does not fit is asked for as well.
    let closed = r#"{"properties":{"a":{"wsguard:content":"text"}},"unevaluatedProperties":false}"#;
    assert_eq!(classes_of(closed, r#"{"a":"<"}"#), (true, vec![ContentClass::Text]));
    assert_eq!(classes_of(closed, r#"{"a":"<","b":1}"#), (false, vec![ContentClass::Reject]));
}

#[test]
fn annotations_of_the_other_engine_are_found_where_they_stand() {
    let source = r##"{"properties":{"a~/b":{"$ref":"#/$defs/deep"}},"additionalProperties":{"$ref":"#/$defs/deep"},"unevaluatedItems":false,
        "$defs":{"deep":{"type":["array","string"],"items":{"$ref":"#/$defs/deep"},"wsguard:content":"html"}}}"##;
    let schema = compiled(source);
    assert_ne!(schema.engine(), Engine::Own);
    let many = vec![r#"[["<"],"<"]"#; 1_000].join(",");
    let instance = format!(r#"{{"a~/b":["<",["<","<"]],"many":[{many}],"last":"<"}}"#);
    let mut tape = Tape::new();
    let document = crate::json::scan(&instance, &ScanLimits::default(), &mut tape).unwrap();
    schema.check(document, document.root()).unwrap();
    let mut classes = Vec::new();
    schema.content_classes(document.root(), ContentClass::Reject, &mut classes);
    assert_eq!(classes.len(), 3 + 2_000 + 1);
    assert!(classes.iter().all(|(_, class)| *class == ContentClass::Html), "each has its own");
}

#[test]
fn exponential_schemas_end() {
    let source = r##"{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[
        {"type":"array","items":{"$ref":"#/$defs/a"},"minItems":1},{"type":"array","maxItems":9,"items":{"$ref":"#/$defs/a"},"minItems":1}]}}}"##;
    let schema = compiled(source);
    let instance = format!("{}1{}", "[".repeat(32), "]".repeat(32));
    assert_eq!(refused(&schema, &instance).map(|(_, keyword)| keyword), Some("effort"));
    let unique = compiled(r#"{"uniqueItems":true}"#);
    let many: Vec<String> = (0..2_000).map(|at| format!("[{at}]")).collect();
    assert_eq!(refused(&unique, &format!("[{}]", many.join(","))).map(|(_, keyword)| keyword), Some("effort"));
    let scalars: Vec<String> = (0..8_000).map(|at| at.to_string()).collect();
    assert_eq!(refused(&unique, &format!("[{}]", scalars.join(","))), None);
}

#[test]
fn many_properties_are_found() {
    let names: Vec<String> = (0..300).map(|at| format!("property{at:03}")).collect();
    let properties: Vec<String> = names.iter().map(|name| format!("\"{name}\":{{\"type\":\"null\"}}")).collect();
    let required: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let source = format!(
        r#"{{"properties":{{{}}},"required":[{}],"additionalProperties":false}}"#,
        properties.join(","),
        required[..200].join(",")
    );
    let schema = compiled(&source);
    let object = |names: &mut dyn Iterator<Item = &String>| {
        format!("{{{}}}", names.map(|name| format!("\"{name}\":null")).collect::<Vec<_>>().join(","))
    };
    assert_eq!(refused(&schema, &object(&mut names[..250].iter().rev())), None);
    let incomplete = object(&mut names[1..250].iter());
    assert_eq!(refused(&schema, &incomplete), Some((String::new(), "required")));
}
