//! Cleans HTML that a page means to render.
//!
//! The parser and its tree belong to ammonia and html5ever. Their cost grows with the square of nesting and of the
//! attributes of one tag, so both are bounded before they see a byte.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use memchr::memchr;

use super::judge::{Formatting, opens_markup, skip, tag_name};

/// Bytes of HTML in one field: a long article, and about 2 ms of cleaning at worst.
pub const HTML_BYTES_MAX: usize = 16 * 1024;
/// Tags and comments in one field.
pub const HTML_TAGS_MAX: usize = 512;
/// Start tags that no end tag has answered yet; nobody's text is structured deeper.
pub const HTML_NESTING_MAX: usize = 64;
/// Attributes in one tag. Three are kept at most, but word processors write many.
pub const HTML_ATTRIBUTES_MAX: usize = 64;
/// Bytes of HTML that holds an element whose content is not markup (`script`, `style`, `svg`, `textarea` …) or a comment.
///
/// Behind it nesting and attributes cannot be counted without a parser, so length and tags alone have to bound the work.
pub const HTML_OPAQUE_BYTES_MAX: usize = 4 * 1024;

/// Tags and comments in HTML that holds such an element; hidden in it, four times as many cost 11 ms.
pub const HTML_OPAQUE_TAGS_MAX: usize = 128;

/// What [`clean_html`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says where the HTML to send on is"]
pub enum Cleaned {
    /// The HTML is clean: send the original. Nothing was written.
    Untouched,
    /// The output buffer holds the HTML to send on, which may differ in spelling only (`&` as `&amp;`).
    Changed,
}

/// HTML that is refused instead of cleaned, because cleaning it would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkupError {
    /// More than [`HTML_BYTES_MAX`] bytes, or [`HTML_OPAQUE_BYTES_MAX`] with an element of opaque content.
    #[error("html of {bytes} bytes, at most {max} are cleaned")]
    TooLong {
        /// Length of the field.
        bytes: usize,
        /// The limit that it exceeds.
        max: usize,
    },
    /// More than [`HTML_TAGS_MAX`] tags, or [`HTML_OPAQUE_TAGS_MAX`] with elements of opaque content.
    #[error("html of {tags} tags, at most {max} are cleaned")]
    TooManyTags {
        /// Tags and comments of the field.
        tags: usize,
        /// The limit that they exceed.
        max: usize,
    },
    /// Nested deeper than [`HTML_NESTING_MAX`].
    #[error("html nested deeper than {HTML_NESTING_MAX} elements")]
    TooDeep,
    /// A tag with more than [`HTML_ATTRIBUTES_MAX`] attributes.
    #[error("html with more than {HTML_ATTRIBUTES_MAX} attributes in one tag")]
    TooManyAttributes,
    /// Formatting elements left open that the parser would have to repeat more than [`super::CLONES_MAX`] times.
    #[error("html whose open formatting elements repeat more than {} times", super::CLONES_MAX)]
    TooManyClones,
    /// The cleaned HTML reads differently when it is parsed again: an attack on the cleaner (mutation XSS).
    #[error("html that changes each time it is parsed")]
    Unstable,
}

/// Elements that pass: structure and emphasis of text, nothing that loads, embeds, asks for input or scripts.
#[rustfmt::skip]
const ALLOWED_ELEMENTS: &[&str] = &[
    "a", "b", "blockquote", "br", "code", "dd", "del", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
    "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "strong", "sub", "sup", "u", "ul", "var",
];

/// The schemes that `<a href>` may have; relative addresses are dropped, since they point into whatever page shows them.
const ALLOWED_SCHEMES: &[&str] = &["http", "https", "mailto"];

/// Elements whose content is no prose: they go with all that stands in them.
///
/// Also the elements that make the tokenizer read differently, where attacks hide one parser's text in another's tag.
#[rustfmt::skip]
const OPAQUE_ELEMENTS: &[&str] = &[
    "iframe", "math", "noembed", "noframes", "noscript", "object", "plaintext", "script", "select", "style", "svg",
    "template", "textarea", "title", "xmp",
];

/// Elements without end tag, which do not nest.
const VOID_ELEMENTS: &[&str] = &["br", "hr", "img", "input", "wbr"];

/// Cleans `html` against an allowlist of elements and attributes.
///
/// Kept are text structure and emphasis without attributes, and `a`, with an `href` to `http`, `https` or `mailto` and
/// always `rel="noopener noreferrer nofollow"`. Other elements are dropped and their content kept, except that scripts,
/// styles, foreign content, forms' text and templates go whole; `id`, `name`, `class`, `style`, handlers, comments and
/// relative links go always.
///
/// `out` is cleared first and stays empty for clean HTML. The output is a fixed point: it is parsed again to prove it.
///
/// Cost: two or three parses, bounded by the limits above; HTML without `<` costs a search for that byte.
///
/// # Errors
/// [`MarkupError`] when a limit is exceeded or no fixed point is reached: refuse the message.
pub fn clean_html(html: &str, out: &mut String) -> Result<Cleaned, MarkupError> {
    out.clear();
    if memchr(b'<', html.as_bytes()).is_none() {
        return Ok(Cleaned::Untouched);
    }
    check_limits(html)?;
    let mut cleaned = CLEANER.clean(html).to_string();
    if cleaned == html {
        return Ok(Cleaned::Untouched);
    }
    // A browser parses the output once more, and must read what stands here.
    for _ in 0..2 {
        let again = CLEANER.clean(&cleaned).to_string();
        if again == cleaned {
            *out = cleaned;
            return Ok(Cleaned::Changed);
        }
        cleaned = again;
    }
    Err(MarkupError::Unstable)
}

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::empty();
    builder
        .tags(ALLOWED_ELEMENTS.iter().copied().collect())
        .clean_content_tags(OPAQUE_ELEMENTS.iter().copied().collect())
        .tag_attributes(HashMap::from([("a", HashSet::from(["href"]))]))
        .generic_attributes(HashSet::new())
        .url_schemes(ALLOWED_SCHEMES.iter().copied().collect())
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .strip_comments(true);
    builder
});

/// Bounds the work of the parser without being one.
///
/// Where no opaque element stands, the tokenizer never leaves the states that [`walk_tag`] knows, so the counts are
/// exact or too high; where one stands, [`HTML_OPAQUE_BYTES_MAX`] and
/// [`HTML_OPAQUE_TAGS_MAX`] take over.
fn check_limits(html: &str) -> Result<(), MarkupError> {
    let check_length = |max: usize| {
        let bytes = html.len();
        if bytes > max { Err(MarkupError::TooLong { bytes, max }) } else { Ok(()) }
    };
    check_length(HTML_BYTES_MAX)?;
    // Counted wherever they stand, also inside quotes and comments: these two must not depend on the state.
    let mut tags = 0_usize;
    let (mut bytes_max, mut tags_max) = (HTML_BYTES_MAX, HTML_TAGS_MAX);
    for (at, _) in html.match_indices('<') {
        let behind = skip(html.as_bytes(), at.saturating_add(1));
        if opens_markup(behind) {
            tags = tags.saturating_add(1);
            if opens_opaque(behind) {
                (bytes_max, tags_max) = (HTML_OPAQUE_BYTES_MAX, HTML_OPAQUE_TAGS_MAX);
            }
        }
    }
    if tags > tags_max {
        return Err(MarkupError::TooManyTags { tags, max: tags_max });
    }
    check_length(bytes_max)?;
    check_tags(html.as_bytes())
}

fn check_tags(mut rest: &[u8]) -> Result<(), MarkupError> {
    let mut nesting = 0_usize;
    let mut formatting = Formatting::default();
    while let Some(at) = memchr(b'<', rest) {
        rest = skip(rest, at.saturating_add(1));
        if !opens_markup(rest) {
            continue;
        }
        if let Some(name) = rest.strip_prefix(b"/") {
            nesting = nesting.saturating_sub(1);
            if !formatting.closes(tag_name(name)) {
                return Err(MarkupError::TooManyClones);
            }
        } else {
            formatting.opens(tag_name(rest));
            if !VOID_ELEMENTS.iter().any(|name| starts_with_name(rest, name)) {
                nesting = nesting.saturating_add(1);
            }
        }
        if nesting > HTML_NESTING_MAX {
            return Err(MarkupError::TooDeep);
        }
        let (attributes, behind) = walk_tag(rest);
        if attributes > HTML_ATTRIBUTES_MAX {
            return Err(MarkupError::TooManyAttributes);
        }
        rest = behind;
    }
    Ok(())
}

/// Whether what a `<` opens holds bytes that are no tag although they look like it: comments and opaque elements.
fn opens_opaque(behind: &[u8]) -> bool {
    let is_tag = match behind {
        [b'/', first, ..] | [first, ..] => first.is_ascii_alphabetic(),
        [] => false,
    };
    !is_tag || OPAQUE_ELEMENTS.iter().any(|name| starts_with_name(behind, name))
}

/// Where the tokenizer stands in a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    TagName,
    /// Where a `=` starts a name.
    BeforeName,
    Name,
    /// Behind white space, where a `=` still brings the value.
    AfterName,
    BeforeValue,
    Unquoted,
    Quoted(u8),
}

/// Counts the attributes of the tag whose name `rest` starts with and returns what stands behind it.
fn walk_tag(rest: &[u8]) -> (usize, &[u8]) {
    let mut part = Part::TagName;
    let mut attributes = 0_usize;
    for (at, &byte) in rest.iter().enumerate() {
        let is_space = matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
        part = match part {
            Part::Quoted(quote) if byte == quote => Part::BeforeName,
            Part::Quoted(_) => part,
            _ if byte == b'>' => {
                return (attributes, skip(rest, at.saturating_add(1)));
            }
            Part::BeforeValue if is_space => part,
            Part::BeforeValue if matches!(byte, b'"' | b'\'') => Part::Quoted(byte),
            Part::BeforeValue => Part::Unquoted,
            Part::Unquoted if is_space => Part::BeforeName,
            Part::Unquoted => part,
            _ if byte == b'/' => Part::BeforeName,
            Part::TagName | Part::BeforeName if is_space => Part::BeforeName,
            Part::Name | Part::AfterName if byte == b'=' => Part::BeforeValue,
            Part::Name | Part::AfterName if is_space => Part::AfterName,
            Part::TagName | Part::Name => part,
            Part::BeforeName | Part::AfterName => {
                attributes = attributes.saturating_add(1);
                Part::Name
            }
        };
    }
    (attributes, &[])
}

fn starts_with_name(bytes: &[u8], name: &str) -> bool {
    bytes.split_at_checked(name.len()).is_some_and(|(start, behind)| {
        start.eq_ignore_ascii_case(name.as_bytes()) && !behind.first().is_some_and(u8::is_ascii_alphanumeric)
    })
}
