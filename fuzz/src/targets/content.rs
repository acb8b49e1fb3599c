//! Markup in strings: what leaves the guard does nothing in a browser, by html5ever's judgement.
//!
//! Input: the text of a field.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use wsguard_core::markup::{Cleaned, Neutralised, clean_html, is_harmless, neutralise};

/// Elements that run, load, frame, style, submit or change how the rest is parsed. Written down here for itself: a list
/// shared with the guard would share its gaps.
const LIVE: &[&str] = &[
    "a",
    "applet",
    "area",
    "audio",
    "base",
    "body",
    "button",
    "canvas",
    "embed",
    "form",
    "frame",
    "frameset",
    "iframe",
    "image",
    "img",
    "input",
    "link",
    "map",
    "marquee",
    "math",
    "meta",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "plaintext",
    "script",
    "select",
    "source",
    "style",
    "svg",
    "template",
    "textarea",
    "title",
    "track",
    "video",
    "xmp",
];

/// Attributes that act also without a value, or name something.
const ACTING: &[&str] = &[
    "action",
    "autofocus",
    "background",
    "class",
    "data",
    "formaction",
    "href",
    "id",
    "name",
    "src",
    "srcdoc",
    "style",
];

/// Panics where a promise of the markup rules does not hold for `data`.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut out = String::from("left over");
    match neutralise(text, &mut out) {
        Neutralised::Untouched => {
            assert!(out.is_empty() && is_harmless(text), "untouched means harmless");
            let found = tokens(text);
            assert_eq!(found.others, 0, "a comment or declaration passed");
            for tag in &found.tags {
                let name = &*tag.name;
                assert!(!LIVE.contains(&name) && !name.contains('-'), "<{name}> passed");
                for attr in &tag.attrs {
                    let local = &*attr.name.local;
                    assert!(attr.value.is_empty(), "a value passed in <{name}>");
                    assert!(!ACTING.contains(&local), "{local} passed in <{name}>");
                }
            }
        }
        Neutralised::Changed => {
            assert!(text.contains('<'), "text without `<` is innocent");
            assert_ne!(out, text, "changed means another text");
            assert_eq!(out.replace("&lt;", "<"), text.replace("&lt;", "<"), "more than `<` changed");
            let found = tokens(&out);
            assert!(found.tags.is_empty() && found.others == 0, "markup is left");
            let mut again = String::new();
            assert_eq!(neutralise(&out, &mut again), Neutralised::Untouched, "twice is once");
        }
    }

    match clean_html(text, &mut out) {
        Err(_) => {}
        Ok(cleaned) => {
            let clean = if cleaned == Cleaned::Untouched { text } else { &out };
            let found = tokens(clean);
            assert_eq!(found.others, 0, "clean HTML has no comments: {clean}");
            for tag in found.tags.iter().filter(|tag| tag.kind == TagKind::StartTag) {
                let name = &*tag.name;
                assert!(name == "a" || !LIVE.contains(&name), "<{name}> in clean HTML");
                for attr in &tag.attrs {
                    let (local, value) = (&*attr.name.local, attr.value.trim_start().to_ascii_lowercase());
                    assert!(!local.starts_with("on") && local != "style" && local != "srcdoc", "{local} in clean HTML");
                    assert!(
                        !value.starts_with("javascript:") && !value.starts_with("data:"),
                        "{local} runs in clean HTML"
                    );
                }
            }
            let mut again = String::new();
            let twice = clean_html(clean, &mut again).expect("clean HTML can be cleaned");
            assert!(twice == Cleaned::Untouched || again == clean, "cleaned twice is another text: {clean} {again}");
        }
    }
}

/// What html5ever finds that is not text.
struct Found {
    tags: Vec<Tag>,
    others: usize,
}

#[derive(Default)]
struct Sink {
    tags: RefCell<Vec<Tag>>,
    others: RefCell<usize>,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => self.tags.borrow_mut().push(tag),
            Token::CommentToken(_) | Token::DoctypeToken(_) => *self.others.borrow_mut() += 1,
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn tokens(text: &str) -> Found {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text));
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    Found { tags: tokenizer.sink.tags.into_inner(), others: tokenizer.sink.others.into_inner() }
}
