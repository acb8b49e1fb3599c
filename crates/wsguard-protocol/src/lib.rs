//! The wire protocol `wsguard.v1`, as data.
//!
//! Three parties share this crate and share nothing else: the guard, the clients and the audit. It holds the words
//! of the protocol (frame types, error codes, close codes, limits) together with what each of them means, so that
//! the TypeScript client and the documents can be generated from it (`cargo xtask codegen`).
//!
//! The protocol itself is described in `docs/protocol.md`.
//!
//! ```
//! use wsguard_protocol::{CloseCode, ErrorCode, Reconnect};
//!
//! assert_eq!(ErrorCode::CsrfInvalid.as_str(), "csrf_invalid");
//! assert_eq!(CloseCode::Unauthenticated.number(), 4401);
//! assert_eq!(CloseCode::Forbidden.reconnect(), Reconnect::Never);
//! ```

mod close_code;
mod error_code;
pub mod frames;
pub mod limits;

pub use close_code::{CloseCode, Reconnect};
pub use error_code::ErrorCode;

/// The subprotocol that a server selects in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "wsguard.v1";

/// Prefix of the subprotocol entry that carries a token: `wsguard.bearer.TOKEN`. Never echoed by a server.
pub const SUBPROTOCOL_BEARER_PREFIX: &str = "wsguard.bearer.";

/// The subprotocol entry by which a client announces that it will resume its session; `wsguard.resume.TOKEN.LASTSEQ`
/// resumes one. Never echoed by a server.
pub const SUBPROTOCOL_RESUME: &str = "wsguard.resume";

/// The subprotocol entry by which a client asks for order and promises to send again what was refused with
/// `rate_limited`. Never echoed by a server.
pub const SUBPROTOCOL_ORDERED: &str = "wsguard.ordered";

/// The cookie that carries the token in production. The prefix binds it to the host and to HTTPS (RFC 6265bis).
pub const COOKIE_NAME: &str = "__Host-wsguard";

/// The cookie that carries the token under `--dev`, where there is no TLS and a `__Host-` cookie cannot be set.
pub const COOKIE_NAME_DEV: &str = "wsguard";

/// The path of the WebSocket endpoint of `wsguard serve`.
pub const ENDPOINT_PATH: &str = "/ws";
