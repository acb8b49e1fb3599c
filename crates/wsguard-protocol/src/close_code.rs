//! Why a connection ended, and whether a client comes back.

use std::fmt;

/// A close code that wsguard sends (RFC 6455 section 7.4; 4000 to 4999 are private use).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    Normal,
    /// 1001: the server goes away (drain).
    GoingAway,
    /// 1002: the peer broke RFC 6455.
    ProtocolError,
    /// 1003: a binary message; only text is understood.
    Unsupported,
    /// 1007: text that is not UTF-8.
    InvalidUtf8,
    /// 1008: repeated violation of policy.
    PolicyViolation,
    /// 1009: a message larger than the limit.
    TooBig,
    /// 1011: the server could not do its work.
    InternalError,
    /// 1012: the server restarts.
    Restart,
    /// 1013: the server is full, or the peer does not read what is sent to it.
    TryLater,
    /// 4401: not authenticated, or the token ended.
    Unauthenticated,
    /// 4403: forbidden, revoked, or the subject changed.
    Forbidden,
    /// 4408: no first message in time, idle, or no sign of life.
    TimedOut,
    /// 4409: resumed elsewhere, or too many sessions of this subject.
    Replaced,
    /// 4429: the rate penalties are used up.
    RateLimited,
}

/// What a client does after a close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconnect {
    /// Stays away: the same would happen again.
    Never,
    /// Comes back, backing off.
    BackOff,
    /// Comes back once, with a fresh token.
    OnceWithFreshToken,
    /// Comes back after `retryAfterMs` of the last `error` frame.
    AfterRetryAfter,
}

impl CloseCode {
    /// Every code, by number.
    pub const ALL: [Self; 15] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::PolicyViolation,
        Self::TooBig,
        Self::InternalError,
        Self::Restart,
        Self::TryLater,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TimedOut,
        Self::Replaced,
        Self::RateLimited,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::Unsupported => 1003,
            Self::InvalidUtf8 => 1007,
            Self::PolicyViolation => 1008,
            Self::TooBig => 1009,
            Self::InternalError => 1011,
            Self::Restart => 1012,
            Self::TryLater => 1013,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::TimedOut => 4408,
            Self::Replaced => 4409,
            Self::RateLimited => 4429,
        }
    }

    /// The name that documents and generated code use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::ProtocolError => "protocol_error",
            Self::Unsupported => "unsupported",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::PolicyViolation => "policy_violation",
            Self::TooBig => "too_big",
            Self::InternalError => "internal_error",
            Self::Restart => "restart",
            Self::TryLater => "try_later",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TimedOut => "timed_out",
            Self::Replaced => "replaced",
            Self::RateLimited => "rate_limited",
        }
    }

    /// What a client does after this code.
    pub const fn reconnect(self) -> Reconnect {
        match self {
            Self::Normal
            | Self::ProtocolError
            | Self::Unsupported
            | Self::InvalidUtf8
            | Self::PolicyViolation
            | Self::TooBig
            | Self::Forbidden
            | Self::Replaced => Reconnect::Never,
            Self::GoingAway | Self::InternalError | Self::Restart | Self::TryLater | Self::TimedOut => {
                Reconnect::BackOff
            }
            Self::Unauthenticated => Reconnect::OnceWithFreshToken,
            Self::RateLimited => Reconnect::AfterRetryAfter,
        }
    }
}

impl Reconnect {
    /// The word in vectors and generated code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::BackOff => "back_off",
            Self::OnceWithFreshToken => "once_with_fresh_token",
            Self::AfterRetryAfter => "after_retry_after",
        }
    }
}

impl fmt::Display for CloseCode {
    /// Writes the number and the name, as in `4403 forbidden`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_the_ranges_that_may_travel() {
        // RFC 6455 section 7.4.1 and 7.4.2; 1004, 1005, 1006 and 1015 never appear on the wire.
        for code in CloseCode::ALL {
            let number = code.number();
            assert!(matches!(number, 1000..=1003 | 1007..=1014 | 4000..=4999), "{code}");
        }
        assert!(CloseCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }
}
