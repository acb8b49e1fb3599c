//! Runs a program over a value.

use super::CompiledSchema;
use super::equal::{all_differ, equal};
use super::keyword::{Keyword, Violation};
use super::leaves;
use super::program::{
    AnyRule, ArrayRules, Dependent, Name, NumberRules, ObjectRules, Program, Rules, SchemaId, StringRules, types,
};
use crate::json::{ESCAPED, Kind, Member, Node, NodeId, Tag, Unescaped, Value};
use std::borrow::Cow;

/// Checks `value` against the root of `program`.
pub(super) fn check(program: &Program, value: Value<'_>) -> Result<(), Violation> {
    Run::new(program, value).check(0, value)
}

/// The steps that a check may still take.
#[derive(Debug)]
pub(super) struct Effort(u32);

impl Effort {
    /// Takes one step; false when none was left.
    #[inline]
    pub(super) fn take(&mut self) -> bool {
        let left = self.0;
        self.0 = left.saturating_sub(1);
        left != 0
    }

    const fn spent(&self) -> bool {
        self.0 == 0
    }
}

pub(super) struct Run<'p, 'v> {
    program: &'p Program,
    /// The nodes and text of the document whose values are checked.
    nodes: &'v [Node],
    text: &'v str,
    /// Any value of that document.
    base: Value<'v>,
    effort: Effort,
}

type Verdict = Result<(), Violation>;

fn refuse(index: u32, keyword: Keyword) -> Verdict {
    Err(Violation::new(NodeId(index), keyword))
}

#[inline]
fn require(holds: bool, index: u32, keyword: Keyword) -> Verdict {
    if holds { Ok(()) } else { refuse(index, keyword) }
}

impl<'p, 'v> Run<'p, 'v> {
    /// To check `value` and parts of it.
    pub(super) const fn new(program: &'p Program, value: Value<'v>) -> Self {
        let effort = Effort(CompiledSchema::STEPS_MAX);
        Self { program, nodes: value.tape(), text: value.source(), base: value, effort }
    }

    /// Takes one step; false when none was left.
    pub(super) fn step(&mut self) -> bool {
        self.effort.take()
    }

    /// Applies the subschema `id` to `value`.
    ///
    /// Recursion: a subschema applied to the same value is another one each time (the compiler refuses circles), and one
    /// applied to a part of the value is bounded by the value's depth.
    pub(super) fn check(&mut self, id: SchemaId, value: Value<'_>) -> Verdict {
        self.check_node(id, value.id().0, value.node())
    }

    // Works on nodes: a `Value` is larger, and copying it took as long as checking it.
    fn check_node(&mut self, id: SchemaId, index: u32, node: Node) -> Verdict {
        let Some(rules) = self.program.rules(id).filter(|_| self.effort.take()) else {
            return refuse(index, Keyword::Effort);
        };
        let accepted = match node.tag {
            Tag::Null => types::NULL,
            Tag::False | Tag::True => types::BOOLEAN,
            Tag::Number => types::NUMBER,
            Tag::String => types::STRING,
            Tag::Array => types::ARRAY,
            Tag::Object => types::OBJECT,
        };
        if rules.types & accepted == 0 {
            let integer = rules.types & types::INTEGER != 0 && is_integer(self.base.other(index));
            let keyword = if rules.never { Keyword::Never } else { Keyword::Type };
            require(integer, index, keyword)?;
        }
        match node.tag {
            Tag::Object => {
                if let Some(object) = &rules.object {
                    self.object(object, index, node)?;
                }
            }
            Tag::String => {
                if let Some(string) = &rules.string
                    && !(string.pattern.is_none() && settles(string, node))
                {
                    check_string(string, self.base.other(index))?;
                }
            }
            Tag::Array | Tag::Number => self.array_or_number(rules, self.base.other(index))?,
            Tag::Null | Tag::False | Tag::True => {}
        }
        if rules.any.is_empty() { Ok(()) } else { self.any_rules(rules, self.base.other(index)) }
    }

    // Apart from `check_node`, whose frame it would enlarge for every string and object.
    #[inline(never)]
    fn array_or_number(&mut self, rules: &Rules, value: Value<'_>) -> Verdict {
        if let Some(array) = rules.array.as_ref().filter(|_| value.kind() == Kind::Array) {
            self.array(array, value)?;
        }
        match rules.number.as_ref().filter(|_| value.kind() == Kind::Number) {
            Some(number) => check_number(number, value),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn any_rules(&mut self, rules: &Rules, value: Value<'_>) -> Verdict {
        rules.any.iter().try_for_each(|rule| self.any(rule, value))
    }

    /// Whether the subschema `id` accepts `value`. Running out of steps is no answer, so it ends the check.
    pub(super) fn accepts(&mut self, id: SchemaId, value: Value<'_>) -> Result<bool, Violation> {
        let accepted = self.check(id, value).is_ok();
        self.still_able(value)?;
        Ok(accepted)
    }

    fn still_able(&self, value: Value<'_>) -> Verdict {
        require(!self.effort.spent(), value.id().0, Keyword::Effort)
    }

    fn any(&mut self, rule: &AnyRule, value: Value<'_>) -> Verdict {
        match rule {
            AnyRule::Const(constant) => {
                let constant = self.program.constant(*constant);
                let same = constant.is_some_and(|constant| equal(value, constant, &mut self.effort));
                require(same, value.id().0, Keyword::Const)
            }
            AnyRule::Enum(constants) => {
                let same = constants
                    .iter()
                    .filter_map(|id| self.program.constant(*id))
                    .any(|constant| equal(value, constant, &mut self.effort));
                require(same, value.id().0, Keyword::Enum)
            }
            AnyRule::Same(id) => self.check(*id, value),
            AnyRule::AllOf(ids) => ids.iter().try_for_each(|id| self.check(*id, value)),
            AnyRule::AnyOf(ids) => {
                for id in ids {
                    if self.accepts(*id, value)? {
                        return Ok(());
                    }
                }
                refuse(value.id().0, Keyword::AnyOf)
            }
            AnyRule::OneOf(ids) => {
                let mut accepted = false;
                for id in ids {
                    if self.accepts(*id, value)? {
                        require(!accepted, value.id().0, Keyword::OneOf)?;
                        accepted = true;
                    }
                }
                require(accepted, value.id().0, Keyword::OneOf)
            }
            AnyRule::Not(id) => require(!self.accepts(*id, value)?, value.id().0, Keyword::Not),
            AnyRule::If { test, then, otherwise } => {
                let branch = if self.accepts(*test, value)? { then } else { otherwise };
                branch.map_or(Ok(()), |id| self.check(id, value))
            }
        }
    }

    fn object(&mut self, rules: &ObjectRules, index: u32, object: Node) -> Verdict {
        let count = u32::from(object.count);
        require(count >= rules.min, index, Keyword::MinProperties)?;
        require(count <= rules.max, index, Keyword::MaxProperties)?;
        // The scanner refuses duplicate keys, so that counting the required ones finds each of them.
        let mut missing = rules.required;
        let mut expected = 0;
        let mut at = index.wrapping_add(1);
        while at < object.next {
            let value_at = at.wrapping_add(1);
            let (Some(key), Some(value)) = (self.nodes.get(at as usize), self.nodes.get(value_at as usize)) else {
                break;
            };
            let name = find_name(rules, self.text, key, &mut expected);
            let mut known = None;
            if let Some(name) = name {
                missing = missing.wrapping_sub(u32::from(name.required));
                known = name.schema;
            }
            if let Some(id) = known {
                self.check_node(id, value_at, *value)?;
            }
            if rules.every_member || (known.is_none() && rules.additional.is_some()) {
                let member = Member { key: self.base.other(at), value: self.base.other(value_at) };
                self.unnamed(rules, known.is_some(), member)?;
            }
            at = value.next.max(value_at);
        }
        require(missing == 0, index, Keyword::Required)?;
        for dependent in &rules.dependents {
            self.dependent(dependent, self.base.other(index))?;
        }
        Ok(())
    }

    /// Applies the rules for members that are not, or not only, about `properties`.
    #[inline(never)]
    fn unnamed(&mut self, rules: &ObjectRules, known: bool, member: Member<'_>) -> Verdict {
        let matched = !rules.patterns.is_empty() && self.patterns(rules, member)?;
        if !known
            && !matched
            && let Some(id) = rules.additional
        {
            self.additional(id, member)?;
        }
        rules.property_names.map_or(Ok(()), |id| self.check(id, member.key))
    }

    fn additional(&mut self, id: SchemaId, member: Member<'_>) -> Verdict {
        match self.check(id, member.value) {
            Err(violation) if violation.keyword() == Keyword::Never && violation.node() == member.value.id() => {
                refuse(member.value.id().0, Keyword::AdditionalProperties)
            }
            verdict => verdict,
        }
    }

    /// Applies `patternProperties`; true when a pattern matched.
    fn patterns(&mut self, rules: &ObjectRules, member: Member<'_>) -> Result<bool, Violation> {
        let key = text(member.key);
        let mut matched = false;
        for (pattern, id) in &rules.patterns {
            if pattern.is_match(&key) {
                matched = true;
                self.check(*id, member.value)?;
            }
        }
        Ok(matched)
    }

    #[inline(never)]
    fn dependent(&mut self, dependent: &Dependent, object: Value<'_>) -> Verdict {
        if object.get(&dependent.trigger).is_none() {
            return Ok(());
        }
        let complete = dependent.required.iter().all(|name| object.get(name).is_some());
        require(complete, object.id().0, Keyword::DependentRequired)?;
        dependent.schema.map_or(Ok(()), |id| self.check(id, object))
    }

    fn array(&mut self, rules: &ArrayRules, array: Value<'_>) -> Verdict {
        let count = u32::from(array.node().count);
        require(count >= rules.min, array.id().0, Keyword::MinItems)?;
        require(count <= rules.max, array.id().0, Keyword::MaxItems)?;
        let mut prefix = rules.prefix.iter().copied();
        let mut contained = 0_u32;
        for item in array.items() {
            if let Some(id) = prefix.next().or(rules.items) {
                self.check(id, item)?;
            }
            if let Some(id) = rules.contains
                && self.accepts(id, item)?
            {
                contained = contained.wrapping_add(1);
            }
        }
        if rules.contains.is_some() {
            let keyword = if rules.min_contains == 1 { Keyword::Contains } else { Keyword::MinContains };
            require(contained >= rules.min_contains, array.id().0, keyword)?;
            require(contained <= rules.max_contains, array.id().0, Keyword::MaxContains)?;
        }
        if rules.unique {
            require(all_differ(array, &mut self.effort), array.id().0, Keyword::UniqueItems)?;
            self.still_able(array)?;
        }
        Ok(())
    }
}

/// Finds the rule for `key`, a node of `text`. `expected` is the position behind the name found last: most messages follow the
/// order of their schema.
#[inline]
pub(super) fn find_name<'r>(rules: &'r ObjectRules, text: &str, key: &Node, expected: &mut usize) -> Option<&'r Name> {
    if let Some(name) = rules.names.get(*expected)
        && name.print == key.next
        && names(name, text, key)
    {
        *expected = expected.wrapping_add(1);
        return Some(name);
    }
    let from = rules.by_print.partition_point(|(other, _)| *other < key.next);
    let same = rules.by_print.get(from..).unwrap_or_default().iter().take_while(|(other, _)| *other == key.next);
    for (_, at) in same {
        if let Some(name) = rules.names.get(usize::from(*at)).filter(|name| names(name, text, key)) {
            *expected = usize::from(*at).wrapping_add(1);
            return Some(name);
        }
    }
    None
}

fn names(name: &Name, text: &str, key: &Node) -> bool {
    let range = key.start as usize..key.end as usize;
    if key.has(ESCAPED) {
        text.get(range).is_some_and(|content| Unescaped::new(content).eq(name.text.chars()))
    } else {
        text.as_bytes().get(range) == Some(name.text.as_bytes())
    }
}

/// A string unescaped, borrowed where it can be.
pub(super) fn text(string: Value<'_>) -> Cow<'_, str> {
    string.as_plain_str().map_or_else(|| Cow::Owned(string.chars().collect()), Cow::Borrowed)
}

fn is_integer(value: Value<'_>) -> bool {
    value.is_integer_text() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

#[inline]
fn settles(rules: &StringRules, string: Node) -> bool {
    leaves::settles(rules.min, rules.max, string.end.wrapping_sub(string.start))
}

#[inline(never)]
fn check_string(rules: &StringRules, string: Value<'_>) -> Verdict {
    let index = string.id().0;
    if !settles(rules, string.node()) {
        let count = string.chars().count();
        require(count >= rules.min as usize, index, Keyword::MinLength)?;
        require(count <= rules.max as usize, index, Keyword::MaxLength)?;
    }
    match &rules.pattern {
        Some(pattern) => require(pattern.is_match(&text(string)), index, Keyword::Pattern),
        None => Ok(()),
    }
}

fn check_number(rules: &NumberRules, value: Value<'_>) -> Verdict {
    let number = value.as_f64().unwrap_or(f64::NAN);
    require(rules.min.is_none_or(|limit| number >= limit), value.id().0, Keyword::Minimum)?;
    require(rules.max.is_none_or(|limit| number <= limit), value.id().0, Keyword::Maximum)?;
    require(rules.above.is_none_or(|limit| number > limit), value.id().0, Keyword::ExclusiveMinimum)?;
    require(rules.below.is_none_or(|limit| number < limit), value.id().0, Keyword::ExclusiveMaximum)?;
    // The remainder of two doubles is exact.
    require(rules.multiple_of.is_none_or(|unit| number % unit == 0.0), value.id().0, Keyword::MultipleOf)
}
