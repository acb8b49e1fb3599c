//! Runs a program over a value.

use super::CompiledSchema;
use super::equal::{all_differ, equal};
use super::keyword::{Keyword, Violation};
use super::program::{
    AnyRule, ArrayRules, Dependent, Name, NumberRules, ObjectRules, Program, SchemaId, StringRules,
    types,
};
use crate::json::{Kind, Member, Value};
use std::borrow::Cow;

/// Checks `value` against the root of `program`.
pub(super) fn check(program: &Program, value: Value<'_>) -> Result<(), Violation> {
    Run::new(program).check(0, value)
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

pub(super) struct Run<'p> {
    program: &'p Program,
    effort: Effort,
}

type Verdict = Result<(), Violation>;

fn refuse(value: Value<'_>, keyword: Keyword) -> Verdict {
    Err(Violation::new(value.id(), keyword))
}

fn require(holds: bool, value: Value<'_>, keyword: Keyword) -> Verdict {
    if holds {
        Ok(())
    } else {
        refuse(value, keyword)
    }
}

impl<'p> Run<'p> {
    pub(super) const fn new(program: &'p Program) -> Self {
        Self {
            program,
            effort: Effort(CompiledSchema::STEPS_MAX),
        }
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
        let Some(rules) = self.program.rules(id).filter(|_| self.effort.take()) else {
            return refuse(value, Keyword::Effort);
        };
        let accepted = match value.kind() {
            Kind::Null => types::NULL,
            Kind::Bool => types::BOOLEAN,
            Kind::Number => types::NUMBER,
            Kind::String => types::STRING,
            Kind::Array => types::ARRAY,
            Kind::Object => types::OBJECT,
        };
        if rules.types & accepted == 0 && !(rules.types & types::INTEGER != 0 && is_integer(value))
        {
            return refuse(
                value,
                if rules.never {
                    Keyword::Never
                } else {
                    Keyword::Type
                },
            );
        }
        match value.kind() {
            Kind::Object => {
                if let Some(object) = &rules.object {
                    self.object(object, value)?;
                }
            }
            Kind::String => {
                if let Some(string) = &rules.string {
                    check_string(string, value)?;
                }
            }
            Kind::Array => {
                if let Some(array) = &rules.array {
                    self.array(array, value)?;
                }
            }
            Kind::Number => {
                if let Some(number) = &rules.number {
                    check_number(number, value)?;
                }
            }
            Kind::Null | Kind::Bool => {}
        }
        rules.any.iter().try_for_each(|rule| self.any(rule, value))
    }

    /// Whether the subschema `id` accepts `value`. Running out of steps is no answer, so it ends the check.
    pub(super) fn accepts(&mut self, id: SchemaId, value: Value<'_>) -> Result<bool, Violation> {
        let accepted = self.check(id, value).is_ok();
        self.still_able(value)?;
        Ok(accepted)
    }

    fn still_able(&self, value: Value<'_>) -> Verdict {
        require(!self.effort.spent(), value, Keyword::Effort)
    }

    fn any(&mut self, rule: &AnyRule, value: Value<'_>) -> Verdict {
        match rule {
            AnyRule::Const(constant) => {
                let constant = self.program.constant(*constant);
                let same =
                    constant.is_some_and(|constant| equal(value, constant, &mut self.effort));
                require(same, value, Keyword::Const)
            }
            AnyRule::Enum(constants) => {
                let same = constants
                    .iter()
                    .filter_map(|id| self.program.constant(*id))
                    .any(|constant| equal(value, constant, &mut self.effort));
                require(same, value, Keyword::Enum)
            }
            AnyRule::Same(id) => self.check(*id, value),
            AnyRule::AllOf(ids) => ids.iter().try_for_each(|id| self.check(*id, value)),
            AnyRule::AnyOf(ids) => {
                for id in ids {
                    if self.accepts(*id, value)? {
                        return Ok(());
                    }
                }
                refuse(value, Keyword::AnyOf)
            }
            AnyRule::OneOf(ids) => {
                let mut accepted = false;
                for id in ids {
                    if self.accepts(*id, value)? {
                        require(!accepted, value, Keyword::OneOf)?;
                        accepted = true;
                    }
                }
                require(accepted, value, Keyword::OneOf)
            }
            AnyRule::Not(id) => require(!self.accepts(*id, value)?, value, Keyword::Not),
            AnyRule::If {
                test,
                then,
                otherwise,
            } => {
                let branch = if self.accepts(*test, value)? {
                    then
                } else {
                    otherwise
                };
                branch.map_or(Ok(()), |id| self.check(id, value))
            }
        }
    }

    fn object(&mut self, rules: &ObjectRules, object: Value<'_>) -> Verdict {
        let count = u32::from(object.node().count);
        require(count >= rules.min, object, Keyword::MinProperties)?;
        require(count <= rules.max, object, Keyword::MaxProperties)?;
        // The scanner refuses duplicate keys, so that counting the required ones finds each of them.
        let mut missing = rules.required;
        let mut expected = 0;
        for member in object.members() {
            let name = find_name(rules, member.key, &mut expected);
            if name.is_some_and(|name| name.required) {
                missing = missing.wrapping_sub(1);
            }
            let known = name.and_then(|name| name.schema);
            if let Some(id) = known {
                self.check(id, member.value)?;
            }
            let matched = !rules.patterns.is_empty() && self.patterns(rules, member)?;
            if known.is_none()
                && !matched
                && let Some(id) = rules.additional
            {
                self.additional(id, member)?;
            }
            if let Some(id) = rules.property_names {
                self.check(id, member.key)?;
            }
        }
        require(missing == 0, object, Keyword::Required)?;
        rules
            .dependents
            .iter()
            .try_for_each(|dependent| self.dependent(dependent, object))
    }

    fn additional(&mut self, id: SchemaId, member: Member<'_>) -> Verdict {
        match self.check(id, member.value) {
            Err(violation)
                if violation.keyword() == Keyword::Never
                    && violation.node() == member.value.id() =>
            {
                refuse(member.value, Keyword::AdditionalProperties)
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

    fn dependent(&mut self, dependent: &Dependent, object: Value<'_>) -> Verdict {
        if object.get(&dependent.trigger).is_none() {
            return Ok(());
        }
        let complete = dependent
            .required
            .iter()
            .all(|name| object.get(name).is_some());
        require(complete, object, Keyword::DependentRequired)?;
        dependent.schema.map_or(Ok(()), |id| self.check(id, object))
    }

    fn array(&mut self, rules: &ArrayRules, array: Value<'_>) -> Verdict {
        let count = u32::from(array.node().count);
        require(count >= rules.min, array, Keyword::MinItems)?;
        require(count <= rules.max, array, Keyword::MaxItems)?;
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
            let keyword = if rules.min_contains == 1 {
                Keyword::Contains
            } else {
                Keyword::MinContains
            };
            require(contained >= rules.min_contains, array, keyword)?;
            require(contained <= rules.max_contains, array, Keyword::MaxContains)?;
        }
        if rules.unique {
            require(
                all_differ(array, &mut self.effort),
                array,
                Keyword::UniqueItems,
            )?;
            self.still_able(array)?;
        }
        Ok(())
    }
}

/// Finds the rule for `key`. `expected` is the position behind the name found last: most messages follow the schema's order.
#[inline]
pub(super) fn find_name<'r>(
    rules: &'r ObjectRules,
    key: Value<'_>,
    expected: &mut usize,
) -> Option<&'r Name> {
    let print = key.node().next;
    if let Some(name) = rules.names.get(*expected)
        && name.print == print
        && key.str_eq(&name.text)
    {
        *expected = expected.wrapping_add(1);
        return Some(name);
    }
    let from = rules.by_print.partition_point(|(other, _)| *other < print);
    let same = rules
        .by_print
        .get(from..)
        .unwrap_or_default()
        .iter()
        .take_while(|(other, _)| *other == print);
    for (_, at) in same {
        if let Some(name) = rules
            .names
            .get(usize::from(*at))
            .filter(|name| key.str_eq(&name.text))
        {
            *expected = usize::from(*at).wrapping_add(1);
            return Some(name);
        }
    }
    None
}

/// A string unescaped, borrowed where it can be.
pub(super) fn text(string: Value<'_>) -> Cow<'_, str> {
    string
        .as_plain_str()
        .map_or_else(|| Cow::Owned(string.chars().collect()), Cow::Borrowed)
}

fn is_integer(value: Value<'_>) -> bool {
    value.is_integer_text() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn check_string(rules: &StringRules, string: Value<'_>) -> Verdict {
    let bytes = string.content_bytes().len();
    // A code point takes 1 to 12 bytes of the text (`\ud83d\ude00`): mostly the byte count settles both limits.
    let bounded = bytes <= rules.max as usize
        && (rules.min == 0 || (rules.min == 1 && bytes != 0) || bytes / 12 >= rules.min as usize);
    if !bounded {
        let count = string.chars().count();
        require(count >= rules.min as usize, string, Keyword::MinLength)?;
        require(count <= rules.max as usize, string, Keyword::MaxLength)?;
    }
    match &rules.pattern {
        Some(pattern) => require(pattern.is_match(&text(string)), string, Keyword::Pattern),
        None => Ok(()),
    }
}

fn check_number(rules: &NumberRules, value: Value<'_>) -> Verdict {
    let number = value.as_f64().unwrap_or(f64::NAN);
    require(
        rules.min.is_none_or(|limit| number >= limit),
        value,
        Keyword::Minimum,
    )?;
    require(
        rules.max.is_none_or(|limit| number <= limit),
        value,
        Keyword::Maximum,
    )?;
    require(
        rules.above.is_none_or(|limit| number > limit),
        value,
        Keyword::ExclusiveMinimum,
    )?;
    require(
        rules.below.is_none_or(|limit| number < limit),
        value,
        Keyword::ExclusiveMaximum,
    )?;
    // The remainder of two doubles is exact.
    require(
        rules.multiple_of.is_none_or(|unit| number % unit == 0.0),
        value,
        Keyword::MultipleOf,
    )
}
