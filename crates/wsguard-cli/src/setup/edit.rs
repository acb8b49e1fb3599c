//! Changes to files that others wrote: as few lines as will do, in the form that the file has. What cannot be changed
//! safely is not touched; the lines are shown instead.

pub(crate) mod cargo;
pub(crate) mod config;
pub(crate) mod ignore;
pub(crate) mod package;
pub(crate) mod page;
pub(crate) mod rust;

/// What became of an edit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// The new text.
    Changed(String),
    /// It says all that is needed already.
    Same,
    /// It has a form that is not known well enough: what to do by hand.
    ByHand(String),
}

/// Text of a file with every line ending of ours made into the file's own.
fn like(original: &str, text: &str) -> String {
    if original.contains("\r\n") { text.replace('\n', "\r\n") } else { text.to_owned() }
}
