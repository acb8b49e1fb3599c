//! The tape: a JSON text as flat nodes in the order of the text.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use super::recall::SHAPES;

/// The place of a value or key on the tape. Ids grow in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The position on the tape. Everything in a value follows it without a gap.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Tag {
    Null,
    False,
    True,
    Number,
    String,
    Array,
    Object,
}

/// String or key: holds a backslash.
pub(crate) const ESCAPED: u8 = 1;
/// String or key: its unescaped content holds `<`.
pub(crate) const MARKUP: u8 = 1 << 1;
/// Any node: its text differs from its canonical form (white space, other escapes, raw U+2028 or U+2029).
pub(crate) const REWRITE: u8 = 1 << 2;
/// Number: its absolute value exceeds 2^53 - 1.
pub(crate) const WIDE: u8 = 1 << 3;
/// Number: written without fraction and exponent.
pub(crate) const INTEGER: u8 = 1 << 4;
/// String: is the key of a member.
pub(crate) const KEY: u8 = 1 << 5;

/// One value or key.
///
/// INVARIANT: an array is followed by its items, an object by key and value of each member in turn; `start..end` lies on
/// character boundaries of the scanned text. It is the content between the quotes for a string or key, the whole text otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) tag: Tag,
    pub(crate) flags: u8,
    /// Members or items.
    pub(crate) count: u16,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Value: index of the first node behind it. Key: its [`key_print`](super::string::key_print).
    pub(crate) next: u32,
}

impl Node {
    pub(crate) const NULL: Self = Self { tag: Tag::Null, flags: 0, count: 0, start: 0, end: 0, next: 0 };

    pub(crate) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn is_key(self) -> bool {
        self.has(KEY)
    }
}

/// How a text is built that was read by recalling one like it: two texts of equal shape have the same bytes but for the
/// content of strings and integers, and the same nodes but for where they begin and end. Their strings hold neither escapes
/// nor markup, and their integers at most 15 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape(NonZeroU64);

impl Shape {
    /// Another shape than all before, at `place` of a tape's memory: a serial number, a bit that is set, the place.
    pub(super) fn new(place: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed) << 4;
        Self(SET | serial | place as u64 & PLACE)
    }

    /// A number below [`SHAPES`]: of the shapes that a tape remembers, each has another.
    pub(crate) const fn place(self) -> usize {
        (self.0.get() & PLACE) as usize
    }
}

/// Of a [`Shape`], the bits of its place, and the bit above them, which is set.
const PLACE: u64 = 0b111;
const SET: NonZeroU64 = NonZeroU64::MIN.saturating_add(PLACE);
const _: () = assert!(SHAPES as u64 == SET.get());

/// The memory of a scan, used again from text to text. One per thread is enough.
#[derive(Debug, Default)]
pub struct Tape {
    pub(super) nodes: Vec<Node>,
    /// The keys of one large object.
    pub(super) keys: Vec<KeyRef>,
    /// An escaped key, unescaped.
    pub(super) scratch: String,
    pub(super) counters: Counters,
    /// How earlier texts were built; nothing before the first one.
    pub(super) memory: Option<Box<super::recall::Memory>>,
    /// Behind the last byte that the canonical form would not keep.
    pub(super) rewrite_to: usize,
    /// Of the nodes, where they are those of a recalled text.
    pub(super) shape: Option<Shape>,
}

/// What the scanner counted, so that a clean text costs the controls behind it nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) bidi_controls: u32,
    pub(crate) markup_strings: u32,
    pub(crate) markup_keys: u32,
    pub(crate) wide_numbers: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRef {
    pub(super) print: u32,
    pub(super) node: u32,
}

impl Tape {
    /// An empty tape; it grows with the first texts and keeps its memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bidirectional control characters the scanned text holds.
    pub(crate) const fn bidi_controls(&self) -> u32 {
        self.counters.bidi_controls
    }

    /// Whether the node is the same in every text of this shape.
    pub(super) fn is_fixed(&self, id: NodeId) -> bool {
        let skeleton = self.shape.zip(self.memory.as_deref());
        skeleton.and_then(|(shape, memory)| memory.get(shape.place())).is_some_and(|skeleton| skeleton.is_fixed(id))
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.shape = None;
        self.counters = Counters::default();
        self.rewrite_to = 0;
    }
}
