//! What the applicable subschemas say about strings with markup and about wide numbers.

use super::check::{Run, find_name, text};
use super::program::{AnyRule, ArrayRules, ObjectRules, Program, SchemaId};
use crate::json::{Kind, NodeId, Value};

/// What markup in a string means (`wsguard:content`, docs/protocol.md §4).
///
/// Ordered by what comes through. Where several subschemas apply, the strictest wins: what `Reject` lets through `Text` would not
/// change, what `Text` writes is harmless wherever `Html` or `Raw` was expected; the reverse does not hold. So `raw` in one
/// place never opens what another place closes, and a caller's default counts only where no subschema speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentClass {
    /// Passes as it is.
    Raw,
    /// Cleaned against an allowlist of HTML.
    Html,
    /// Plain text: what is not harmless is neutralised.
    Text,
    /// Plain text: what is not harmless is refused.
    Reject,
}

impl ContentClass {
    /// The value of `wsguard:content`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Html => "html",
            Self::Text => "text",
            Self::Reject => "reject",
        }
    }

    /// The class that `name` names in a schema or configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raw, Self::Html, Self::Text, Self::Reject].into_iter().find(|class| class.as_str() == name)
    }
}

/// Annotations of one value's parts.
#[derive(Debug, Default)]
pub(super) struct Notes {
    classes: Vec<(NodeId, ContentClass)>,
    any_number: Vec<NodeId>,
    /// The walk ran out of steps: then everything is of the strictest class, so that effort buys no laxity.
    incomplete: bool,
}

impl Notes {
    pub(super) fn add_class(&mut self, id: NodeId, class: ContentClass) {
        self.classes.push((id, class));
    }

    pub(super) fn add_any_number(&mut self, id: NodeId) {
        self.any_number.push(id);
    }

    /// Not everything that the subschemas say could be found out.
    pub(super) fn incomplete() -> Self {
        Self { incomplete: true, ..Self::default() }
    }

    /// To be called once, before anything is asked.
    pub(super) fn sorted(mut self) -> Self {
        self.classes.sort_unstable();
        self.any_number.sort_unstable();
        self
    }

    /// The strictest class given to `id`.
    pub(super) fn class(&self, id: NodeId) -> Option<ContentClass> {
        if self.incomplete {
            return Some(ContentClass::Reject);
        }
        let behind = self.classes.partition_point(|(other, _)| *other <= id);
        let (other, class) = self.classes.get(behind.checked_sub(1)?)?;
        (*other == id).then_some(*class)
    }

    pub(super) fn any_number(&self, id: NodeId) -> bool {
        !self.incomplete && self.any_number.binary_search(&id).is_ok()
    }
}

/// Collects the annotations for `value`, which `program` has accepted.
pub(super) fn notes(program: &Program, value: Value<'_>) -> Notes {
    let mut walk = Walk { program, run: Run::new(program, value), notes: Notes::default() };
    walk.apply(0, value);
    walk.notes.sorted()
}

struct Walk<'p, 'v> {
    program: &'p Program,
    /// Decides which branches apply.
    run: Run<'p, 'v>,
    notes: Notes,
}

impl Walk<'_, '_> {
    fn apply(&mut self, id: SchemaId, value: Value<'_>) {
        let Some(rules) = self.program.rules(id).filter(|_| self.run.step()) else {
            self.notes.incomplete = true;
            return;
        };
        match value.kind() {
            Kind::String => {
                if let Some(class) = rules.class {
                    self.notes.add_class(value.id(), class);
                }
            }
            Kind::Number if rules.number_any => self.notes.add_any_number(value.id()),
            Kind::Object => {
                if let Some(object) = &rules.object {
                    self.object(object, value);
                }
            }
            Kind::Array => {
                if let Some(array) = &rules.array {
                    self.array(array, value);
                }
            }
            Kind::Number | Kind::Null | Kind::Bool => {}
        }
        for rule in &rules.any {
            self.any(rule, value);
        }
    }

    fn apply_if_accepted(&mut self, id: SchemaId, value: Value<'_>) -> bool {
        match self.run.accepts(id, value) {
            Ok(true) => {
                self.apply(id, value);
                true
            }
            Ok(false) => false,
            Err(_) => {
                self.notes.incomplete = true;
                false
            }
        }
    }

    fn any(&mut self, rule: &AnyRule, value: Value<'_>) {
        match rule {
            AnyRule::Same(id) => self.apply(*id, value),
            AnyRule::AllOf(ids) => ids.iter().for_each(|id| self.apply(*id, value)),
            AnyRule::AnyOf(ids) | AnyRule::OneOf(ids) => {
                for id in ids {
                    self.apply_if_accepted(*id, value);
                }
            }
            AnyRule::If { test, then, otherwise } => {
                let branch = if self.apply_if_accepted(*test, value) { then } else { otherwise };
                if let Some(id) = branch {
                    self.apply(*id, value);
                }
            }
            // What must not be so says nothing about what is.
            AnyRule::Not(_) | AnyRule::Const(_) | AnyRule::Enum(_) => {}
        }
    }

    fn object(&mut self, rules: &ObjectRules, object: Value<'_>) {
        let mut expected = 0;
        for member in object.members() {
            let known =
                find_name(rules, object.source(), &member.key.node(), &mut expected).and_then(|name| name.schema);
            let mut matched = false;
            if !rules.patterns.is_empty() {
                let key = text(member.key);
                for (_, id) in rules.patterns.iter().filter(|(pattern, _)| pattern.is_match(&key)) {
                    matched = true;
                    self.apply(*id, member.value);
                }
            }
            let additional = rules.additional.filter(|_| !matched);
            if let Some(id) = known.or(additional) {
                self.apply(id, member.value);
            }
        }
        for dependent in &rules.dependents {
            if let Some(id) = dependent.schema.filter(|_| object.get(&dependent.trigger).is_some()) {
                self.apply(id, object);
            }
        }
    }

    fn array(&mut self, rules: &ArrayRules, array: Value<'_>) {
        let mut prefix = rules.prefix.iter().copied();
        for item in array.items() {
            if let Some(id) = prefix.next().or(rules.items) {
                self.apply(id, item);
            }
            if let Some(id) = rules.contains {
                self.apply_if_accepted(id, item);
            }
        }
    }
}
