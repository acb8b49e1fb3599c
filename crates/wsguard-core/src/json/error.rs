//! Why a text is not accepted.

use std::fmt;

/// A text that the scanner does not accept, and the byte where it noticed.
///
/// Holds no part of the text, so that it may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanError {
    pub(super) kind: ScanErrorKind,
    pub(super) offset: u32,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// Not a JSON text (RFC 8259 §2): also a byte order mark, data after the value, a raw control character in a string.
    Grammar,
    /// Larger than [`ScanLimits`](super::ScanLimits) allows.
    Limit(Limit),
    /// Two members of one object have the same key after unescaping (RFC 8259 §4 leaves open which of them counts).
    DuplicateKey,
    /// An escape names half of a surrogate pair (RFC 8259 §8.2: unpredictable).
    LoneSurrogate,
    /// A number beyond the range of a double, such as `1e400`.
    NumberNotFinite,
    /// A string or key holds U+007F or an escaped control character other than TAB, LF, FF and CR.
    UnsafeCharacter,
    /// A key `__proto__`, or a key `prototype` in the object under a key `constructor` (CWE-1321).
    PrototypeKey,
}

/// The limit that a text exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of the text: at most 2^32 - 1, whatever is configured.
    Text,
    /// [`ScanLimits::depth`](super::ScanLimits::depth).
    Depth,
    /// [`ScanLimits::nodes`](super::ScanLimits::nodes).
    Nodes,
    /// [`ScanLimits::members`](super::ScanLimits::members).
    Members,
    /// [`ScanLimits::items`](super::ScanLimits::items).
    Items,
    /// [`ScanLimits::key_bytes`](super::ScanLimits::key_bytes).
    KeyBytes,
    /// [`ScanLimits::number_bytes`](super::ScanLimits::number_bytes).
    NumberBytes,
}

impl ScanError {
    /// What is wrong.
    pub const fn kind(self) -> ScanErrorKind {
        self.kind
    }

    /// The byte of the text at which the scanner gave up; for a duplicate key in a large object, the end of that object.
    pub const fn offset(self) -> usize {
        self.offset as usize
    }
}

impl ScanErrorKind {
    /// The name for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grammar => "grammar",
            Self::Limit(Limit::Text) => "limit_text",
            Self::Limit(Limit::Depth) => "limit_depth",
            Self::Limit(Limit::Nodes) => "limit_nodes",
            Self::Limit(Limit::Members) => "limit_members",
            Self::Limit(Limit::Items) => "limit_items",
            Self::Limit(Limit::KeyBytes) => "limit_key_bytes",
            Self::Limit(Limit::NumberBytes) => "limit_number_bytes",
            Self::DuplicateKey => "duplicate_key",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NumberNotFinite => "number_not_finite",
            Self::UnsafeCharacter => "unsafe_character",
            Self::PrototypeKey => "prototype_key",
        }
    }

    /// Whether the text is JSON whose content is hostile (`unsafe_content`); otherwise it is `invalid_json`.
    pub const fn is_unsafe_content(self) -> bool {
        matches!(self, Self::UnsafeCharacter | Self::PrototypeKey)
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read JSON: {} at byte {}", self.kind.as_str(), self.offset)
    }
}

impl std::error::Error for ScanError {}
