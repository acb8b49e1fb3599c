//! From the text of a schema to its program.

use super::content::ContentClass;
use super::error::Fault;
use super::pattern;
use super::program::{AnyRule, Dependent, Name, Rules, SchemaId, types};
use crate::json::{Document, Kind, Member, NodeId, Value, key_print};
use regex::Regex;
use std::collections::HashMap;

/// The only draft that is read.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords of other drafts, which 2020-12 would ignore in silence, and what to write.
const OTHER_DRAFTS: [(&str, &str); 4] = [
    ("dependencies", "dependentRequired or dependentSchemas (2020-12 has no dependencies)"),
    ("additionalItems", "items beside prefixItems (2020-12 has no additionalItems)"),
    ("$recursiveRef", "$dynamicRef (2020-12 has no $recursiveRef)"),
    ("$recursiveAnchor", "$dynamicAnchor (2020-12 has no $recursiveAnchor)"),
];

pub(super) struct Compiled {
    pub(super) schemas: Vec<Rules>,
    /// The first thing that our program does not express.
    pub(super) because: Option<&'static str>,
}

/// Compiles the schema in `document`; its subschemas in the order in which they were met, the root first.
pub(super) fn compile(document: Document<'_>) -> Result<Compiled, Fault> {
    let root = document.root();
    let mut compiler = Compiler {
        root,
        sources: Vec::new(),
        ids: HashMap::new(),
        anchors: anchors(root)?,
        same_value: Vec::new(),
        because: None,
    };
    compiler.schema(root)?;
    let mut schemas = Vec::new();
    // Subschemas wait in `sources`, so that a long chain of references costs no stack.
    while let Some(&source) = compiler.sources.get(schemas.len()) {
        let id = narrow(schemas.len());
        schemas.push(compiler.rules(id, source)?);
    }
    compiler.refuse_circles(schemas.len())?;
    Ok(Compiled { schemas, because: compiler.because })
}

/// Ids of subschemas are as bounded as the nodes of their source.
fn narrow(index: usize) -> SchemaId {
    SchemaId::try_from(index).unwrap_or(SchemaId::MAX)
}

fn anchors(root: Value<'_>) -> Result<HashMap<String, Value<'_>>, Fault> {
    let mut anchors = HashMap::new();
    for object in root.subtree().filter(|value| value.is_object()) {
        let Some(anchor) = object.get("$anchor").filter(|anchor| anchor.is_string()) else {
            continue;
        };
        if anchors.insert(owned(anchor), object).is_some() {
            return Err(wrong(anchor, "an anchor that no other subschema has"));
        }
    }
    Ok(anchors)
}

struct Compiler<'s> {
    root: Value<'s>,
    /// Where each subschema stands, by its id.
    sources: Vec<Value<'s>>,
    ids: HashMap<NodeId, SchemaId>,
    anchors: HashMap<String, Value<'s>>,
    /// Pairs of subschemas of which the first applies the second to the same value.
    same_value: Vec<(SchemaId, SchemaId)>,
    because: Option<&'static str>,
}

fn wrong(value: Value<'_>, expected: impl Into<String>) -> Fault {
    Fault::new(value.span().0, expected)
}

fn owned(string: Value<'_>) -> String {
    string.chars().collect()
}

fn is_draft(value: Value<'_>) -> bool {
    value.is_string() && owned(value).trim_end_matches('#') == DRAFT
}

impl<'s> Compiler<'s> {
    /// The id of the subschema at `value`, which is compiled when its turn comes.
    fn schema(&mut self, value: Value<'s>) -> Result<SchemaId, Fault> {
        if !matches!(value.kind(), Kind::Object | Kind::Bool) {
            return Err(wrong(value, "a schema: an object, true or false"));
        }
        let next = narrow(self.sources.len());
        let id = *self.ids.entry(value.id()).or_insert(next);
        if id == next {
            self.sources.push(value);
        }
        Ok(id)
    }

    fn schemas(&mut self, list: Value<'s>) -> Result<Vec<SchemaId>, Fault> {
        if list.kind() != Kind::Array || list.is_empty() {
            return Err(wrong(list, "an array of at least one schema"));
        }
        list.items().map(|item| self.schema(item)).collect()
    }

    /// A subschema that applies to the same value as `from`.
    fn same(&mut self, from: SchemaId, value: Value<'s>) -> Result<SchemaId, Fault> {
        let id = self.schema(value)?;
        self.same_value.push((from, id));
        Ok(id)
    }

    fn all_same(&mut self, from: SchemaId, list: Value<'s>) -> Result<Vec<SchemaId>, Fault> {
        let ids = self.schemas(list)?;
        self.same_value.extend(ids.iter().map(|id| (from, *id)));
        Ok(ids)
    }

    fn leave_to_fallback(&mut self, because: &'static str) {
        self.because.get_or_insert(because);
    }

    fn rules(&mut self, id: SchemaId, source: Value<'s>) -> Result<Rules, Fault> {
        let mut rules = Rules::new();
        if let Some(all) = source.as_bool() {
            if !all {
                rules.types = 0;
                rules.never = true;
            }
            return Ok(rules);
        }
        for Member { key, value } in source.members() {
            if let Some((_, instead)) = OTHER_DRAFTS.iter().find(|(name, _)| key.str_eq(name)) {
                return Err(wrong(key, *instead));
            }
            self.keyword(id, &mut rules, key, value)?;
        }
        self.joined_keywords(id, &mut rules, source)?;
        if rules.class.is_some() && rules.types & types::STRING == 0 {
            let place = source.get("wsguard:content").unwrap_or(source);
            return Err(wrong(place, "wsguard:content only where strings are permitted"));
        }
        Ok(rules)
    }

    /// Keywords that speak for themselves; [`Self::joined_keywords`] has those that are read with others.
    fn keyword(&mut self, id: SchemaId, rules: &mut Rules, key: Value<'s>, value: Value<'s>) -> Result<(), Fault> {
        match owned(key).as_str() {
            "$schema" if is_draft(value) => {}
            "$schema" => return Err(wrong(value, format!("\"{DRAFT}\""))),
            "$id" if value.is_string() && id != 0 => self.leave_to_fallback("$id"),
            "$id" | "$anchor" if value.is_string() => {}
            "$id" | "$anchor" => return Err(wrong(value, "a string")),
            "$ref" => {
                if let Some(target) = self.target(value)? {
                    let target = self.same(id, target)?;
                    rules.any.push(AnyRule::Same(target));
                }
            }
            "$defs" => {
                for member in members(value)? {
                    self.schema(member.value)?;
                }
            }
            "type" => rules.types &= type_set(value)?,
            "const" => {
                self.comparable(value);
                rules.any.insert(0, AnyRule::Const(value.id()));
            }
            "enum" => {
                if value.kind() != Kind::Array {
                    return Err(wrong(value, "an array of values"));
                }
                self.comparable(value);
                rules.any.insert(0, AnyRule::Enum(value.items().map(Value::id).collect()));
            }
            "allOf" => rules.any.push(AnyRule::AllOf(self.all_same(id, value)?)),
            "anyOf" => rules.any.push(AnyRule::AnyOf(self.all_same(id, value)?)),
            "oneOf" => rules.any.push(AnyRule::OneOf(self.all_same(id, value)?)),
            "not" => rules.any.push(AnyRule::Not(self.same(id, value)?)),
            "wsguard:content" => {
                let class = ContentClass::from_name(&owned(value)).filter(|_| value.is_string());
                rules.class = Some(class.ok_or_else(|| wrong(value, r#""text", "html", "reject" or "raw""#))?);
            }
            "wsguard:number" if value.str_eq("any") => rules.number_any = true,
            "wsguard:number" => return Err(wrong(value, r#""any""#)),
            ours if ours.starts_with("wsguard:") => {
                return Err(wrong(key, "wsguard:content or wsguard:number"));
            }
            "$dynamicRef" => self.leave_to_fallback("$dynamicRef"),
            "$dynamicAnchor" => self.leave_to_fallback("$dynamicAnchor"),
            "$vocabulary" => self.leave_to_fallback("$vocabulary"),
            "unevaluatedItems" => self.leave_to_fallback("unevaluatedItems"),
            "unevaluatedProperties" => self.leave_to_fallback("unevaluatedProperties"),
            name => return self.part_keyword(rules, name, value),
        }
        Ok(())
    }

    /// Keywords about one kind of value.
    fn part_keyword(&mut self, rules: &mut Rules, name: &str, value: Value<'s>) -> Result<(), Fault> {
        match name {
            "minLength" => rules.string.get_or_insert_default().min = count(value)?,
            "maxLength" => rules.string.get_or_insert_default().max = count(value)?,
            "pattern" => {
                rules.string.get_or_insert_default().pattern = self.pattern(value)?;
            }
            "minimum" => rules.number.get_or_insert_default().min = Some(self.bound(value)?),
            "maximum" => rules.number.get_or_insert_default().max = Some(self.bound(value)?),
            "exclusiveMinimum" => {
                rules.number.get_or_insert_default().above = Some(self.bound(value)?);
            }
            "exclusiveMaximum" => {
                rules.number.get_or_insert_default().below = Some(self.bound(value)?);
            }
            "multipleOf" => {
                rules.number.get_or_insert_default().multiple_of = Some(self.unit(value)?);
            }
            "prefixItems" => rules.array.get_or_insert_default().prefix = self.schemas(value)?,
            "items" if value.kind() == Kind::Array => {
                return Err(wrong(value, "a schema (2020-12 calls an array of them prefixItems)"));
            }
            "items" => rules.array.get_or_insert_default().items = Some(self.schema(value)?),
            "contains" => rules.array.get_or_insert_default().contains = Some(self.schema(value)?),
            "minContains" => rules.array.get_or_insert_default().min_contains = count(value)?,
            "maxContains" => rules.array.get_or_insert_default().max_contains = count(value)?,
            "minItems" => rules.array.get_or_insert_default().min = count(value)?,
            "maxItems" => rules.array.get_or_insert_default().max = count(value)?,
            "uniqueItems" => {
                rules.array.get_or_insert_default().unique =
                    value.as_bool().ok_or_else(|| wrong(value, "true or false"))?;
            }
            "additionalProperties" => {
                rules.object.get_or_insert_default().additional = Some(self.schema(value)?);
            }
            "propertyNames" => {
                rules.object.get_or_insert_default().property_names = Some(self.schema(value)?);
            }
            "minProperties" => rules.object.get_or_insert_default().min = count(value)?,
            "maxProperties" => rules.object.get_or_insert_default().max = count(value)?,
            "patternProperties" => {
                for member in members(value)? {
                    let schema = self.schema(member.value)?;
                    if let Some(pattern) = self.pattern(member.key)? {
                        rules.object.get_or_insert_default().patterns.push((pattern, schema));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn joined_keywords(&mut self, id: SchemaId, rules: &mut Rules, source: Value<'s>) -> Result<(), Fault> {
        let branch = |compiler: &mut Self, key: &str| source.get(key).map(|value| compiler.same(id, value)).transpose();
        let (test, then, otherwise) = (branch(self, "if")?, branch(self, "then")?, branch(self, "else")?);
        if let Some(test) = test {
            // Without a branch it asserts nothing, but where it applies its annotations count.
            rules.any.push(AnyRule::If { test, then, otherwise });
        }
        if source.get("properties").is_some() || source.get("required").is_some() {
            let names = self.names(source)?;
            let object = rules.object.get_or_insert_default();
            object.required = narrow(names.iter().filter(|name| name.required).count());
            object.by_print = names.iter().zip(0..).map(|(name, at)| (name.print, at)).collect();
            object.by_print.sort_unstable();
            object.names = names;
        }
        if let Some(object) = &mut rules.object {
            object.every_member = !object.patterns.is_empty() || object.property_names.is_some();
        }
        if let Some(value) = source.get("dependentRequired") {
            for Member { key, value } in members(value)? {
                let required = strings(value)?.into_iter().map(String::into_boxed_str).collect();
                let dependent = Dependent { trigger: owned(key).into(), required, schema: None };
                rules.object.get_or_insert_default().dependents.push(dependent);
            }
        }
        if let Some(value) = source.get("dependentSchemas") {
            for Member { key, value } in members(value)? {
                let schema = Some(self.same(id, value)?);
                let dependent = Dependent { trigger: owned(key).into(), required: Vec::new(), schema };
                rules.object.get_or_insert_default().dependents.push(dependent);
            }
        }
        Ok(())
    }

    fn names(&mut self, source: Value<'s>) -> Result<Vec<Name>, Fault> {
        let mut names = Vec::new();
        let mut positions = HashMap::new();
        if let Some(properties) = source.get("properties") {
            for Member { key, value } in members(properties)? {
                let text = owned(key);
                positions.insert(text.clone(), names.len());
                let schema = Some(self.schema(value)?);
                names.push(Name { print: key_print(text.as_bytes()), required: false, schema, text: text.into() });
            }
        }
        if let Some(required) = source.get("required") {
            for text in strings(required)? {
                if let Some(name) = positions.get(&text).and_then(|at: &usize| names.get_mut(*at)) {
                    name.required = true;
                } else {
                    names.push(Name {
                        print: key_print(text.as_bytes()),
                        required: true,
                        schema: None,
                        text: text.into(),
                    });
                }
            }
        }
        Ok(names)
    }

    /// Values that are compared exactly with what a message may hold.
    fn comparable(&mut self, value: Value<'_>) {
        if value.subtree().any(Value::is_wide) {
            self.leave_to_fallback("numbers beyond 2^53 - 1");
        }
    }

    fn bound(&mut self, value: Value<'_>) -> Result<f64, Fault> {
        self.comparable(value);
        value.as_f64().ok_or_else(|| wrong(value, "a number"))
    }

    fn unit(&mut self, value: Value<'_>) -> Result<f64, Fault> {
        let unit = self.bound(value)?;
        if unit <= 0.0 {
            return Err(wrong(value, "a number greater than 0"));
        }
        if unit.fract() != 0.0 {
            self.leave_to_fallback("multipleOf a fraction");
        }
        Ok(unit)
    }

    fn pattern(&mut self, value: Value<'_>) -> Result<Option<Regex>, Fault> {
        if !value.is_string() {
            return Err(wrong(value, "a regular expression as a string"));
        }
        let source = owned(value);
        let compiled = pattern::compile(&source);
        if compiled.is_none() {
            // Told apart here, because the fallback engine would name no place in the file.
            if jsonschema::options().build(&serde_json::json!({ "pattern": source })).is_err() {
                return Err(wrong(value, "a regular expression (ECMA-262)"));
            }
            self.leave_to_fallback("pattern");
        }
        Ok(compiled)
    }

    /// The subschema that a `$ref` names; `None` when the fallback engine has to find it.
    fn target(&mut self, reference: Value<'_>) -> Result<Option<Value<'s>>, Fault> {
        let text = owned(reference);
        let Some(fragment) = text.strip_prefix('#').filter(|_| reference.is_string()) else {
            if !reference.is_string() {
                return Err(wrong(reference, "a reference as a string"));
            }
            self.leave_to_fallback("$ref to another document");
            return Ok(None);
        };
        let found = percent_decoded(fragment).and_then(|fragment| {
            if fragment.is_empty() || fragment.starts_with('/') {
                self.root.pointer(&fragment)
            } else {
                self.anchors.get(&fragment).copied()
            }
        });
        match found {
            Some(target) => Ok(Some(target)),
            // A $dynamicAnchor is an anchor too, of the fallback engine.
            None if self.root.subtree().any(|value| value.is_key() && value.str_eq("$dynamicAnchor")) => {
                self.leave_to_fallback("$dynamicAnchor");
                Ok(None)
            }
            None => Err(wrong(reference, "a reference to a subschema of this file")),
        }
    }

    /// Refuses a subschema that applies itself to the same value, which would never end.
    fn refuse_circles(&self, count: usize) -> Result<(), Fault> {
        // Subschemas that are applied by none other are taken away until nothing changes: what is left is a circle.
        let mut applied_by = vec![0_u32; count];
        let mut applies: Vec<Vec<SchemaId>> = vec![Vec::new(); count];
        for (from, to) in &self.same_value {
            if let (Some(count), Some(list)) = (applied_by.get_mut(*to as usize), applies.get_mut(*from as usize)) {
                *count = count.saturating_add(1);
                list.push(*to);
            }
        }
        let mut free: Vec<usize> = (0..count).filter(|id| applied_by.get(*id) == Some(&0)).collect();
        while let Some(id) = free.pop() {
            for to in applies.get(id).into_iter().flatten() {
                if let Some(count) = applied_by.get_mut(*to as usize) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        free.push(*to as usize);
                    }
                }
            }
        }
        match applied_by.iter().position(|count| *count > 0).and_then(|id| self.sources.get(id)) {
            Some(source) => Err(wrong(*source, "references that do not lead back to this schema for the same value")),
            None => Ok(()),
        }
    }
}

fn members(value: Value<'_>) -> Result<crate::json::Members<'_>, Fault> {
    if value.is_object() { Ok(value.members()) } else { Err(wrong(value, "an object")) }
}

/// A list of different strings.
fn strings(value: Value<'_>) -> Result<Vec<String>, Fault> {
    if value.kind() != Kind::Array {
        return Err(wrong(value, "an array of names"));
    }
    let mut names: Vec<String> = Vec::new();
    for item in value.items() {
        let name = owned(item);
        if !item.is_string() || names.contains(&name) {
            return Err(wrong(item, "a name that is not yet in the list"));
        }
        names.push(name);
    }
    Ok(names)
}

/// A limit. Larger ones than a message can reach count as the largest.
fn count(value: Value<'_>) -> Result<u32, Fault> {
    let number = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0);
    let number = number.ok_or_else(|| wrong(value, "a whole number that is not negative"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative; the cast saturates"
    )]
    Ok(number as u32)
}

fn type_set(value: Value<'_>) -> Result<u8, Fault> {
    const EXPECTED: &str = "null, boolean, object, array, number, string or integer";
    let one = |name: Value<'_>| match owned(name).as_str() {
        "null" => Ok(types::NULL),
        "boolean" => Ok(types::BOOLEAN),
        "object" => Ok(types::OBJECT),
        "array" => Ok(types::ARRAY),
        "number" => Ok(types::NUMBER | types::INTEGER),
        "string" => Ok(types::STRING),
        "integer" => Ok(types::INTEGER),
        _ => Err(wrong(name, EXPECTED)),
    };
    match value.kind() {
        Kind::String => one(value),
        Kind::Array if !value.is_empty() => {
            strings(value)?;
            value.items().try_fold(0, |set, name| Ok(set | one(name)?))
        }
        _ => Err(wrong(value, EXPECTED)),
    }
}

/// A URI fragment decoded (RFC 3986 §2.1).
fn percent_decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
