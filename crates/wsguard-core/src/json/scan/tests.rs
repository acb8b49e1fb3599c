use super::*;
use crate::json::{Kind, Value};

fn kind_of(text: &str) -> Option<ScanErrorKind> {
    scan(text, &ScanLimits::default(), &mut Tape::new()).err().map(ScanError::kind)
}

#[test]
fn grammar_is_rfc_8259() {
    let good = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "10",
        "0.5",
        "1e5",
        "1E+5",
        "1e-5",
        "-0.0e0",
        r#""""#,
        r#""a""#,
        "[]",
        "{}",
        " [ ] ",
        "[1,[2],{}]",
        r#"{"":0}"#,
        r#"{"a":{"a":{"a":[]}}}"#,
        "\t\n\r 1 \t\n\r",
        "\"\u{e9}\u{4e2d}\u{1f600}\"",
        r#"["\"\\\/\f\n\r\t"]"#,
        r#""\uD834\uDd1e""#,
        "\"\u{fdd0}\u{ffff}\u{10ffff}\"",
        "1e-400",
    ];
    for text in good {
        assert_eq!(kind_of(text), None, "{text}");
    }
    let bad = [
        "",
        " ",
        "\u{feff}1",
        "\u{a0}1",
        "1 2",
        "[1]]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{}}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        "{,}",
        r#"{"a":1 "b":2}"#,
        r#"{"a" 1}"#,
        "{a:1}",
        "{1:1}",
        "{'a':1}",
        "nul",
        "nulL",
        "truee",
        "tru",
        "True",
        "01",
        "-",
        "-01",
        "00",
        "1.",
        ".5",
        "1.e1",
        "1e",
        "1e+",
        "+1",
        "0x10",
        "1_0",
        "NaN",
        "Infinity",
        "-Infinity",
        r#"""#,
        r#""a"#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\U0041""#,
        "\"\t\"",
        "\"\n\"",
        "\"\u{0}\"",
        "/**/1",
        "1//",
        "[1]/**/",
        "[1}",
        r#"{"a":1]"#,
        "{\"a\":1}{\"b\":2}",
        "]",
        "}",
        ",",
        ":",
        "\"\\",
        "[\u{c}1]",
        "\u{2028}1",
        r#"{"a":1,,"b":2}"#,
        "[1,,2]",
        r#"{"a"::1}"#,
        "1e1.5",
        "--1",
    ];
    for text in bad {
        assert_eq!(kind_of(text), Some(ScanErrorKind::Grammar), "{text}");
    }
}

#[test]
fn hostile_content_by_case() {
    use ScanErrorKind::{DuplicateKey, LoneSurrogate, NumberNotFinite, PrototypeKey, UnsafeCharacter};
    for (name, text, want) in [
        ("duplicate", r#"{"a":1,"a":1}"#, Some(DuplicateKey)),
        ("duplicate after unescaping", r#"{"role":"user","\u0072ole":"admin"}"#, Some(DuplicateKey)),
        ("duplicate, both escaped", r#"{"\u0072ole":1,"r\u006fle":2}"#, Some(DuplicateKey)),
        ("duplicate empty key", r#"{"":1,"":1}"#, Some(DuplicateKey)),
        ("duplicate, nested", r#"[{"b":{"a":1,"c":{"a":2},"a":3}}]"#, Some(DuplicateKey)),
        ("same key in different objects", r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, None),
        ("case differs", r#"{"a":1,"A":1}"#, None),
        ("escaped but different", r#"{"\u0061":1,"b":1}"#, None),
        ("lone high", r#""\ud800""#, Some(LoneSurrogate)),
        ("lone low", r#""\udc00""#, Some(LoneSurrogate)),
        ("two high", r#""\ud800\ud800""#, Some(LoneSurrogate)),
        ("high, then text", r#""\ud800x""#, Some(LoneSurrogate)),
        ("high, then other escape", r#""\ud800\n""#, Some(LoneSurrogate)),
        ("high at the end", r#""\ud800"#, Some(LoneSurrogate)),
        ("lone in a key", r#"{"role":1,"role\ud800":2}"#, Some(LoneSurrogate)),
        ("overflow", "1e400", Some(NumberNotFinite)),
        ("negative overflow", "[-1E400]", Some(NumberNotFinite)),
        ("escaped NUL", r#""\u0000""#, Some(UnsafeCharacter)),
        ("escaped ESC", r#""\u001b[2J""#, Some(UnsafeCharacter)),
        ("backspace", r#""\b""#, Some(UnsafeCharacter)),
        ("DEL", "\"\u{7f}\"", Some(UnsafeCharacter)),
        ("escaped DEL", r#""\u007F""#, Some(UnsafeCharacter)),
        ("NUL in a key", r#"{"role":1,"role\u0000":2}"#, Some(UnsafeCharacter)),
        ("allowed controls", r#""\u0009\u000a\u000c\u000D""#, None),
        ("C1 passes", "\"\u{85}\"", None),
        ("__proto__", r#"{"__proto__":{}}"#, Some(PrototypeKey)),
        ("__proto__ with a scalar", r#"{"__proto__":1}"#, Some(PrototypeKey)),
        ("__proto__ escaped", r#"{"\u005f\u005fproto\u005f\u005f":1}"#, Some(PrototypeKey)),
        ("__proto__ deep", r#"[[{"a":[{"__proto__":1}]}]]"#, Some(PrototypeKey)),
        ("__proto__ as text", r#"["__proto__"]"#, None),
        ("__proto___", r#"{"__proto___":1}"#, None),
        ("constructor.prototype", r#"{"constructor":{"prototype":{}}}"#, Some(PrototypeKey)),
        ("constructor.prototype, not first", r#"{"a":1,"constructor":{"b":[],"prototype":1}}"#, Some(PrototypeKey)),
        ("constructor.prototype escaped", r#"{"c\u006fnstructor":{"prototyp\u0065":1}}"#, Some(PrototypeKey)),
        ("constructor with a scalar", r#"{"constructor":"Dallara"}"#, None),
        ("constructor, then prototype elsewhere", r#"[{"constructor":1},{"prototype":1}]"#, None),
        ("constructor and prototype side by side", r#"{"constructor":{"a":1},"prototype":1}"#, None),
        ("prototype below", r#"{"constructor":{"a":{"prototype":1}}}"#, None),
        ("prototype in an array", r#"{"constructor":[{"prototype":1}]}"#, None),
    ] {
        assert_eq!(kind_of(text), want, "{name}: {text}");
        assert_eq!(
            want.is_some_and(ScanErrorKind::is_unsafe_content),
            matches!(want, Some(UnsafeCharacter | PrototypeKey))
        );
    }
}

#[test]
fn limits_are_inclusive() {
    let limits = ScanLimits { depth: 3, nodes: 9, members: 3, items: 4, key_bytes: 5, number_bytes: 6 };
    for (text, want) in [
        ("[[[1]]]", None),
        ("[[[[1]]]]", Some(Limit::Depth)),
        (r#"[{"a":{}}]"#, None),
        (r#"[{"a":{"b":[]}}]"#, Some(Limit::Depth)),
        ("[1,2,3,4]", None),
        ("[1,2,3,4,5]", Some(Limit::Items)),
        (r#"{"a":1,"b":2,"c":3}"#, None),
        (r#"{"a":1,"b":2,"c":3,"d":4}"#, Some(Limit::Members)),
        (r#"{"a":1,"b":[1,2,3]}"#, None),
        (r#"{"a":1,"b":[1,2,3,4]}"#, None),
        (r#"{"a":1,"b":[1,2,3,[]],"c":0}"#, Some(Limit::Nodes)),
        (r#"{"12345":1}"#, None),
        (r#"{"123456":1}"#, Some(Limit::KeyBytes)),
        (r#"{"\u0031\u0032345":1}"#, None),
        (r#"{"\u0031\u00323456":1}"#, Some(Limit::KeyBytes)),
        ("{\"\u{e9}\u{e9}\u{e9}\":1}", Some(Limit::KeyBytes)),
        ("-12.34", None),
        ("-12.345", Some(Limit::NumberBytes)),
        ("1234567", Some(Limit::NumberBytes)),
    ] {
        let found = scan(text, &limits, &mut Tape::new()).err().map(ScanError::kind);
        assert_eq!(found, want.map(ScanErrorKind::Limit), "{text}");
    }
    assert_eq!(kind_of(&"[".repeat(100_000)), Some(ScanErrorKind::Limit(Limit::Depth)));
    assert_eq!(kind_of(&"{\"a\":".repeat(5_000)), Some(ScanErrorKind::Limit(Limit::Depth)));
    assert_eq!(kind_of(&"9".repeat(10_000)), Some(ScanErrorKind::Limit(Limit::NumberBytes)));
}

#[test]
fn large_objects_are_searched_for_duplicates_too() {
    let object = |keys: &[String]| {
        format!("{{{}}}", keys.iter().map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(","))
    };
    for count in [7, 8, 9, 10, 11, 200, 255] {
        // The same first and last eight bytes and the same length: all prints collide.
        let mut keys: Vec<String> = (0..count).map(|at| format!("aaaaaaaa{at:03}aaaaaaaa")).collect();
        assert_eq!(kind_of(&object(&keys)), None, "{count}");
        for repeated in [0, count / 2, count - 1] {
            keys.push(keys[repeated].clone());
            assert_eq!(kind_of(&object(&keys)), Some(ScanErrorKind::DuplicateKey), "{repeated} of {count}");
            let escaped = keys.pop().unwrap().replacen('a', "\\u0061", 2);
            keys.insert(count / 3, escaped);
            assert_eq!(kind_of(&object(&keys)), Some(ScanErrorKind::DuplicateKey), "{repeated} of {count}, escaped");
            keys.remove(count / 3);
        }
    }
}

#[test]
fn wide_numbers_are_flagged_and_counted() {
    for (text, wide) in [
        ("9007199254740991", false),
        ("-9007199254740991", false),
        ("9007199254740992", true),
        ("-9007199254740993", true),
        ("9007199254740993.0", true),
        ("9007199254740991.0", false),
        ("1e15", false),
        ("1e16", true),
        ("1e-300", false),
        ("1e308", true),
        ("123456789012345.678", false),
        ("12345678901234567890", true),
        ("0.1e17", true),
        ("1000000000000000e-10", false),
    ] {
        let mut tape = Tape::new();
        let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
        assert_eq!(document.root().is_wide(), wide, "{text}");
        assert_eq!(document.wide_numbers(), u32::from(wide), "{text}");
    }
}

#[test]
fn content_is_counted_raw_and_escaped() {
    let mut tape = Tape::new();
    let text = "{\"a\":\"\u{202e}x\u{61c}\\u2066\\u200F\u{2069}\u{200d}\",\"<\":\"<b>\",\"b\":[\"\\u003C\",\"a > b\"]}";
    let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
    assert_eq!(document.bidi_controls(), 5);
    assert_eq!((document.markup_strings(), document.markup_keys()), (2, 1));
    let clean = scan("[\"\u{4e2d}\u{6587}\u{2026}\u{624}\"]", &ScanLimits::default(), &mut tape).unwrap();
    assert_eq!((clean.bidi_controls(), clean.markup_strings(), clean.markup_keys()), (0, 0, 0));
}

#[test]
fn cursors_walk_members_and_items() {
    let mut tape = Tape::new();
    let text = r#"{"type":"chat","id":17,"payload":{"message":"h\u0069","tags":["a",["b"],"c"]},"last":null}"#;
    let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
    let root = document.root();
    let keys: Vec<&str> = root.members().map(|member| member.key.as_plain_str().unwrap()).collect();
    assert_eq!(keys, ["type", "id", "payload", "last"]);
    assert_eq!(root.len(), 4);
    assert_eq!(root.get("id").and_then(Value::as_u64_exact), Some(17));
    assert!(root.get("last").unwrap().is_null());
    let payload = root.get("payload").unwrap();
    assert_eq!(payload.raw(), r#"{"message":"h\u0069","tags":["a",["b"],"c"]}"#);
    let message = payload.get("message").unwrap();
    assert!(message.str_eq("hi") && !message.str_eq("h") && !message.str_eq("hi!"));
    assert_eq!(message.as_plain_str(), None);
    let mut out = String::new();
    message.unescape_into(&mut out);
    assert_eq!(out, "hi");
    let kinds: Vec<Kind> = payload.get("tags").unwrap().items().map(Value::kind).collect();
    assert_eq!(kinds, [Kind::String, Kind::Array, Kind::String]);
    assert_eq!(message.members().count() + message.items().count(), 0);
    assert_eq!(document.value(message.id()).unwrap().raw(), r#""h\u0069""#);
}

#[test]
fn ids_have_one_spelling() {
    for (text, want) in [
        ("0", Some(0)),
        ("17", Some(17)),
        ("9007199254740991", Some(9_007_199_254_740_991)),
        ("9007199254740992", None),
        ("-1", None),
        ("-0", None),
        ("1.0", None),
        ("1e0", None),
        ("\"1\"", None),
        ("true", None),
        ("[]", None),
        ("null", None),
    ] {
        let mut tape = Tape::new();
        assert_eq!(scan(text, &ScanLimits::default(), &mut tape).unwrap().root().as_u64_exact(), want, "{text}");
    }
}

#[test]
fn errors_say_where() {
    for (text, offset) in [("[1,x]", 3), (r#"{"a":1,"b":tru}"#, 11), ("[\"a\\q\"]", 3), ("", 0), ("[1", 2), ("1 x", 2)]
    {
        assert_eq!(scan(text, &ScanLimits::default(), &mut Tape::new()).unwrap_err().offset(), offset, "{text}");
    }
}
