//! What a value violates.

use crate::json::{NodeId, Value};

macro_rules! keywords {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The keyword that a value does not satisfy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Keyword {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Keyword {
            /// The keyword as schemas spell it, for logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(super) fn from_name(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Schema }
            }
        }
    };
}

keywords! {
    Type = "type",
    Enum = "enum",
    Const = "const",
    Properties = "properties",
    Required = "required",
    AdditionalProperties = "additionalProperties",
    PatternProperties = "patternProperties",
    PropertyNames = "propertyNames",
    MinProperties = "minProperties",
    MaxProperties = "maxProperties",
    DependentRequired = "dependentRequired",
    DependentSchemas = "dependentSchemas",
    Items = "items",
    PrefixItems = "prefixItems",
    Contains = "contains",
    MinContains = "minContains",
    MaxContains = "maxContains",
    MinItems = "minItems",
    MaxItems = "maxItems",
    UniqueItems = "uniqueItems",
    MinLength = "minLength",
    MaxLength = "maxLength",
    Pattern = "pattern",
    Minimum = "minimum",
    Maximum = "maximum",
    ExclusiveMinimum = "exclusiveMinimum",
    ExclusiveMaximum = "exclusiveMaximum",
    MultipleOf = "multipleOf",
    AllOf = "allOf",
    AnyOf = "anyOf",
    OneOf = "oneOf",
    Not = "not",
    UnevaluatedItems = "unevaluatedItems",
    UnevaluatedProperties = "unevaluatedProperties",
    /// A number beyond ±(2^53 - 1) where no schema permits it:
    Number = "wsguard:number",
    /// The subschema `false` applies here:
    Never = "false",
    /// The check took more than [`CompiledSchema::STEPS_MAX`](super::CompiledSchema::STEPS_MAX) steps:
    Effort = "effort",
    /// Something else that the fallback engine found:
    Schema = "schema",
}

/// A value that a schema refuses: the node and the keyword. Holds no text of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    node: NodeId,
    keyword: Keyword,
}

impl Violation {
    #[cold]
    pub(super) const fn new(node: NodeId, keyword: Keyword) -> Self {
        Self { node, keyword }
    }

    /// The value (or key, for [`Keyword::PropertyNames`] and what is below it) that is refused.
    pub const fn node(self) -> NodeId {
        self.node
    }

    /// The keyword that refused it.
    pub const fn keyword(self) -> Keyword {
        self.keyword
    }

    /// The JSON Pointer to the refused value, for the operator's log. Made of the message's keys: escape it as any hostile text.
    ///
    /// `checked` is the value that was given to `check`.
    pub fn pointer(self, checked: Value<'_>) -> String {
        checked.pointer_to(self.node)
    }
}
