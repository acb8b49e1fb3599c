//! What markup in a string would do in a browser, and how it is kept from doing it.
//!
//! Attack: cross-site scripting through a message (CWE-79): a page assigns what a peer wrote to `innerHTML`, and it
//! runs, loads, navigates, styles or names something (DOM clobbering). A gateway cannot know how a page renders a
//! string, so a schema says what a field may hold ([`crate::schema::ContentClass`]), and chat about code (`vector<int>`,
//! `a < b && c > d`) must survive.
//!
//! The judge follows the tokenizer of the HTML standard instead of searching for bad words. It needs no tree and only
//! a part of that tokenizer: the first tag that a browser gives a meaning to ends the search, so the states behind
//! `<script>`, `<textarea>` or `<svg>` are never reached by text that passes. html5ever holds it to account in the
//! tests; on the message path its tokenizer would intern each name under a global lock and compare each attribute of
//! a tag with every other.
//!
//! A string is judged alone. What several fields do when a page glues them together is the page's affair: a field
//! that ends inside an unknown tag (`i<n`) passes, and the next field would go on inside that tag.
//!
//! # Specification
//! HTML Living Standard §13.2.5 (tokenization); docs/protocol.md §4

mod clean;
mod judge;
mod names;

pub use clean::{
    Cleaned, HTML_ATTRIBUTES_MAX, HTML_BYTES_MAX, HTML_NESTING_MAX, HTML_OPAQUE_BYTES_MAX, HTML_OPAQUE_TAGS_MAX,
    HTML_TAGS_MAX, MarkupError, clean_html,
};
pub use judge::{CLONES_MAX, is_harmless};

/// What [`neutralise`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says where the text to send on is"]
pub enum Neutralised {
    /// The text is harmless: send the original. Nothing was written.
    Untouched,
    /// The output buffer holds the text to send on.
    Changed,
}

/// Makes every `<` of `text` that opens markup a `&lt;`, unless the text is harmless as it is.
///
/// A `<` opens markup when an HTML parser that reads text does not give it back as a character: before an ASCII
/// letter, `!`, `?` or a `/` that something follows. Also the tags that alone would pass are escaped then, so that a
/// parser finds no tag at all and the person reads what was typed. Nothing else changes: `&` stays as it was.
///
/// `out` is cleared first and stays empty for harmless text, which is neither copied nor allocated for. The output is
/// at most two and a half times as long as the text. Neutralising twice is neutralising once.
///
/// Cost: linear; text without `<` costs a search for that byte.
///
/// ```
/// use wsguard_core::markup::{Neutralised, neutralise};
///
/// let mut out = String::new();
/// assert_eq!(neutralise("if (x<y && y>z)", &mut out), Neutralised::Untouched);
/// assert_eq!(neutralise("1 < 2 <img src=x onerror=alert(1)>", &mut out), Neutralised::Changed);
/// assert_eq!(out, "1 < 2 &lt;img src=x onerror=alert(1)>");
/// ```
pub fn neutralise(text: &str, out: &mut String) -> Neutralised {
    out.clear();
    if is_harmless(text) {
        return Neutralised::Untouched;
    }
    out.reserve(text.len().saturating_add(text.len() / 8));
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(before);
        out.push_str(if judge::opens_markup(behind.as_bytes()) { "&lt;" } else { "<" });
        rest = behind;
    }
    out.push_str(rest);
    debug_assert!(is_harmless(out), "escaped text opens no markup");
    Neutralised::Changed
}

#[cfg(test)]
mod tests;
