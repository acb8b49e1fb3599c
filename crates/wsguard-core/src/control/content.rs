//! Makes the markup of a checked payload harmless, as its schema asks, and writes the canonical form.
//!
//! Attack: text of one peer that another peer's page assigns to `innerHTML` (CWE-79). A message without any `<` pays
//! nothing: the scan has counted.
//!
//! # Specification
//! docs/protocol.md section 4

use crate::effect::{Accepted, Scratch};
use crate::json::{Document, NodeId, Value};
use crate::markup::{self, Cleaned, Neutralised};
use crate::policy::MessageType;
use crate::schema::ContentClass;
use crate::verdict::Reason;

/// Strings of class `html` with markup that one message may hold. 256: each is parsed twice, some 3 us at least, so that a
/// message costs 2 ms beside what the limits of each string allow.
pub(crate) const HTML_STRINGS_MAX: usize = 256;

/// Writes a payload that its schema's classes would have refused, every string with markup neutralised as `text`: what a
/// content control in shadow lets pass. Markup in a key cannot be made harmless and is refused even so.
pub(crate) fn write_neutralised(
    payload: Value<'_>,
    (accepted, scratch): (&mut Accepted, &mut Scratch),
) -> Result<(), Reason> {
    let mut replaced: Vec<(NodeId, String)> = Vec::new();
    for value in payload.subtree().filter(|value| value.has_markup()) {
        scratch.text.clear();
        value.unescape_into(&mut scratch.text);
        if markup::neutralise(&scratch.text, &mut scratch.cleaned) == Neutralised::Changed {
            if value.is_key() {
                return Err(Reason::from("markup_in_key"));
            }
            replaced.push((value.id(), scratch.cleaned.clone()));
        }
    }
    replaced.sort_unstable_by_key(|(node, _)| *node);
    accepted.neutralised = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
    accepted.payload.set(payload, &replaced);
    Ok(())
}

/// Writes the canonical form of the checked payload at `id`, its markup made harmless as its schema asks. One without
/// markup may be kept as it stands, with its nodes on the tape.
#[inline(always)]
#[expect(clippy::inline_always, reason = "called from one place, with what is taken apart there")]
pub(crate) fn write_checked(
    default: ContentClass,
    message: &MessageType,
    document: Document<'_>,
    id: NodeId,
    (accepted, scratch): (&mut Accepted, &mut Scratch),
) -> Result<(), Reason> {
    if document.markup_strings() == 0 && document.markup_keys() == 0 {
        accepted.payload.keep(document, id);
        return Ok(());
    }
    let payload = document.value(id).ok_or(Reason::from("payload_unplaced"))?;
    write_clean(default, message, document, payload, (accepted, scratch))
}

#[inline(never)]
fn write_clean(
    default: ContentClass,
    message: &MessageType,
    document: Document<'_>,
    payload: Value<'_>,
    (accepted, scratch): (&mut Accepted, &mut Scratch),
) -> Result<(), Reason> {
    if document.markup_keys() > 0 {
        for key in payload.subtree().filter(|value| value.is_key() && value.has_markup()) {
            scratch.text.clear();
            key.unescape_into(&mut scratch.text);
            if !markup::is_harmless(&scratch.text) {
                return Err(Reason::from("markup_in_key"));
            }
        }
    }
    scratch.classes.clear();
    message.schema().content_classes(payload, default, &mut scratch.classes);
    let mut replaced: Vec<(NodeId, String)> = Vec::new();
    let mut cleaned = 0_usize;
    for (node, class) in &scratch.classes {
        let Some(value) = document.value(*node) else {
            return Err(Reason::from("markup_unplaced"));
        };
        scratch.text.clear();
        value.unescape_into(&mut scratch.text);
        match class {
            ContentClass::Raw => {}
            ContentClass::Reject if markup::is_harmless(&scratch.text) => {}
            ContentClass::Reject => {
                return Err(Reason::with("markup_refused", payload.pointer_to(*node)));
            }
            ContentClass::Text => {
                if markup::neutralise(&scratch.text, &mut scratch.cleaned) == Neutralised::Changed {
                    replaced.push((*node, scratch.cleaned.clone()));
                }
            }
            ContentClass::Html if cleaned >= HTML_STRINGS_MAX => {
                return Err(Reason::with("html_too_complex", format!("more than {HTML_STRINGS_MAX} strings")));
            }
            ContentClass::Html => match markup::clean_html(&scratch.text, &mut scratch.cleaned) {
                Ok(Cleaned::Untouched) => cleaned = cleaned.saturating_add(1),
                Ok(Cleaned::Changed) => {
                    cleaned = cleaned.saturating_add(1);
                    replaced.push((*node, scratch.cleaned.clone()));
                }
                Err(_) => return Err(Reason::with("html_too_complex", payload.pointer_to(*node))),
            },
        }
    }
    replaced.sort_unstable_by_key(|(node, _)| *node);
    accepted.neutralised = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
    accepted.payload.set(payload, &replaced);
    Ok(())
}
