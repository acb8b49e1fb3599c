//! The program that a schema is compiled into.

use super::content::ContentClass;
use crate::json::{Document, NodeId, Tape, Value};
use regex::Regex;

/// Index of a subschema in [`Program::schemas`]; the root is 0.
pub(super) type SchemaId = u32;

#[derive(Debug)]
pub(super) struct Program {
    /// The schema's own text and tape: `const` and `enum` compare with values of it.
    pub(super) source: Box<str>,
    pub(super) tape: Tape,
    pub(super) schemas: Vec<Rules>,
}

/// Bits of [`Rules::types`].
pub(super) mod types {
    pub(in super::super) const NULL: u8 = 1;
    pub(in super::super) const BOOLEAN: u8 = 1 << 1;
    pub(in super::super) const STRING: u8 = 1 << 2;
    pub(in super::super) const ARRAY: u8 = 1 << 3;
    pub(in super::super) const OBJECT: u8 = 1 << 4;
    pub(in super::super) const NUMBER: u8 = 1 << 5;
    /// Numbers with an integral value, when [`NUMBER`] is not set.
    pub(in super::super) const INTEGER: u8 = 1 << 6;
    pub(in super::super) const ALL: u8 = 0x7f;
}

/// One subschema, its keywords sorted by the kind of value that they speak of.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) types: u8,
    /// The source permits nothing here (`false`), which is worth a name of its own in the log.
    pub(super) never: bool,
    pub(super) number_any: bool,
    pub(super) class: Option<ContentClass>,
    pub(super) object: Option<Box<ObjectRules>>,
    pub(super) string: Option<Box<StringRules>>,
    pub(super) array: Option<Box<ArrayRules>>,
    pub(super) number: Option<Box<NumberRules>>,
    pub(super) any: Vec<AnyRule>,
}

impl Rules {
    pub(super) const fn new() -> Self {
        Self {
            types: types::ALL,
            never: false,
            number_any: false,
            class: None,
            object: None,
            string: None,
            array: None,
            number: None,
            any: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) enum AnyRule {
    Const(NodeId),
    Enum(Vec<NodeId>),
    /// A `$ref`.
    Same(SchemaId),
    AllOf(Vec<SchemaId>),
    AnyOf(Vec<SchemaId>),
    OneOf(Vec<SchemaId>),
    Not(SchemaId),
    If {
        test: SchemaId,
        then: Option<SchemaId>,
        otherwise: Option<SchemaId>,
    },
}

#[derive(Debug)]
pub(super) struct StringRules {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) pattern: Option<Regex>,
}

impl Default for StringRules {
    fn default() -> Self {
        Self { min: 0, max: u32::MAX, pattern: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct NumberRules {
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) below: Option<f64>,
    /// A whole number.
    pub(super) multiple_of: Option<f64>,
}

#[derive(Debug)]
pub(super) struct ArrayRules {
    pub(super) prefix: Vec<SchemaId>,
    pub(super) items: Option<SchemaId>,
    pub(super) contains: Option<SchemaId>,
    pub(super) min_contains: u32,
    pub(super) max_contains: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) unique: bool,
}

impl Default for ArrayRules {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            items: None,
            contains: None,
            min_contains: 1,
            max_contains: u32::MAX,
            min: 0,
            max: u32::MAX,
            unique: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct ObjectRules {
    /// Names of `properties` and `required`, in the order of the schema.
    pub(super) names: Vec<Name>,
    /// Prints of [`Self::names`], sorted, with their positions.
    pub(super) by_print: Vec<(u32, u16)>,
    /// How many of them are required.
    pub(super) required: u32,
    /// There are keywords about members whatever `properties` says of them: `patternProperties`, `propertyNames`.
    pub(super) every_member: bool,
    pub(super) additional: Option<SchemaId>,
    pub(super) patterns: Vec<(Regex, SchemaId)>,
    pub(super) property_names: Option<SchemaId>,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) dependents: Vec<Dependent>,
}

impl Default for ObjectRules {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            by_print: Vec::new(),
            required: 0,
            every_member: false,
            additional: None,
            patterns: Vec::new(),
            property_names: None,
            min: 0,
            max: u32::MAX,
            dependents: Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Name {
    pub(super) print: u32,
    pub(super) required: bool,
    /// `None`: not in `properties`, so that `additionalProperties` applies.
    pub(super) schema: Option<SchemaId>,
    pub(super) text: Box<str>,
}

/// What holds when an object has a member called `trigger`.
#[derive(Debug)]
pub(super) struct Dependent {
    pub(super) trigger: Box<str>,
    pub(super) required: Vec<Box<str>>,
    pub(super) schema: Option<SchemaId>,
}

impl Program {
    /// A value of the schema's source, for comparison.
    pub(super) fn constant(&self, id: NodeId) -> Option<Value<'_>> {
        Document::new(&self.source, &self.tape).value(id)
    }

    pub(super) fn rules(&self, id: SchemaId) -> Option<&Rules> {
        self.schemas.get(id as usize)
    }
}

/// How large regular expressions may become, in bytes of their compiled form.
pub(super) const PATTERN_BYTES_MAX: usize = 1 << 20;
