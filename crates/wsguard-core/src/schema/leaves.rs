//! What a check depends on beside how a text is built.

use super::CompiledSchema;
use super::check::find_name;
use super::program::{ObjectRules, Program, SchemaId};
use crate::json::{Document, NodeId, Tag, Value};

/// Leaves of one value, at most: a flat message.
const LEAVES_MAX: usize = 16;

/// A string whose length has limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    node: NodeId,
    min: u32,
    max: u32,
}

impl Leaf {
    /// Whether the bytes of its string in `document` settle both limits, as they mostly do.
    #[inline]
    pub(crate) fn is_settled(&self, document: Document<'_>) -> bool {
        document.bytes_of(self.node).is_some_and(|bytes| settles(self.min, self.max, bytes))
    }
}

/// Whether a string of `bytes` bytes has `min` to `max` characters whatever these are: a code point takes 1 to 12 bytes of
/// the text (`\ud83d\ude00`).
#[inline]
pub(super) fn settles(min: u32, max: u32, bytes: u32) -> bool {
    bytes <= max && (min == 0 || (min == 1 && bytes != 0) || bytes / 12 >= min)
}

impl CompiledSchema {
    /// What decides about values that are built like `value`, which has passed [`Self::check`]: where each leaf is settled,
    /// they pass too. `None` where more decides than the lengths of strings.
    pub(crate) fn leaves(&self, value: Value<'_>) -> Option<Box<[Leaf]>> {
        let mut leaves = Vec::new();
        if self.fallback.is_some() {
            return None;
        }
        collect(&self.program, 0, value, &mut leaves)?;
        (leaves.len() <= LEAVES_MAX).then(|| leaves.into())
    }
}

/// Adds what the subschema `id` asks of the strings in `value`. Kinds, names and counts are part of how a text is built.
// Recursion: as deep as the value.
fn collect(program: &Program, id: SchemaId, value: Value<'_>, leaves: &mut Vec<Leaf>) -> Option<()> {
    let rules = program.rules(id).filter(|rules| rules.any.is_empty())?;
    match value.node().tag {
        Tag::Number if rules.number.is_some() => return None,
        Tag::Array if rules.array.is_some() => return None,
        Tag::Null | Tag::False | Tag::True | Tag::Number | Tag::Array => {}
        Tag::String => {
            if let Some(string) = &rules.string {
                if string.pattern.is_some() {
                    return None;
                }
                leaves.push(Leaf { node: value.id(), min: string.min, max: string.max });
            }
        }
        Tag::Object => {
            if let Some(object) = &rules.object {
                collect_members(program, object, value, leaves)?;
            }
        }
    }
    Some(())
}

fn collect_members(program: &Program, rules: &ObjectRules, object: Value<'_>, leaves: &mut Vec<Leaf>) -> Option<()> {
    if rules.every_member || !rules.dependents.is_empty() {
        return None;
    }
    let mut expected = 0;
    for member in object.members() {
        let name = find_name(rules, object.source(), &member.key.node(), &mut expected);
        if let Some(id) = name.and_then(|name| name.schema).or(rules.additional) {
            collect(program, id, member.value, leaves)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{ScanLimits, Tape, scan};

    fn leaves(schema: &str, text: &str) -> Option<usize> {
        let schema = CompiledSchema::compile("test", schema).unwrap();
        let mut tape = Tape::new();
        let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
        schema.check(document, document.root()).unwrap();
        Some(schema.leaves(document.root())?.len())
    }

    #[test]
    fn only_lengths_of_strings_may_decide() {
        let object = |rules: &str| format!(r#"{{"type":"object","properties":{{"a":{rules}}}}}"#);
        for (name, schema, text, want) in [
            ("anything", "true".to_owned(), r#"{"a":[1,"x"]}"#, Some(0)),
            ("length", object(r#"{"minLength":1,"maxLength":3}"#), r#"{"a":"x","b":"y"}"#, Some(1)),
            ("of another kind", object(r#"{"type":["string","null"],"maxLength":3}"#), r#"{"a":null}"#, Some(0)),
            ("additional", r#"{"additionalProperties":{"maxLength":3}}"#.to_owned(), r#"{"a":"x","b":"y"}"#, Some(2)),
            ("within", object(&object(r#"{"maxLength":3}"#)), r#"{"a":{"a":"x"}}"#, Some(1)),
            ("pattern", object(r#"{"pattern":"^x"}"#), r#"{"a":"x"}"#, None),
            ("enum", object(r#"{"enum":["x"]}"#), r#"{"a":"x"}"#, None),
            ("const", object(r#"{"const":"x"}"#), r#"{"a":"x"}"#, None),
            ("any of", object(r#"{"anyOf":[{"maxLength":3}]}"#), r#"{"a":"x"}"#, None),
            ("not", r#"{"not":{"required":["b"]}}"#.to_owned(), r#"{"a":"x"}"#, None),
            ("range", object(r#"{"maximum":3}"#), r#"{"a":1}"#, None),
            ("range of a number that is none", object(r#"{"maximum":3}"#), r#"{"a":"x"}"#, Some(0)),
            ("unique", object(r#"{"uniqueItems":true}"#), r#"{"a":["x"]}"#, None),
            ("items", object(r#"{"items":{"maxLength":3}}"#), r#"{"a":["x"]}"#, None),
            ("names", r#"{"propertyNames":{"maxLength":3}}"#.to_owned(), r#"{"a":"x"}"#, None),
            ("patterns", r#"{"patternProperties":{"^a":{"maxLength":3}}}"#.to_owned(), r#"{"a":"x"}"#, None),
            ("dependent", r#"{"dependentRequired":{"a":["b"]}}"#.to_owned(), r#"{"a":"x","b":"y"}"#, None),
            ("by reference", r##"{"$ref":"#/$defs/a","$defs":{"a":{"maxLength":3}}}"##.to_owned(), r#""x""#, None),
            ("many", r#"{"additionalProperties":{"maxLength":3}}"#.to_owned(), &many(LEAVES_MAX + 1), None),
        ] {
            assert_eq!(leaves(&schema, text), want, "{name}");
        }
    }

    fn many(count: usize) -> String {
        let members: Vec<String> = (0..count).map(|at| format!(r#""m{at}":"x""#)).collect();
        format!("{{{}}}", members.join(","))
    }
}
