//! Cursors over a scanned text.

use std::borrow::Cow;

use super::string::{self, Unescaped};
use super::tape::{ESCAPED, INTEGER, KEY, MARKUP, Node, NodeId, REWRITE, Shape, Tag, Tape, WIDE};

/// A text that passed the scanner, with its tape.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    text: &'a str,
    tape: &'a Tape,
}

/// One value of a [`Document`]. A key is a value too: a string.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    text: &'a str,
    nodes: &'a [Node],
    node: &'a Node,
    index: u32,
    /// Where `text` begins in what the nodes are of.
    base: u32,
}

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The key: a string.
    pub key: Value<'a>,
    /// The value.
    pub value: Value<'a>,
}

impl<'a> Document<'a> {
    pub(crate) const fn new(text: &'a str, tape: &'a Tape) -> Self {
        Self { text, tape }
    }

    /// The outermost value.
    pub fn root(self) -> Value<'a> {
        Value::at(self.text, &self.tape.nodes, 0)
    }

    /// The value or key at `id`; `None` when `id` is of another document.
    pub fn value(self, id: NodeId) -> Option<Value<'a>> {
        (id.index() < self.tape.nodes.len()).then(|| Value::at(self.text, &self.tape.nodes, id.0))
    }

    /// Length of the content of the string at `id`.
    #[inline]
    pub(crate) fn bytes_of(self, id: NodeId) -> Option<u32> {
        let node = self.tape.nodes.get(id.index()).filter(|node| node.tag == Tag::String)?;
        Some(node.end.wrapping_sub(node.start))
    }

    /// Whether every document of this shape has the very same text at `id`.
    pub(crate) fn is_fixed(self, id: NodeId) -> bool {
        self.tape.is_fixed(id)
    }

    /// How it is built, where it was read by recalling another.
    pub(crate) const fn shape(self) -> Option<Shape> {
        self.tape.shape
    }

    #[cfg(test)]
    pub(super) const fn tape(self) -> &'a Tape {
        self.tape
    }

    /// The scanned text, with the white space around its value.
    pub const fn text(self) -> &'a str {
        self.text
    }

    /// How many nodes the document has: values and keys.
    pub const fn nodes(self) -> usize {
        self.tape.nodes.len()
    }

    /// How many bidirectional control characters its strings and keys hold.
    pub const fn bidi_controls(self) -> u32 {
        self.tape.counters.bidi_controls
    }

    /// How many of its string values hold `<`, raw or escaped.
    pub const fn markup_strings(self) -> u32 {
        self.tape.counters.markup_strings
    }

    /// How many of its keys hold `<`, raw or escaped.
    pub const fn markup_keys(self) -> u32 {
        self.tape.counters.markup_keys
    }

    /// How many of its numbers lie beyond ±(2^53 - 1).
    pub const fn wide_numbers(self) -> u32 {
        self.tape.counters.wide_numbers
    }
}

impl Value<'_> {
    /// `null`, of no document.
    pub(crate) const NULL: Self = Self { text: "", nodes: &[], node: &Node::NULL, index: 0, base: 0 };
}

impl<'a> Value<'a> {
    #[inline]
    pub(super) fn at(text: &'a str, nodes: &'a [Node], index: u32) -> Self {
        Self::of_part(text, 0, nodes, index)
    }

    /// The value at `index` of nodes that are of a longer text, of which `text` is the part from `base` on.
    #[inline]
    pub(super) fn of_part(text: &'a str, base: u32, nodes: &'a [Node], index: u32) -> Self {
        let node = nodes.get(index as usize).unwrap_or(&Node::NULL);
        Self { text, nodes, node, index, base }
    }

    /// Where its node begins and ends in the text.
    #[inline]
    const fn place(self) -> (usize, usize) {
        (self.node.start.wrapping_sub(self.base) as usize, self.node.end.wrapping_sub(self.base) as usize)
    }

    /// Where it begins in what the nodes are of.
    #[inline]
    pub(super) const fn start_on_tape(self) -> u32 {
        match self.node.tag {
            Tag::String => self.node.start.wrapping_sub(1),
            _ => self.node.start,
        }
    }

    /// The nodes of this value and of everything in it.
    #[inline]
    pub(super) fn own_nodes(self) -> &'a [Node] {
        self.nodes.get(self.index as usize..self.node.next as usize).unwrap_or_default()
    }

    /// The value or key at `index` of the same document.
    #[inline]
    pub(crate) fn other(self, index: u32) -> Self {
        Self::of_part(self.text, self.base, self.nodes, index)
    }

    /// All nodes of the document.
    #[inline]
    pub(crate) const fn tape(self) -> &'a [Node] {
        self.nodes
    }

    #[inline]
    pub(crate) const fn node(self) -> Node {
        *self.node
    }

    /// The print of a key; nothing of use for any other value.
    #[inline]
    pub(crate) const fn print(self) -> u32 {
        self.node.next
    }

    /// The whole document's text.
    #[inline]
    pub(crate) const fn source(self) -> &'a str {
        self.text
    }

    /// The place on the tape.
    #[inline]
    pub const fn id(self) -> NodeId {
        NodeId(self.index)
    }

    /// The first id behind this value: everything in it has an id in `id()..end_id()`.
    #[inline]
    pub const fn end_id(self) -> NodeId {
        NodeId(self.node.next)
    }

    /// What kind of value this is.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self.node.tag {
            Tag::Null => Kind::Null,
            Tag::False | Tag::True => Kind::Bool,
            Tag::Number => Kind::Number,
            Tag::String => Kind::String,
            Tag::Array => Kind::Array,
            Tag::Object => Kind::Object,
        }
    }

    /// The value as it stands in the text, with the quotes of a string.
    #[inline]
    pub fn raw(self) -> &'a str {
        let (start, end) = self.span();
        self.text.get(start..end).unwrap_or_default()
    }

    /// [`Self::raw`] as bytes, which are there without a look at the characters around them.
    #[inline]
    pub fn raw_bytes(self) -> &'a [u8] {
        let (start, end) = self.span();
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    /// [`Self::raw`] as offsets into the text.
    #[inline]
    pub const fn span(self) -> (usize, usize) {
        let (start, end) = self.place();
        match self.node.tag {
            Tag::String => (start.wrapping_sub(1), end.wrapping_add(1)),
            _ => (start, end),
        }
    }

    /// The text between the quotes of a string, escapes as they are; the whole text of any other value.
    #[inline]
    pub(crate) fn content(self) -> &'a str {
        let (start, end) = self.place();
        self.text.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn content_bytes(self) -> &'a [u8] {
        let (start, end) = self.place();
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    /// Whether this is `null`.
    pub const fn is_null(self) -> bool {
        matches!(self.node.tag, Tag::Null)
    }

    /// The truth value of a boolean.
    pub const fn as_bool(self) -> Option<bool> {
        match self.node.tag {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }

    /// The string, when it holds no escape and so needs no unescaping.
    #[inline]
    pub fn as_plain_str(self) -> Option<&'a str> {
        (self.is_string() && !self.node.has(ESCAPED)).then(|| self.content())
    }

    /// [`Self::as_plain_str`] as bytes.
    #[inline]
    pub(crate) fn as_plain_bytes(self) -> Option<&'a [u8]> {
        (self.is_string() && !self.node.has(ESCAPED)).then(|| self.content_bytes())
    }

    /// Whether this is a string that reads `text` after unescaping. Allocates nothing.
    #[inline]
    pub fn str_eq(self, text: &str) -> bool {
        if self.node.has(ESCAPED) {
            self.is_string() && self.chars().eq(text.chars())
        } else {
            self.is_string() && self.content_bytes() == text.as_bytes()
        }
    }

    /// A string after unescaping, borrowed where it has no escapes; empty for any other value.
    pub fn to_text(self) -> Cow<'a, str> {
        match self.as_plain_str() {
            Some(plain) => Cow::Borrowed(plain),
            None => Cow::Owned(self.chars().collect()),
        }
    }

    /// Whether two strings read the same after unescaping.
    pub(crate) fn same_string(self, other: Self) -> bool {
        self.string_order(other).is_eq()
    }

    /// The order of two strings after unescaping.
    pub(crate) fn string_order(self, other: Self) -> std::cmp::Ordering {
        let left = (self.content(), self.node.has(ESCAPED));
        string::compare(left, (other.content(), other.node.has(ESCAPED)))
    }

    /// The characters of a string after unescaping; none for any other value.
    pub fn chars(self) -> Unescaped<'a> {
        Unescaped::new(if self.is_string() { self.content() } else { "" })
    }

    /// Appends the unescaped string to `out`; nothing for any other value.
    pub fn unescape_into(self, out: &mut String) {
        if let Some(plain) = self.as_plain_str() {
            out.push_str(plain);
        } else if self.is_string() {
            string::unescape(self.content(), out);
        }
    }

    /// Whether this is a string.
    #[inline]
    pub const fn is_string(self) -> bool {
        matches!(self.node.tag, Tag::String)
    }

    /// Whether this is an object.
    #[inline]
    pub const fn is_object(self) -> bool {
        matches!(self.node.tag, Tag::Object)
    }

    /// Whether this is a string with a backslash in its text.
    pub const fn has_escapes(self) -> bool {
        self.node.has(ESCAPED)
    }

    /// Whether this is a string whose unescaped content holds `<`.
    pub const fn has_markup(self) -> bool {
        self.node.has(MARKUP)
    }

    /// Whether this is the key of a member.
    pub const fn is_key(self) -> bool {
        self.node.has(KEY)
    }

    /// Everything in this value in the order of the text: itself, keys and values at any depth.
    pub fn subtree(self) -> impl Iterator<Item = Value<'a>> {
        let end = if self.is_key() { self.index } else { self.node.next };
        (self.index..end).map(move |index| self.other(index))
    }

    /// The value at a JSON Pointer (RFC 6901) below this one; `""` is this one.
    pub fn pointer(self, pointer: &str) -> Option<Value<'a>> {
        let mut at = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            at = match at.kind() {
                Kind::Object => at.get(&token)?,
                Kind::Array => at.items().nth(token.parse().ok()?)?,
                _ => return None,
            };
        }
        (pointer.is_empty() || pointer.starts_with('/')).then_some(at)
    }

    /// The JSON Pointer (RFC 6901) from this value to what has the id `target` in it: a value, or a key for its member.
    pub fn pointer_to(self, target: NodeId) -> String {
        let mut pointer = String::new();
        let mut at = self;
        while at.id() < target {
            let holds = |value: &Value<'_>| target < value.end_id();
            let step = if at.is_object() {
                let Some(member) = at.members().find(|member| holds(&member.value)) else {
                    break;
                };
                let key: String = member.key.chars().collect();
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                member.value
            } else {
                let Some((index, item)) = at.items().enumerate().find(|(_, item)| holds(item)) else {
                    break;
                };
                pointer.push('/');
                pointer.push_str(&index.to_string());
                item
            };
            if step.id() > target {
                break;
            }
            at = step;
        }
        pointer
    }

    /// Whether the value's text is known to be its canonical form. False also for the rare `\u2028`, which is canonical.
    pub const fn is_canonical(self) -> bool {
        !self.node.has(REWRITE)
    }

    /// Whether this is a number beyond ±(2^53 - 1).
    pub const fn is_wide(self) -> bool {
        self.node.has(WIDE)
    }

    /// Whether this is a number written without fraction and exponent.
    pub const fn is_integer_text(self) -> bool {
        self.node.has(INTEGER)
    }

    /// A number from 0 to 2^53 - 1 written without sign, fraction and exponent.
    ///
    /// `1.0`, `1e0`, `-0` and larger numbers are `None`, so that an id has one spelling.
    pub fn as_u64_exact(self) -> Option<u64> {
        if !self.is_integer_text() || self.is_wide() {
            return None;
        }
        // At most 16 digits: this cannot wrap.
        self.content_bytes().iter().try_fold(0_u64, |value, &byte| {
            byte.is_ascii_digit().then(|| value.wrapping_mul(10).wrapping_add(u64::from(byte & 0xf)))
        })
    }

    /// A number as the nearest double, which is finite.
    pub fn as_f64(self) -> Option<f64> {
        matches!(self.node.tag, Tag::Number).then(|| self.content().parse().ok()).flatten()
    }

    /// How many members or items an object or array has; 0 for any other value.
    #[inline]
    pub const fn len(self) -> usize {
        self.node.count as usize
    }

    /// Whether [`Self::len`] is 0.
    pub const fn is_empty(self) -> bool {
        self.node.count == 0
    }

    /// The members of an object in the order of the text; none for any other value.
    #[inline]
    pub fn members(self) -> Members<'a> {
        Members(if self.is_object() { self.inside() } else { Cursor::END })
    }

    /// The items of an array in order; none for any other value.
    #[inline]
    pub fn items(self) -> Items<'a> {
        Items(if matches!(self.node.tag, Tag::Array) { self.inside() } else { Cursor::END })
    }

    /// The member of an object with this key. Cost: O(members), a few instructions each.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "of a key that is a constant nothing is left but its print and its bytes")]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.get_printed(string::key_print(key.as_bytes()), key)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "of a key that is a constant nothing is left but its print and its bytes")]
    fn get_printed(self, print: u32, key: &str) -> Option<Value<'a>> {
        if !self.is_object() {
            return None;
        }
        let (inside, mut at) = (self.nodes.get(..self.node.next as usize)?, self.index.wrapping_add(1));
        loop {
            let [name, value] = inside.get(at as usize..)?.first_chunk()?;
            let index = at.wrapping_add(1);
            if name.next == print && self.reads(name, at, key) {
                return Some(Self { node: value, index, ..self });
            }
            // INVARIANT: a value ends behind itself; `max` keeps the walk finite should that ever be broken.
            at = value.next.max(index.wrapping_add(1));
        }
    }

    /// Whether the key with the node `name`, at `index`, is `key`. Nearly always its bytes are.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "of a key that is a constant nothing is left but its print and its bytes")]
    fn reads(self, name: &Node, index: u32, key: &str) -> bool {
        if name.has(ESCAPED) {
            return self.other(index).str_eq(key);
        }
        let (start, end) = (name.start.wrapping_sub(self.base), name.end.wrapping_sub(self.base));
        self.text.as_bytes().get(start as usize..end as usize) == Some(key.as_bytes())
    }

    #[inline]
    fn inside(self) -> Cursor<'a> {
        Cursor { value: self, next: self.index.wrapping_add(1), end: self.node.next }
    }
}

#[derive(Clone, Debug)]
struct Cursor<'a> {
    /// Any value of the document.
    value: Value<'a>,
    next: u32,
    end: u32,
}

impl<'a> Cursor<'a> {
    const END: Self = Self { value: Value::NULL, next: 0, end: 0 };

    /// The value at the cursor, which moves to its next sibling.
    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        if self.next >= self.end {
            return None;
        }
        let value = self.value.other(self.next);
        // INVARIANT: a value ends behind itself; `max` keeps the walk finite should that ever be broken.
        self.next = value.node.next.max(self.next.wrapping_add(1));
        Some(value)
    }

    /// The key at the cursor, which moves to its value.
    #[inline]
    fn key(&mut self) -> Option<Value<'a>> {
        if self.next >= self.end {
            return None;
        }
        let key = self.value.other(self.next);
        self.next = self.next.wrapping_add(1);
        Some(key)
    }
}

/// Iterator over the members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    #[inline]
    fn next(&mut self) -> Option<Member<'a>> {
        Some(Member { key: self.0.key()?, value: self.0.value()? })
    }
}

/// Iterator over the items of an array.
#[derive(Clone, Debug)]
pub struct Items<'a>(Cursor<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        self.0.value()
    }
}
