//! The limits that are part of the protocol: both ends know them.
//!
//! Limits that only one side keeps stand beside the code that keeps them; `docs/operations.md` lists all.

/// Largest message after reassembly, in bytes. Larger ones are refused at the frame header with 1009.
///
/// 64 KiB is the usual limit for JSON over WebSocket (OWASP WebSocket Security Cheat Sheet) and bounds what one
/// connection can make the server hold.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// Largest first message of a connection that is not authenticated yet, in bytes. A token fits; a flood does not.
pub const FIRST_MESSAGE_BYTES_MAX: usize = 8_192;

/// Longest `id` that is a string, in characters.
pub const ID_CHARS_MAX: usize = 64;

/// Largest `id` that is an integer: 2^53 - 1, the largest that every JSON implementation holds exactly (RFC 8259
/// section 6).
pub const ID_INTEGER_MAX: u64 = 9_007_199_254_740_991;

/// Ids that a server remembers at least, so that a message which is sent again is not handled twice.
pub const ID_WINDOW: usize = 1_024;

/// Time after which a server may forget an id all the same, in milliseconds: well beyond the longest wait for an `ack`.
pub const ID_WINDOW_MS: u64 = 5 * 60_000;

/// Longest message type, in bytes.
pub const TYPE_BYTES_MAX: usize = 64;

/// Time that the previous CSRF token stays good after a rotation, in milliseconds: a message that was already on its
/// way when the token rotated still passes.
pub const CSRF_GRACE_MS: u64 = 60_000;

/// Time before the end of a token at which `auth.expiring` is sent, in milliseconds; a fifth of the token's life where
/// that is shorter.
pub const AUTH_EXPIRING_MS: u64 = 60_000;

/// Longest room name, in characters.
pub const ROOM_CHARS_MAX: usize = 64;

/// Longest chat message, in characters.
pub const CHAT_CHARS_MAX: usize = 4_000;

/// Least time between two `ack` frames of a client, in milliseconds.
pub const CLIENT_ACK_INTERVAL_MS: u64 = 200;
