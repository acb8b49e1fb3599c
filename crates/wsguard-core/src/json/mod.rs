//! Strict JSON: one scan to a tape of spans, and the canonical form.
//!
//! Attack: two parsers that read one text differently. Whoever checks a message with parser A and acts on it with parser B
//! can be told two stories (duplicate keys, lone surrogates, numbers that round, `\u0000` in keys; CWE-436). So the scanner
//! accepts only texts that every conforming parser reads alike, and [`write_canonical`] writes what was checked, which is
//! what the application receives: never the peer's own bytes past a check of something else.
//!
//! [`scan()`] reads a text once and fills a [`Tape`]: flat nodes of 16 bytes that point into the text. Nothing is copied and, once
//! a tape has grown to its working size, nothing is allocated. [`Document`] and [`Value`] are cursors over text and tape.
//!
//! ```
//! use wsguard_core::json::{self, ScanLimits, Tape};
//!
//! let mut tape = Tape::new();
//! let document = json::scan(r#"{ "type": "chat", "id": 17 }"#, &ScanLimits::default(), &mut tape)?;
//! for member in document.root().members() {
//!     if member.key.str_eq("id") {
//!         assert_eq!(member.value.as_u64_exact(), Some(17));
//!     }
//! }
//! let mut canonical = Vec::new();
//! json::write_canonical(document.root(), &mut canonical);
//! assert_eq!(canonical, br#"{"type":"chat","id":17}"#);
//! # Ok::<(), json::ScanError>(())
//! ```

mod canonical;
mod error;
mod limits;
mod recall;
mod scan;
mod string;
mod tape;
mod value;

pub use canonical::{write_canonical, write_canonical_with, write_string};
pub use error::{Limit, ScanError, ScanErrorKind};
pub use limits::ScanLimits;
pub use scan::scan;
pub use string::Unescaped;
pub use tape::{NodeId, Tape};
pub use value::{Document, Items, Kind, Member, Members, Value};

pub(crate) use canonical::{Canonical, canonical_text};
pub(crate) use recall::SHAPES;
pub(crate) use scan::read;
pub(crate) use string::key_print;
pub(crate) use tape::{ESCAPED, Node, Shape, Tag};
