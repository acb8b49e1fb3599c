//! Texts that are built like an earlier one: their strings and integers are read, everything else is compared.
//!
//! Messages of one client and type rarely differ in more than the content of some strings and integers. A tape remembers
//! how a few texts that passed the scan were built: their bytes outside of those values, and their nodes. Where another
//! text has the very same bytes in the same order, it has the same tokens, keys, depth and counts, so that the grammar
//! and every limit but those of the values themselves hold for it as they held for the first; what is between is read by
//! the scanner's own rules. At the first byte that differs the text is scanned from its beginning as if nothing were
//! known: recalling can only save time, never let anything pass.

use fearless_simd::{Simd, dispatch};

use super::limits::ScanLimits;
use super::scan::{long, narrow};
use super::string::{self, Matcher, STRIDE, WINDOW};
use super::tape::{Counters, INTEGER, Node, NodeId, Shape, Tag, Tape};
use crate::vectors;

/// Skeletons that a tape remembers, by how their texts begin. 8: the few shapes that the peers of one thread send mostly.
pub(crate) const SHAPES: usize = 8;
/// Values that are read, at most. 31: a flat message; larger ones cost much more than their structure.
const VALUES_MAX: usize = 31;
/// Nodes, at most: 7 KiB a skeleton.
const NODES_MAX: usize = 256;
/// Bytes outside of those values, at most.
const FIXED_BYTES_MAX: u32 = 1_024;
/// Texts in a row that begin like a skeleton and are built otherwise before another takes its place: two shapes that
/// alternate do not displace each other each time.
const MISSES_MAX: u8 = 3;
/// Bytes of a text that choose its skeleton: `{"type":"chat","id":`.
const BEGINNING_BYTES: usize = 20;
/// Digits that no double rounds, whatever they are.
const DIGITS_MAX: usize = 15;

/// How a text was built.
#[derive(Debug, Default)]
pub(super) struct Skeleton {
    /// `None`: nothing is remembered.
    limits: Option<ScanLimits>,
    shape: Option<Shape>,
    misses: u8,
    /// The last one reaches to the end of the text.
    steps: Vec<Step>,
    nodes: Vec<Node>,
    /// Of each node.
    places: Vec<Place>,
}

/// A value, and bytes behind it that must be the same.
#[derive(Debug, Default)]
struct Step {
    value: Read,
    fixed: Matcher,
    /// Where the bytes behind the value began.
    behind: u32,
    /// How far they have moved in the text that was read last.
    moved: u32,
}

/// What is read of a text, where others are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Read {
    #[default]
    Nothing,
    /// The content of a string. Behind it stands its quotation mark, with which the bytes that are compared begin.
    String,
    /// An integer.
    Integer,
}

/// Where a node begins and ends, and by which steps these places move: the last that read a value before them, counted from
/// one; none moves what stands in front of all values.
#[derive(Debug)]
struct Place {
    start: u32,
    end: u32,
    begins: u8,
    ends: u8,
}

/// The skeletons of a tape.
pub(super) type Memory = [Skeleton; SHAPES];

/// The place in [`Memory`] of texts that begin like `bytes`; `None` for a text too short to be worth it.
#[inline]
fn place_of(bytes: &[u8]) -> Option<usize> {
    let beginning = bytes.first_chunk::<BEGINNING_BYTES>()?;
    let (first, last) = (beginning.first_chunk()?, beginning.last_chunk()?);
    let last = u32::from_le_bytes(*last).wrapping_mul(0x9e37_79b9);
    Some(((string::word_print(u128::from_le_bytes(*first)) ^ last) >> 16) as usize & (SHAPES - 1))
}

/// Fills `tape` from `text` if it is built like one that is remembered. Otherwise the tape holds nothing of use.
#[inline(always)]
#[expect(clippy::inline_always, reason = "tried before every scan, from one place")]
pub(super) fn recall(text: &str, limits: &ScanLimits, tape: &mut Tape) -> bool {
    let Some(place) = place_of(text.as_bytes()).filter(|_| u32::try_from(text.len()).is_ok()) else {
        return false;
    };
    let Tape { memory, nodes, counters, shape, rewrite_to, .. } = tape;
    let Some(skeleton) = memory.as_deref_mut().and_then(|memory| memory.get_mut(place)) else {
        return false;
    };
    let before = shape.take();
    (*counters, *rewrite_to) = (Counters::default(), 0);
    let known = skeleton.limits.as_ref() == Some(limits);
    let read = if known {
        dispatch!(vectors::level(), simd => skeleton.read(simd, text.as_bytes(), limits, counters))
    } else {
        None
    };
    let Some(moved) = read else {
        skeleton.misses = skeleton.misses.saturating_add(1);
        return false;
    };
    // The nodes of the text before are those of this one where it was built alike and its values were as long.
    let is_there = before.is_some() && before == skeleton.shape;
    if moved || !is_there {
        skeleton.place(nodes, is_there);
    }
    (*shape, skeleton.misses) = (skeleton.shape, 0);
    true
}

/// Remembers how `text` is built, which passed the scan onto `tape`.
pub(super) fn remember(text: &str, limits: &ScanLimits, tape: &mut Tape) {
    // Strings with escapes or markup are never recalled, so that a text with them says nothing about how often others come.
    let plain =
        tape.counters == Counters::default() && tape.nodes.len() <= NODES_MAX && !tape.nodes.iter().any(is_noted);
    let Some(place) = place_of(text.as_bytes()).filter(|_| plain) else {
        return;
    };
    let Tape { nodes, memory, .. } = tape;
    let memory = memory.get_or_insert_default();
    if let Some(skeleton) = memory.get_mut(place).filter(|skeleton| skeleton.gives_way()) {
        let built = skeleton.build(text.as_bytes(), nodes);
        (skeleton.limits, skeleton.misses) = (built.map(|()| *limits), 0);
        skeleton.shape = Some(Shape::new(place));
    }
}

impl Skeleton {
    fn gives_way(&self) -> bool {
        self.limits.is_none() || self.misses >= MISSES_MAX
    }

    /// `None` where a text like this is not worth it.
    fn build(&mut self, bytes: &[u8], nodes: &[Node]) -> Option<()> {
        self.steps.clear();
        self.nodes.clear();
        self.places.clear();
        let (mut done, mut fixed, mut read) = (0, 0_u32, Read::Nothing);
        let values: Vec<Node> = nodes.iter().filter(|node| differs(bytes, node)).copied().collect();
        for value in &values {
            fixed = fixed.saturating_add(value.start.wrapping_sub(done));
            if values.len() > VALUES_MAX || fixed > FIXED_BYTES_MAX {
                return None;
            }
            self.step(read, done, bytes.get(done as usize..value.start as usize)?);
            read = if value.tag == Tag::String { Read::String } else { Read::Integer };
            done = value.end;
        }
        let mut rest = bytes.get(done as usize..).filter(|rest| rest.len() <= FIXED_BYTES_MAX as usize)?;
        while rest.len() > WINDOW
            && let Some((piece, others)) = rest.split_at_checked(STRIDE.min(rest.len().wrapping_sub(1)))
        {
            self.step(std::mem::take(&mut read), done, piece);
            rest = others;
        }
        self.steps.push(Step { value: read, fixed: Matcher::of_end(rest), behind: done, moved: 0 });
        // The steps that read the values, one after another.
        let mut readers = vec![0];
        let read = self.steps.iter().zip(1_u8..).filter(|(step, _)| step.value != Read::Nothing);
        readers.extend(read.map(|(_, number)| number));
        let reader = |values: usize| readers.get(values).copied().unwrap_or_default();
        let behind = |at: u32| reader(values.partition_point(|value| value.end <= at));
        let place = |node: &Node| {
            let Node { start, end, .. } = *node;
            Place { start, end, begins: behind(start), ends: behind(end) }
        };
        self.nodes.extend(nodes);
        self.places.extend(nodes.iter().map(place));
        // An empty string begins where the value before it does not yet end: it is placed by its own.
        let read = self.places.iter_mut().zip(nodes).filter(|(_, node)| differs(bytes, node));
        for (number, (place, _)) in read.enumerate() {
            (place.begins, place.ends) = (reader(number), reader(number.saturating_add(1)));
        }
        Some(())
    }

    /// Whether the text of a node is compared, all of it.
    pub(super) fn is_fixed(&self, id: NodeId) -> bool {
        self.places.get(id.index()).is_some_and(|place| place.begins == place.ends)
    }

    /// Adds steps that read a value, and compare with `fixed` what stands behind it.
    fn step(&mut self, mut value: Read, behind: u32, fixed: &[u8]) {
        for piece in fixed.chunks(STRIDE) {
            self.steps.push(Step { value: std::mem::take(&mut value), fixed: Matcher::of(piece), behind, moved: 0 });
        }
    }

    /// Reads a text that is built like this; `None` at the first difference. Whether something has moved since the last one.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    fn read<S: Simd>(&mut self, simd: S, bytes: &[u8], limits: &ScanLimits, counters: &mut Counters) -> Option<bool> {
        let (mut at, mut moved) = (0, 0);
        let (last, steps) = self.steps.split_last_mut()?;
        for step in steps {
            let mut end = step.value_end(simd, bytes, at, limits)?;
            at = if let Some(behind) = step.fixed.behind(simd, bytes, end) {
                behind
            } else {
                end = step.special_end(bytes, end, counters)?;
                end.wrapping_add(step.fixed.text().len())
            };
            moved |= step.note(end);
        }
        let mut end = last.value_end(simd, bytes, at, limits)?;
        if !last.fixed.ends(simd, bytes, end) {
            end = last.special_end(bytes, end, counters)?;
            if bytes.get(end..)?.len() != last.fixed.text().len() {
                return None;
            }
        }
        moved |= last.note(end);
        Some(moved != 0)
    }

    /// Writes the nodes of the text that was read last. `is_there`: those of another text like it stand in `nodes`.
    #[inline(never)]
    fn place(&self, nodes: &mut Vec<Node>, is_there: bool) {
        let by = |step: u8| {
            usize::from(step).checked_sub(1).and_then(|step| self.steps.get(step)).map_or(0, |step| step.moved)
        };
        if !is_there {
            nodes.clone_from(&self.nodes);
        }
        for (node, place) in nodes.iter_mut().zip(&self.places) {
            node.start = place.start.wrapping_add(by(place.begins));
            node.end = place.end.wrapping_add(by(place.ends));
        }
    }
}

/// Whether a string value differs from its canonical form, or has escapes.
fn is_noted(node: &Node) -> bool {
    node.tag == Tag::String && !node.is_key() && node.flags != 0
}

/// Whether a value is read rather than compared.
fn differs(bytes: &[u8], node: &Node) -> bool {
    match node.tag {
        Tag::String => !node.is_key() && !names_kind(bytes, node),
        Tag::Number => node.flags == INTEGER && bytes.get(node.start as usize).is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

/// Whether a string is the `type` of a message and lies among the bytes that choose the skeleton: a text with another one
/// chooses another skeleton.
fn names_kind(bytes: &[u8], node: &Node) -> bool {
    let (start, end) = (node.start as usize, node.end as usize);
    end < BEGINNING_BYTES && bytes.get(..start).is_some_and(|before| before.ends_with(br#""type":""#))
}

impl Step {
    /// Where the value that begins at `at` ends, if it is plain. That a string ends there is seen by the bytes behind it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    fn value_end<S: Simd>(&self, simd: S, bytes: &[u8], at: usize, limits: &ScanLimits) -> Option<usize> {
        match self.value {
            Read::Nothing => Some(at),
            Read::String => Some(string::plain_end(simd, bytes, at)),
            Read::Integer => Some(at.wrapping_add(integer_length(bytes.get(at..)?, limits)?)),
        }
    }

    /// Notes where the value ended, if it is one; returns what is not zero where that has moved.
    #[inline]
    fn note(&mut self, end: usize) -> u32 {
        if self.value == Read::Nothing {
            return 0;
        }
        let moved = narrow(end).wrapping_sub(self.behind);
        std::mem::replace(&mut self.moved, moved) ^ moved
    }

    /// Where a string ends that is plain up to `plain`, if the bytes behind it are the same. One with escapes or markup is
    /// left to the scan, which notes them.
    #[inline(never)]
    fn special_end(&self, bytes: &[u8], plain: usize, counters: &mut Counters) -> Option<usize> {
        if self.value != Read::String {
            return None;
        }
        let (end, _) = long::read(bytes, plain, counters).ok().filter(|(_, flags)| *flags == 0)?;
        bytes.get(end..)?.starts_with(self.fixed.text()).then_some(end)
    }
}

/// Length of an integer that `rest` begins with, without a sign, that no double rounds. What follows it is compared.
#[inline]
fn integer_length(rest: &[u8], limits: &ScanLimits) -> Option<usize> {
    let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let zero_first = digits > 1 && rest.first() == Some(&b'0');
    let good = (1..=DIGITS_MAX).contains(&digits) && digits <= usize::from(limits.number_bytes) && !zero_first;
    good.then_some(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{ScanError, scan};

    /// Nodes and counters, or the error.
    fn outcome(text: &str, limits: &ScanLimits, tape: &mut Tape) -> Result<String, ScanError> {
        scan(text, limits, tape).map(|_| ())?;
        Ok(format!("{:?} {:?}", tape.nodes, tape.counters))
    }

    const TEXTS: [&str; 5] = [
        r#"{"type":"chat","csrfToken":"0123456789012345678901","payload":{"message":"hello there","room":"lobby"}}"#,
        r#"{"type":"chat","id":17,"payload":{"a":[1,"x",{"b":null}],"c":{},"d":[]},"csrfToken":"t"}"#,
        r#"{"type":"move","payload":[[0,1],[22,333],{"x":-1,"y":2.5,"at":1700000000000}]}"#,
        "{ \"type\" : \"chat\" ,\n\"id\":\"a\", \"payload\" : [ 1 , \"\" ] }",
        r#"["a string that is longer than a window",{"constructor":{"x":"y"}},true]"#,
    ];

    const VALUES: [&str; 22] = [
        "",
        "x",
        "a\\nb",
        "a\\u0041",
        "\\/",
        "<b>",
        "é\u{202e}",
        "\u{2028}",
        "\\ud83d",
        "\u{7f}",
        "\\b",
        "a\"b",
        "\\",
        "0",
        "00",
        "7",
        "1.5",
        "-3",
        "123456789012345",
        "1234567890123456",
        "1e5",
        "a much longer string than the one that stood here before, by far",
    ];

    #[test]
    fn a_recalled_text_is_read_as_the_scan_reads_it() {
        let mut recalled = 0;
        for limits in [ScanLimits::default(), ScanLimits { number_bytes: 8, nodes: 20, ..ScanLimits::default() }] {
            for known in TEXTS {
                let mut tape = Tape::new();
                if outcome(known, &limits, &mut tape).is_err() {
                    continue;
                }
                let spans: Vec<(usize, usize)> = tape
                    .nodes
                    .iter()
                    .filter(|node| node.tag < Tag::Array)
                    .map(|n| (n.start as usize, n.end as usize))
                    .collect();
                for (start, end) in spans {
                    for value in VALUES {
                        let text = format!("{}{value}{}", known.split_at(start).0, known.split_at(end).1);
                        let want = outcome(&text, &limits, &mut Tape::new());
                        tape.clear();
                        recalled += u32::from(recall(&text, &limits, &mut tape));
                        assert_eq!(outcome(&text, &limits, &mut tape), want, "{text}");
                    }
                }
            }
        }
        assert!(recalled > 200, "{recalled} were recalled");
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let limits = ScanLimits::default();
        for known in TEXTS {
            let mut tape = Tape::new();
            outcome(known, &limits, &mut tape).unwrap();
            for at in 0..known.len() {
                let (head, tail) = known.split_at(at);
                let behind = known.split_at(at + 1).1;
                let mut texts = vec![head.to_owned(), format!("{known}{tail}")];
                texts.extend(
                    ["\"", "{", "}", ",", ":", " ", "0", "a", "[", "]"].map(|byte| format!("{head}{byte}{behind}")),
                );
                for text in texts {
                    let want = outcome(&text, &limits, &mut Tape::new());
                    assert_eq!(outcome(&text, &limits, &mut tape), want, "{text}");
                }
            }
        }
    }

    proptest! {
        /// Texts of two shapes and of some that fail, in any order: each is read as if it were the first.
        #[test]
        fn what_was_read_before_changes_nothing(
            texts in prop::collection::vec((0..2_usize, 0..VALUES.len(), 0..VALUES.len(), 0..3_u8), 1..40),
        ) {
            let limits = ScanLimits::default();
            let mut tape = Tape::new();
            for (shape, first, second, repeats) in texts {
                let (first, second) = (VALUES[first], VALUES[second]);
                let text = match shape {
                    0 => format!(r#"{{"type":"chat","id":"{first}","payload":{{"room":"{second}","to":[]}}}}"#),
                    _ => format!(r#"{{"type":"move","payload":[{first},{{"x":"{second}"}},{first}]}}"#),
                };
                for _ in 0..=repeats {
                    prop_assert_eq!(outcome(&text, &limits, &mut tape), outcome(&text, &limits, &mut Tape::new()));
                }
            }
        }
    }

    #[test]
    fn another_type_is_another_shape() {
        let mut tape = Tape::new();
        let limits = ScanLimits::default();
        let text = |kind: &str| format!(r#"{{"type":"{kind}","payload":{{"message":"x"}}}}"#);
        outcome(&text("chat"), &limits, &mut tape).unwrap();
        assert!(recall(&text("chat"), &limits, &mut tape));
        // Whichever skeleton it chooses.
        for number in 0..1_000 {
            assert!(!recall(&text(&format!("c{number}")), &limits, &mut tape), "{number}");
        }
    }

    #[test]
    fn other_limits_are_other_texts() {
        let mut tape = Tape::new();
        assert!(outcome(TEXTS[0], &ScanLimits::default(), &mut tape).is_ok());
        let tight = ScanLimits { depth: 1, ..ScanLimits::default() };
        assert!(outcome(TEXTS[0], &tight, &mut tape).is_err());
    }

    #[test]
    fn what_comes_often_takes_the_place_of_what_does_not() {
        let mut tape = Tape::new();
        let recalls = |text: &str, tape: &mut Tape| {
            tape.clear();
            let recalled = recall(text, &ScanLimits::default(), tape);
            outcome(text, &ScanLimits::default(), tape).unwrap();
            recalled
        };
        let (one, other) = (r#"{"type":"chat","payload":{"a":"x"}}"#, r#"{"type":"chat","payload":{"b":"x"}}"#);
        assert!(!recalls(one, &mut tape) && recalls(one, &mut tape));
        assert!(!recalls(other, &mut tape) && recalls(one, &mut tape), "one of another shape changes nothing");
        for _ in 0..MISSES_MAX {
            recalls(other, &mut tape);
        }
        assert!(recalls(other, &mut tape));
    }
}
