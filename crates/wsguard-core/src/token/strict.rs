//! A small strict JSON tree for headers and claims.
//!
//! Attack: a member that stands twice is read by one party from its first place and by another from its last, so a
//! proxy may approve one subject and the application act for another (CWE-436). Duplicates are refused at every depth,
//! also inside members that nobody reads, and depth and member counts are limited.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of arrays and objects in a header or payload. Claims are flat; issuers nest two or three deep.
const DEPTH_MAX: u8 = 16;

/// Most members of one object. Bounds the quadratic search for duplicates at some thousand comparisons.
const MEMBERS_MAX: usize = 64;

/// One JSON value; strings borrow from the input where they hold no escape.
#[derive(Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool,
    Number(f64),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Parses `bytes` as exactly one JSON object and returns its members; `None` for anything else.
///
/// Refuses what RFC 8259 refuses, and also duplicate members, lone surrogates, numbers beyond a double, a byte order
/// mark, more than [`DEPTH_MAX`] levels and more than [`MEMBERS_MAX`] members in an object.
pub(super) fn object(bytes: &[u8]) -> Option<Vec<(Cow<'_, str>, Json<'_>)>> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = Node { depth_left: DEPTH_MAX }.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    match value {
        Json::Object(members) => Some(members),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Node {
    depth_left: u8,
}

impl Node {
    fn below<E: de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool)
    }

    #[expect(clippy::cast_precision_loss, reason = "dates lie below 2^53; a larger number is out of range either way")]
    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "only negative numbers come here, and no claim may be negative")]
    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom("duplicate member"));
            }
            if members.len() == MEMBERS_MAX {
                return Err(de::Error::custom("too many members"));
            }
            let value = map.next_value_seed(below)?;
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name, borrowed when it holds no escape. Compared after unescaping: `"s\u0075b"` duplicates `"sub"`.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match (Node { depth_left: 0 }).deserialize(deserializer)? {
            Json::Text(name) => Ok(Self(name)),
            _ => Err(de::Error::custom("a name must be a string")),
        }
    }
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
            ("lone surrogate", "{\"a\":\"\\ud800\"}".to_owned(), false),
            ("number beyond a double", "{\"a\":1e999}".to_owned(), false),
            ("not a number", "{\"a\":NaN}".to_owned(), false),
            ("raw control character", "{\"a\":\"\u{1}\"}".to_owned(), false),
            ("deep enough", nested(usize::from(DEPTH_MAX) - 1), true),
            ("too deep", nested(usize::from(DEPTH_MAX)), false),
            ("wide enough", wide(MEMBERS_MAX), true),
            ("too wide", wide(MEMBERS_MAX + 1), false),
        ] {
            assert_eq!(object(text.as_bytes()).is_some(), want, "{name}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None, "invalid UTF-8");
    }
}
