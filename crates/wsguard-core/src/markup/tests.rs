use std::cell::RefCell;
use std::fmt::Write as _;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use proptest::prelude::*;

use super::names::{
    FOREIGN_ATTRIBUTES, FORMATTING_ELEMENTS, HTML_ATTRIBUTES, HTML_ELEMENTS, MATHML_ELEMENTS, PLAIN_ELEMENTS,
    SVG_ELEMENTS,
};
use super::*;
use crate::schema::ContentClass;

#[derive(serde::Deserialize)]
struct Vectors {
    hostile: Vec<Case>,
    innocent: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    text: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../vectors/markup.json")).unwrap()
}

/// What html5ever finds that is not text.
#[derive(Default)]
struct Markup {
    tags: RefCell<Vec<Tag>>,
    others: RefCell<Vec<Token>>,
}

impl TokenSink for Markup {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => self.tags.borrow_mut().push(tag),
            Token::CommentToken(_) | Token::DoctypeToken(_) => self.others.borrow_mut().push(token),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn tokenise(text: &str) -> Markup {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text));
    let tokenizer = Tokenizer::new(Markup::default(), TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink
}

/// The contract's sentence, said over html5ever's tokens.
fn html5ever_accepts(text: &str) -> bool {
    let markup = tokenise(text);
    let tags = markup.tags.into_inner();
    markup.others.into_inner().is_empty()
        && tags.iter().all(|tag| {
            let name = &*tag.name;
            let known = [HTML_ELEMENTS, SVG_ELEMENTS, MATHML_ELEMENTS].iter().any(|list| list.contains(&name));
            (!known && !name.contains('-') || PLAIN_ELEMENTS.contains(&name))
                && tag.attrs.iter().all(|attr| {
                    attr.value.is_empty()
                        && !HTML_ATTRIBUTES.contains(&&*attr.name.local)
                        && !["onclick", "onload", "onerror", "onfocus"].contains(&&*attr.name.local)
                })
        })
}

fn neutralised(text: &str) -> String {
    let mut out = String::from("left over");
    match neutralise(text, &mut out) {
        Neutralised::Untouched => {
            assert_eq!(out, "", "nothing is written for {text:?}");
            text.to_owned()
        }
        Neutralised::Changed => out,
    }
}

#[test]
fn content_class_is_parsed_exactly() {
    for (name, want) in [
        ("text", Some(ContentClass::Text)),
        ("html", Some(ContentClass::Html)),
        ("reject", Some(ContentClass::Reject)),
        ("raw", Some(ContentClass::Raw)),
        ("Text", None),
        ("", None),
    ] {
        assert_eq!(ContentClass::from_name(name), want, "{name}");
    }
}

#[test]
fn names_are_sorted_and_in_lower_case() {
    for (name, list) in [
        ("plain", PLAIN_ELEMENTS),
        ("formatting", FORMATTING_ELEMENTS),
        ("html", HTML_ELEMENTS),
        ("svg", SVG_ELEMENTS),
        ("mathml", MATHML_ELEMENTS),
        ("attributes", HTML_ATTRIBUTES),
        ("foreign", FOREIGN_ATTRIBUTES),
    ] {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
        assert!(list.iter().all(|entry| *entry == entry.to_ascii_lowercase()), "{name}");
    }
    assert!(PLAIN_ELEMENTS.iter().all(|plain| HTML_ELEMENTS.contains(plain)));
}

#[test]
fn hostile_markup_is_neutralised() {
    for Case { name, text } in vectors().hostile {
        assert!(!is_harmless(&text), "{name}: {text:?}");
        let out = neutralised(&text);
        assert_ne!(out, text, "{name}");
        assert_eq!(out.replace("&lt;", "<"), text.replace("&lt;", "<"), "{name}: only `<` changed");
        let markup = tokenise(&out);
        assert!(markup.tags.into_inner().is_empty() && markup.others.into_inner().is_empty(), "{name}: {out:?}");
    }
}

#[test]
fn innocent_text_is_untouched() {
    for Case { name, text } in vectors().innocent {
        assert!(is_harmless(&text), "{name}: {text:?}");
        assert_eq!(neutralised(&text), text, "{name}");
    }
}

#[test]
fn neutralised_text_reads_exactly() {
    for (name, text, want) in [
        ("all that opens", "<b>x</b> <img>", "&lt;b>x&lt;/b> &lt;img>"),
        ("none that does not", "1 < 2 <3 <> << <img> <", "1 < 2 <3 <> << &lt;img> <"),
        ("entities stay", "&lt; &amp; <img>", "&lt; &amp; &lt;img>"),
        ("empty end tag", "</> <p>", "&lt;/> &lt;p>"),
        ("end of text", "<p></", "&lt;p></"),
        ("inside quotes", "<img alt='<p>'>", "&lt;img alt='&lt;p>'>"),
    ] {
        assert_eq!(neutralised(text), want, "{name}");
    }
}

#[test]
fn every_known_element_and_attribute_is_refused() {
    for name in [HTML_ELEMENTS, SVG_ELEMENTS, MATHML_ELEMENTS].concat() {
        let plain = PLAIN_ELEMENTS.contains(&name);
        for text in [format!("<{name}>"), format!("<{}/", name.to_uppercase()), format!("</{name}>")] {
            assert_eq!(is_harmless(&text), plain, "{text}");
        }
    }
    for name in [HTML_ATTRIBUTES, FOREIGN_ATTRIBUTES].concat() {
        for text in [format!("<x {name}>"), format!("<b y {}", name.to_uppercase()), format!("<x/{name}/>")] {
            assert!(!is_harmless(&text), "{text}");
        }
    }
}

/// A formatting bomb: elements that were never closed are made again after each end tag.
#[test]
fn text_cannot_make_the_parser_repeat_elements_without_end() {
    let mut bomb = "<x>".repeat(500);
    for number in 0..500 {
        write!(bomb, "<b q{number}>").unwrap();
    }
    bomb.push_str(&"</x>z".repeat(500));
    assert!(!is_harmless(&bomb));
    assert!(is_harmless(&"<b>bold</b> <i>x</i> ".repeat(2_000)), "closed elements are not repeated");
    assert!(is_harmless(&"a<b && c>d; List<int>; ".repeat(1_000)), "nor are those that nothing closes from outside");
}

/// Runs of openings are where a judge that starts over at each `<` would take the square of the length.
#[test]
fn long_runs_of_openings_are_judged() {
    for (name, piece, harmless) in [
        ("less-thans", "<", true),
        ("open links", "<a ", false),
        ("open unknowns", "<x ", true),
        ("slashes", "</", false),
    ] {
        let text = piece.repeat(65_536 / piece.len());
        assert_eq!(is_harmless(&text), harmless, "{name}");
        assert!(neutralised(&text).len() <= text.len() * 5 / 2 + 8, "{name}");
    }
}

fn cleaned(html: &str) -> Result<String, MarkupError> {
    let mut out = String::from("left over");
    Ok(match clean_html(html, &mut out)? {
        Cleaned::Untouched => html.to_owned(),
        Cleaned::Changed => out,
    })
}

#[test]
fn html_is_cleaned_against_the_allowlist() {
    for (name, html, want) in [
        ("no markup", "a & b > c", "a & b > c"),
        ("kept", "<p>a <b>b</b></p><ul><li>c</li></ul>", "<p>a <b>b</b></p><ul><li>c</li></ul>"),
        ("content of unknown kept", "<div>a<x>b</x></div>", "ab"),
        ("script goes whole", "a<script>alert(1)</script>b", "ab"),
        ("style goes whole", "a<style>b{}</style>c", "ac"),
        ("svg goes whole", "a<svg><text>b</text></svg>c", "ac"),
        ("handler", "<b onclick=alert(1)>x</b>", "<b>x</b>"),
        ("naming and styling", "<p id=a name=b class=c style=d:e title=f lang=g>x</p>", "<p>x</p>"),
        ("image", "a<img src=//evil.invalid onerror=alert(1)>", "a"),
        ("comment", "a<!-- b -->c", "ac"),
        (
            "link",
            "<a href=https://example.com/ target=_top id=a>x</a>",
            r#"<a href="https://example.com/" rel="noopener noreferrer nofollow">x</a>"#,
        ),
        ("script link", "<a href=javascript:alert(1)>x</a>", r#"<a rel="noopener noreferrer nofollow">x</a>"#),
        ("data link", "<a href=data:text/html,x>x</a>", r#"<a rel="noopener noreferrer nofollow">x</a>"#),
        ("relative link", "<a href=//evil.invalid>x</a>", r#"<a rel="noopener noreferrer nofollow">x</a>"#),
        ("unclosed", "<b>x", "<b>x</b>"),
    ] {
        assert_eq!(cleaned(html).as_deref(), Ok(want), "{name}");
        assert_eq!(cleaned(want).as_deref(), Ok(want), "{name}: fixed point");
    }
}

#[test]
fn html_beyond_a_limit_is_refused() {
    let tag = |count: usize| {
        (0..count).fold("<a".to_owned(), |mut tag, number| {
            write!(tag, "/=\"{number}").unwrap();
            tag
        })
    };
    for (name, html, want) in [
        ("bytes", format!("<b>{}", "x".repeat(HTML_BYTES_MAX)), "TooLong"),
        ("bytes with script", format!("<ScRiPt>{}", "x".repeat(HTML_OPAQUE_BYTES_MAX)), "TooLong"),
        ("bytes with comment", format!("<!--{}", "x".repeat(HTML_OPAQUE_BYTES_MAX)), "TooLong"),
        ("tags", "<b></b>".repeat(HTML_TAGS_MAX / 2 + 1), "TooManyTags"),
        ("tags in quotes", format!("<a href='{}'>", "<b>".repeat(HTML_TAGS_MAX)), "TooManyTags"),
        ("tags with script", format!("<script>{}", "<b>".repeat(HTML_OPAQUE_TAGS_MAX)), "TooManyTags"),
        ("nesting", "<div>".repeat(HTML_NESTING_MAX + 1), "TooDeep"),
        ("attributes whose names hold quotes", tag(HTML_ATTRIBUTES_MAX + 1), "TooManyAttributes"),
        ("attributes", format!("<a{}>", " b=c".repeat(HTML_ATTRIBUTES_MAX + 1)), "TooManyAttributes"),
    ] {
        let refused = cleaned(&html).unwrap_err();
        assert!(format!("{refused:?}").starts_with(want), "{name}: {refused:?}");
    }
    assert!(cleaned(&"<div>".repeat(HTML_NESTING_MAX)).is_ok());
    assert!(cleaned(&"<br>".repeat(HTML_TAGS_MAX)).is_ok());
}

#[test]
fn hostile_html_leaves_the_allowlist_alone() {
    for Case { name, text } in vectors().hostile {
        let Ok(out) = cleaned(&text) else { continue };
        for tag in tokenise(&out).tags.into_inner() {
            for attr in &tag.attrs {
                assert!(["href", "rel"].contains(&&*attr.name.local), "{name}: {out:?}");
                assert!(!attr.value.contains("script:"), "{name}: {out:?}");
            }
            assert!(!["img", "svg", "math", "style", "script", "form", "x"].contains(&&*tag.name), "{name}: {out:?}");
        }
        assert_eq!(cleaned(&out).as_deref(), Ok(&*out), "{name}: fixed point");
    }
}

/// Strings of the pieces that tags are made of, so that most of them hold several.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "<", "</", ">", "/", " ", "=", "\"", "'", "\n", "\t", "\r", "\x0c", "\0", "!", "?", "--", "<!--", "-->", "&lt;",
            "img", "b", "x", "y", "int", "svg", "script", "p", "br", "on", "onclick", "onerror=alert(1)", "id", "name",
            "class", "style", "&&", "a-b", "[CDATA[", "]]>", ":", "é", "\u{212a}", "<b>", "</b>", "<int>", "\u{feff}", "-",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn neutralised_text_is_harmless_and_final(text in hostile_text()) {
        let harmless = is_harmless(&text);
        let out = neutralised(&text);
        prop_assert!(is_harmless(&out));
        prop_assert_eq!(neutralised(&out), out.clone());
        if harmless {
            prop_assert_eq!(out, text);
        } else {
            // Walking both strings at once: the only difference is a `&lt;` where a `<` stood.
            let mut changed = out.as_str();
            for original in text.chars() {
                changed = if let Some(rest) = changed.strip_prefix(original) {
                    rest
                } else {
                    prop_assert_eq!(original, '<');
                    changed.strip_prefix("&lt;").unwrap()
                };
            }
            prop_assert_eq!(changed, "");
            let markup = tokenise(&out);
            prop_assert!(markup.tags.into_inner().is_empty());
            prop_assert!(markup.others.into_inner().is_empty());
        }
    }

    /// A judge of our own must not be kinder than the parser that it replaces.
    #[test]
    fn what_passes_passes_html5ever_too(text in hostile_text()) {
        prop_assert!(!is_harmless(&text) || html5ever_accepts(&text), "{:?}", text);
    }

    #[test]
    fn cleaned_html_is_a_fixed_point(text in hostile_text()) {
        if let Ok(out) = cleaned(&text) {
            prop_assert_eq!(cleaned(&out), Ok(out));
        }
    }

    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        prop_assert!(is_harmless(&neutralised(&text)));
    }
}
