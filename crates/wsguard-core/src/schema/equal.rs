//! Equality of JSON values as JSON Schema means it (Core §4.2.2): `1` equals `1.0`, members have no order.

use super::check::Effort;
use crate::json::{Kind, Value};
use std::cmp::Ordering;

/// Whether two values are equal. Each pair of values compared costs a step of `effort`; when none is left, nothing is equal.
pub(super) fn equal(a: Value<'_>, b: Value<'_>, effort: &mut Effort) -> bool {
    if !effort.take() || a.kind() != b.kind() {
        return false;
    }
    match a.kind() {
        Kind::Null => true,
        Kind::Bool => a.as_bool() == b.as_bool(),
        Kind::Number => number_order(a, b).is_eq(),
        Kind::String => a.same_string(b),
        Kind::Array => a.len() == b.len() && a.items().zip(b.items()).all(|(a, b)| equal(a, b, effort)),
        Kind::Object => {
            a.len() == b.len()
                && a.members().all(|left| {
                    let right = b.members().find(|right| effort.take() && same_key(left.key, right.key));
                    right.is_some_and(|right| equal(left.value, right.value, effort))
                })
        }
    }
}

fn same_key(a: Value<'_>, b: Value<'_>) -> bool {
    // Equal keys have equal prints.
    a.node().next == b.node().next && a.same_string(b)
}

/// A total order. Numbers beyond ±(2^53 - 1) that share a double are told apart by their text.
fn number_order(a: Value<'_>, b: Value<'_>) -> Ordering {
    let (left, right) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
    let order = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
    if a.is_wide() { order.then_with(|| a.content().cmp(b.content())) } else { order }
}

/// Whether all items of an array differ.
///
/// Scalars are sorted; arrays and objects are compared in pairs, at the cost of `effort`.
pub(super) fn all_differ(array: Value<'_>, effort: &mut Effort) -> bool {
    let is_container = |item: &Value<'_>| matches!(item.kind(), Kind::Array | Kind::Object);
    let (containers, mut scalars): (Vec<_>, Vec<_>) = array.items().partition(is_container);
    scalars.sort_unstable_by(scalar_order);
    let sorted = scalars.is_sorted_by(|a, b| scalar_order(a, b).is_lt());
    sorted
        && containers
            .iter()
            .enumerate()
            .all(|(at, item)| containers.iter().take(at).all(|earlier| !equal(*item, *earlier, effort)))
}

fn scalar_order(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    let rank = |value: &Value<'_>| match value.kind() {
        Kind::Null => 0,
        Kind::Bool if value.as_bool() == Some(false) => 1,
        Kind::Bool => 2,
        Kind::Number => 3,
        Kind::String => 4,
        Kind::Array | Kind::Object => 5,
    };
    rank(a).cmp(&rank(b)).then_with(|| match a.kind() {
        Kind::Number => number_order(*a, *b),
        Kind::String => a.string_order(*b),
        _ => Ordering::Equal,
    })
}
