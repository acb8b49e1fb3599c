//! Why a peer's frames are refused: one variant per cause.

use thiserror::Error;

/// What a peer did wrong. The connection ends with [`close_code`](Self::close_code); the text is for operators only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A client frame without a mask (RFC 6455 section 5.1).
    #[error("read a frame: the client did not mask it")]
    Unmasked,
    /// RSV1, RSV2 or RSV3 without a negotiated extension (section 5.2).
    #[error("read a frame: a reserved bit is set and no extension was negotiated")]
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15 (section 5.2).
    #[error("read a frame: its opcode is reserved")]
    ReservedOpcode,
    /// A close, ping or pong without FIN (section 5.5).
    #[error("read a frame: a control frame is fragmented")]
    ControlFragmented,
    /// A close, ping or pong of more than 125 bytes (section 5.5).
    #[error("read a frame: a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A length in more bytes than it needs (section 5.2): a disguise that parsers disagree about.
    #[error("read a frame: its length is not encoded in the fewest bytes")]
    LengthNotMinimal,
    /// A 64-bit length with its top bit set (section 5.2).
    #[error("read a frame: the top bit of its length is set")]
    LengthTopBit,
    /// A continuation while no message is unfinished (section 5.4).
    #[error("read a frame: it continues a message that was never begun")]
    ContinuationWithoutStart,
    /// A new message while another one is unfinished (section 5.4).
    #[error("read a frame: a message begins inside an unfinished one")]
    DataInsideMessage,
    /// Text that is not UTF-8, noticed at the first wrong byte (section 8.1).
    #[error("read a text message: it is not UTF-8")]
    InvalidUtf8,
    /// The declared length of a frame, or of a message's fragments together, is above the limit.
    #[error("read a message: its declared length is above the limit")]
    TooBig,
    /// More fragments than the limit, empty ones counted.
    #[error("read a message: it has more fragments than the limit")]
    TooManyFragments,
    /// Pings and pongs faster than the limit.
    #[error("read a frame: control frames come faster than the limit")]
    ControlFlood,
    /// A binary message where only text is spoken.
    #[error("read a message: it is binary, and only text is accepted")]
    BinaryRefused,
    /// A close frame with a body of one byte, half a code (section 5.5.1).
    #[error("read a close frame: its body is one byte")]
    CloseBodyOneByte,
    /// A close code that must not be sent (section 7.4).
    #[error("read a close frame: its code may not be sent")]
    CloseCodeInvalid,
    /// A close reason that is not UTF-8 (section 5.5.1).
    #[error("read a close frame: its reason is not UTF-8")]
    CloseReasonInvalid,
}

impl FrameError {
    /// Every cause once, for tables in documents and metrics.
    pub const ALL: [Self; 17] = [
        Self::Unmasked,
        Self::ReservedBits,
        Self::ReservedOpcode,
        Self::ControlFragmented,
        Self::ControlTooLong,
        Self::LengthNotMinimal,
        Self::LengthTopBit,
        Self::ContinuationWithoutStart,
        Self::DataInsideMessage,
        Self::InvalidUtf8,
        Self::TooBig,
        Self::TooManyFragments,
        Self::ControlFlood,
        Self::BinaryRefused,
        Self::CloseBodyOneByte,
        Self::CloseCodeInvalid,
        Self::CloseReasonInvalid,
    ];

    /// The code of the close frame that answers this fault (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Unmasked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ContinuationWithoutStart
            | Self::DataInsideMessage
            | Self::CloseBodyOneByte
            | Self::CloseCodeInvalid => 1002,
            Self::BinaryRefused => 1003,
            Self::InvalidUtf8 | Self::CloseReasonInvalid => 1007,
            Self::TooManyFragments | Self::ControlFlood => 1008,
            Self::TooBig => 1009,
        }
    }

    /// The name of this cause in logs and metrics: lower case, words joined by `_`, stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmasked => "frame_unmasked",
            Self::ReservedBits => "frame_reserved_bits",
            Self::ReservedOpcode => "frame_reserved_opcode",
            Self::ControlFragmented => "frame_control_fragmented",
            Self::ControlTooLong => "frame_control_too_long",
            Self::LengthNotMinimal => "frame_length_not_minimal",
            Self::LengthTopBit => "frame_length_top_bit",
            Self::ContinuationWithoutStart => "frame_continuation_without_start",
            Self::DataInsideMessage => "frame_data_inside_message",
            Self::InvalidUtf8 => "message_invalid_utf8",
            Self::TooBig => "message_too_big",
            Self::TooManyFragments => "message_too_many_fragments",
            Self::ControlFlood => "frame_control_flood",
            Self::BinaryRefused => "message_binary_refused",
            Self::CloseBodyOneByte => "close_body_one_byte",
            Self::CloseCodeInvalid => "close_code_invalid",
            Self::CloseReasonInvalid => "close_reason_invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::frame::is_wire_close_code;

    #[test]
    fn causes_have_names_of_their_own_and_codes_that_may_be_sent() {
        let names: HashSet<&str> = FrameError::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(names.len(), FrameError::ALL.len());
        for cause in FrameError::ALL {
            assert!(is_wire_close_code(cause.close_code()), "{cause:?}");
        }
    }
}
