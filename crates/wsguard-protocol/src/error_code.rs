//! What a peer learns when something was refused.

use std::fmt;

/// The code of an `error` frame or of a refused handshake: all that a peer learns besides a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// The text is not one strict JSON document.
    InvalidJson,
    /// The envelope or the payload is not what the schema of its type asks for.
    InvalidMessage,
    /// The message type does not exist.
    UnknownType,
    /// The CSRF token is missing, wrong or too old.
    CsrfInvalid,
    /// There is no credential, or it is not good.
    Unauthenticated,
    /// The identity may not do this.
    Forbidden,
    /// A limit is used up; `retryAfterMs` says for how long.
    RateLimited,
    /// The message is larger than the limit.
    TooLarge,
    /// The message holds a character, key or markup that is refused.
    UnsafeContent,
    /// The session or its token has ended.
    SessionExpired,
    /// What stands behind the guard cannot be reached.
    UpstreamUnavailable,
    /// The server could not do its work.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the protocol document.
    pub const ALL: [Self; 12] = [
        Self::InvalidJson,
        Self::InvalidMessage,
        Self::UnknownType,
        Self::CsrfInvalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::RateLimited,
        Self::TooLarge,
        Self::UnsafeContent,
        Self::SessionExpired,
        Self::UpstreamUnavailable,
        Self::Internal,
    ];

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage => "invalid_message",
            Self::UnknownType => "unknown_type",
            Self::CsrfInvalid => "csrf_invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::UnsafeContent => "unsafe_content",
            Self::SessionExpired => "session_expired",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::Internal => "internal",
        }
    }

    /// The `message` of an `error` frame: one generic sentence a code, the same for every cause.
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidJson => "The message is not valid JSON.",
            Self::InvalidMessage => "The message does not have the expected form.",
            Self::UnknownType => "The message type is not known.",
            Self::CsrfInvalid => "The CSRF token is missing or not valid.",
            Self::Unauthenticated => "Authentication is required.",
            Self::Forbidden => "This is not allowed.",
            Self::RateLimited => "Too many messages. Try again later.",
            Self::TooLarge => "The message is too large.",
            Self::UnsafeContent => "The message holds content that is not accepted.",
            Self::SessionExpired => "The session has ended.",
            Self::UpstreamUnavailable => "The service is not available.",
            Self::Internal => "The message could not be handled.",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_generic() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
            assert!(!code.message().contains(code.as_str()), "{code}: a sentence, not the code again");
            for other in ErrorCode::ALL.iter().skip(index + 1) {
                assert_ne!(code.as_str(), other.as_str());
            }
        }
    }
}
