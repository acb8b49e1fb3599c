//! Headers, claims and keys as the core's own scanner reads them.
//!
//! Attack: a member that stands twice is read by one party from its first place and by another from its last, so a
//! proxy may approve one subject and the application act for another (CWE-436). [`crate::json`] refuses duplicates at
//! every depth, also inside members that nobody reads, and limits depth, members and nodes.

use std::borrow::Cow;

use crate::json::{self, ScanLimits, Tape, Value};

/// What one header, payload or key set may hold. Claims are flat; issuers nest two or three deep, and name claims by
/// address, which is why a key may be longer than in a message.
const LIMITS: ScanLimits =
    ScanLimits { depth: 16, nodes: 4_096, members: 64, items: 1_024, key_bytes: 512, number_bytes: 64 };

/// Parses `bytes` as exactly one JSON object; `None` for anything else, and for what [`json::scan`] refuses.
pub(super) fn object<'a>(bytes: &'a [u8], tape: &'a mut Tape) -> Option<Value<'a>> {
    let text = simdutf8::basic::from_utf8(bytes).ok()?;
    let root = json::scan(text, &LIMITS, tape).ok()?.root();
    root.is_object().then_some(root)
}

/// The string behind `value`, borrowed where it holds no escape; `None` for a value of another kind. A member's name
/// compares after unescaping: `"s\u0075b"` is `sub`.
pub(super) fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value.as_plain_str() {
        Some(plain) => Some(Cow::Borrowed(plain)),
        None if value.is_string() => {
            let mut unescaped = String::new();
            value.unescape_into(&mut unescaped);
            Some(Cow::Owned(unescaped))
        }
        None => None,
    }
}

/// The members of an object with their names unescaped.
pub(super) fn members(object: Value<'_>) -> impl Iterator<Item = (Cow<'_, str>, Value<'_>)> {
    object.members().map(|member| (text(member.key).unwrap_or_default(), member.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_clean_object_passes() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let wide = |count: usize| {
            let members: Vec<String> = (0..count).map(|i| format!("\"m{i}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        let (depth, most) = (usize::from(LIMITS.depth), usize::from(LIMITS.members));
        for (name, text, want) in [
            ("empty object", "{}".to_owned(), true),
            ("white space around", " {\"a\" : 1}\r\n".to_owned(), true),
            ("array", "[]".to_owned(), false),
            ("string", "\"{}\"".to_owned(), false),
            ("nothing", String::new(), false),
            ("two objects", "{}{}".to_owned(), false),
            ("trailing byte", "{}\0".to_owned(), false),
            ("byte order mark", "\u{feff}{}".to_owned(), false),
            ("trailing comma", "{\"a\":1,}".to_owned(), false),
            ("comment", "{/**/}".to_owned(), false),
            ("duplicate", "{\"a\":1,\"a\":1}".to_owned(), false),
            ("duplicate by escape", "{\"sub\":1,\"s\\u0075b\":1}".to_owned(), false),
            ("duplicate below", "{\"x\":[{\"a\":1,\"a\":2}]}".to_owned(), false),
            ("same name at two depths", "{\"a\":{\"a\":1}}".to_owned(), true),
            ("prototype key", "{\"__proto__\":{}}".to_owned(), false),
            ("lone surrogate", "{\"a\":\"\\ud800\"}".to_owned(), false),
            ("number beyond a double", "{\"a\":1e999}".to_owned(), false),
            ("not a number", "{\"a\":NaN}".to_owned(), false),
            ("raw control character", "{\"a\":\"\u{1}\"}".to_owned(), false),
            ("deep enough", nested(depth - 1), true),
            ("too deep", nested(depth), false),
            ("wide enough", wide(most), true),
            ("too wide", wide(most + 1), false),
        ] {
            assert_eq!(object(text.as_bytes(), &mut Tape::new()).is_some(), want, "{name}");
        }
        assert!(object(b"{\"a\":\"\xff\"}", &mut Tape::new()).is_none(), "invalid UTF-8");
    }

    #[test]
    fn names_are_read_after_unescaping() {
        let mut tape = Tape::new();
        let object = object(br#"{"s\u0075b":"a\nb","n":1}"#, &mut tape).unwrap();
        let read: Vec<_> = members(object).map(|(name, value)| (name.into_owned(), text(value))).collect();
        assert_eq!(read, [("sub".to_owned(), Some(Cow::Borrowed("a\nb"))), ("n".to_owned(), None)]);
    }
}
