//! Walks the tags of a text as the HTML tokenizer does and stops at the first one that a browser gives a meaning to.

use memchr::memchr;

use super::names::{
    FOREIGN_ATTRIBUTES, FORMATTING_ELEMENTS, HTML_ATTRIBUTES, HTML_ELEMENTS, MATHML_ELEMENTS, PLAIN_ELEMENTS,
    SVG_ELEMENTS,
};

/// How many elements the parser may have to make again for a text that passes; beyond that it is not harmless.
///
/// Formatting elements that were not closed are opened anew after each end tag that closed them from outside (HTML
/// Living Standard §13.2.4.3), so that a few kilobytes of `<x>`, `<b q1><b q2>` and `</x>` grow into millions of
/// elements. Two thousand elements are ordinary for a page; text about code stays far below.
pub const CLONES_MAX: usize = 2_048;

/// Whether a browser would do nothing with the markup in `text`: `text` and `reject` fields pass untouched if so.
///
/// Harmless is text in which every tag is an element unknown to HTML, SVG and MathML (and no custom element, whose
/// names hold a hyphen) or one of a few plain formatting elements, carrying only attributes without a value whose
/// names HTML does not know, and in which there is no comment, declaration or processing instruction. End tags obey
/// the same rules: `</p>` and `</br>` make elements, `</textarea>` ends one of the page. A tag that the end of the text
/// cuts off is judged as if it were whole, because a page may put more behind it.
///
/// Refused beyond the letter of that rule: control characters inside a tag, attribute names shaped like an event
/// handler (`on` and three letters), a namespace prefix (`xlink:href`) or a framework's directive (`ng-app`), an
/// element that hides in a name (`<scr<script>`), and more than [`CLONES_MAX`] elements that the parser would have to repeat.
///
/// Cost: linear, no allocation; text without `<` costs a search for that byte.
pub fn is_harmless(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut formatting = Formatting::default();
    while let Some(at) = memchr(b'<', rest) {
        rest = skip(rest, at.saturating_add(1));
        match rest {
            // `</>` yields nothing, `</` at the end is text.
            [b'/', b'>', ..] | [b'/'] => {}
            [b'/', letter, ..] if letter.is_ascii_alphabetic() => {
                let Some((name, behind)) = walk_tag(skip(rest, 1)) else {
                    return false;
                };
                if !formatting.closes(name) {
                    return false;
                }
                rest = behind;
            }
            [letter, ..] if letter.is_ascii_alphabetic() => {
                let Some((name, behind)) = walk_tag(rest) else {
                    return false;
                };
                formatting.opens(name);
                rest = behind;
            }
            // A comment, a declaration or a processing instruction, well-formed or not.
            [b'!' | b'?' | b'/', ..] => return false,
            // A `<` before anything else is a character.
            _ => {}
        }
    }
    true
}

/// Whether a `<` before `behind` is taken for markup by a tokenizer in the data state.
pub(super) fn opens_markup(behind: &[u8]) -> bool {
    match behind {
        [b'!' | b'?', ..] | [b'/', _, ..] => true,
        [letter, ..] => letter.is_ascii_alphabetic(),
        [] => false,
    }
}

/// Reads the tag whose name `rest` starts with.
///
/// Returns that name and what stands behind the tag, or nothing if a browser gives it a meaning.
fn walk_tag(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, mut rest) = split_where(rest, 0, |byte| is_space(byte) || matches!(byte, b'/' | b'>'));
    if element_is_known(name) {
        return None;
    }
    loop {
        rest = trim_start(rest, |byte| is_space(byte) || byte == b'/');
        let Some((&first, behind)) = rest.split_first() else {
            return Some((name, rest));
        };
        if first == b'>' {
            return Some((name, behind));
        }
        // A `=` where a name is expected belongs to the name (before attribute name state).
        let lead = usize::from(first == b'=');
        let (attribute, behind) = split_where(rest, lead, |byte| is_space(byte) || matches!(byte, b'/' | b'>' | b'='));
        if attribute_is_known(attribute) {
            return None;
        }
        // No value passes, so the states that read one (and the `>` and `<` inside quotes) are never needed.
        if trim_start(behind, is_space).first() == Some(&b'=') {
            return None;
        }
        rest = behind;
    }
}

/// The name of the tag that `rest` starts in, however long.
pub(super) fn tag_name(rest: &[u8]) -> &[u8] {
    split_where(rest, 0, |byte| is_space(byte) || matches!(byte, b'/' | b'>')).0
}

fn element_is_known(name: &[u8]) -> bool {
    find(PLAIN_ELEMENTS, name).is_none()
        && (name.iter().any(|&byte| byte == b'-' || is_control(byte)) || is_element(name) || hides_element(name))
}

fn is_element(name: &[u8]) -> bool {
    [HTML_ELEMENTS, SVG_ELEMENTS, MATHML_ELEMENTS].iter().any(|list| find(list, name).is_some())
}

/// A name that goes on with `<` and an element, as in `<scr<script>`: no browser takes it for that element, but a page
/// that strips one tag makes another.
fn hides_element(name: &[u8]) -> bool {
    name.split(|&byte| byte == b'<').skip(1).any(|part| find(PLAIN_ELEMENTS, part).is_none() && is_element(part))
}

fn attribute_is_known(name: &[u8]) -> bool {
    is_event_handler(name)
        || has_prefix(name)
        || hides_element(name)
        || name.iter().any(|&byte| is_control(byte))
        || find(HTML_ATTRIBUTES, name).is_some()
        || find(FOREIGN_ATTRIBUTES, name).is_some()
}

/// `on` and at least three letters. The shortest handlers are `oncut` and `onend`; `one`, `once` and `only` are words.
fn is_event_handler(name: &[u8]) -> bool {
    match name {
        [b'o' | b'O', b'n' | b'N', event @ ..] => {
            event.iter().take_while(|byte| byte.is_ascii_alphabetic()).count() >= 3
        }
        _ => false,
    }
}

/// `data-` and `aria-` before anything; else a letter first, and later `-` or a single `:` before a letter, as in
/// `ng-app` and `xlink:href`.
///
/// Not `y-1`, `v:` or `std::max`, which are code.
fn has_prefix(name: &[u8]) -> bool {
    let starts_with = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is_prefixed = |window: &[u8]| match *window {
        [before, b'-', after] => before != b'-' && after.is_ascii_alphabetic(),
        [before, b':', after] => before != b':' && after.is_ascii_alphabetic(),
        _ => false,
    };
    starts_with(b"data-")
        || starts_with(b"aria-")
        || (name.first().is_some_and(u8::is_ascii_alphabetic) && name.windows(3).any(is_prefixed))
}

/// Finds `name`, in whatever case, in a sorted list of names in lower case.
///
/// Only ASCII letters fold, as in a browser: `ſcript` and `linK` with a Kelvin sign are unknown names.
fn find(list: &[&str], name: &[u8]) -> Option<usize> {
    list.binary_search_by(|known| known.bytes().cmp(name.iter().map(u8::to_ascii_lowercase))).ok()
}

/// What the tokenizer skips between the parts of a tag; U+000B is not among them.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

/// Control characters in a name are nobody's code, and U+0000 has been dropped by browsers instead of replaced.
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// What stands behind the first `count` bytes.
pub(super) fn skip(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(count..).unwrap_or_default()
}

fn trim_start(bytes: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let count = bytes.iter().take_while(|&&byte| unwanted(byte)).count();
    skip(bytes, count)
}

/// Splits before the first byte from `lead` on that ends a name.
fn split_where(bytes: &[u8], lead: usize, is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let length = skip(bytes, lead).iter().take_while(|&&byte| !is_end(byte)).count();
    bytes.split_at_checked(length.saturating_add(lead)).unwrap_or((bytes, &[]))
}

/// An upper bound of the parser's list of active formatting elements, and of what it repeats because of it.
#[derive(Default)]
pub(super) struct Formatting {
    /// How many elements of each name are on the list; the place is that of [`FORMATTING_ELEMENTS`].
    open: [usize; FORMATTING_ELEMENTS.len()],
    open_total: usize,
    clones: usize,
}

impl Formatting {
    /// Takes note of a start tag.
    pub(super) fn opens(&mut self, name: &[u8]) {
        if let Some(open) = self.open_mut(name) {
            *open = open.saturating_add(1);
            self.open_total = self.open_total.saturating_add(1);
        }
    }

    /// Counts what an end tag makes the parser repeat; `false` once that is too much.
    #[must_use]
    pub(super) fn closes(&mut self, name: &[u8]) -> bool {
        if let Some(open) = self.open_mut(name).filter(|open| **open > 0) {
            *open = open.saturating_sub(1);
            self.open_total = self.open_total.saturating_sub(1);
        }
        self.clones = self.clones.saturating_add(self.open_total);
        self.clones <= CLONES_MAX
    }

    fn open_mut(&mut self, name: &[u8]) -> Option<&mut usize> {
        self.open.get_mut(find(FORMATTING_ELEMENTS, name)?)
    }
}
