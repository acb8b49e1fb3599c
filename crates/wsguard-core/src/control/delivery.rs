//! Delivery: what was handled is not handled twice, what was sent is not lost with a socket.
//!
//! Three parts. `seen` remembers the ids of handled messages, so that what a client sends again after a lost `ack` is
//! acknowledged and not handled. `replay` keeps what was sent to a client that announced a resume until the client
//! has it. `claim` makes and reads the tokens with which a new connection asks for the session of a lost one.
//!
//! Attacks: replay of a captured message on the same session (CWE-294), a session taken over by whoever learns its name
//! (CWE-384: a claim is bound to the subject and comes only behind a verified credential), memory of a peer's making
//! (CWE-770: every part is bounded, and nothing is allocated before the first id or the announcement).
//!
//! # Specification
//! docs/protocol.md section 3, "Delivery"

mod claim;
mod encoded;
mod replay;
mod seen;

pub use claim::{Claim, RESUME_TOKEN_CHARS, ResumeMalformed, ResumeRequest};
pub use encoded::{Encoded, Opening};
pub use replay::{FRAME_OVERHEAD_BYTES, ReplayPool};
pub use seen::UNDER_WAY_MAX;

pub(crate) use claim::{payload as resume_in_payload, token as resume_token};
pub(crate) use encoded::CLOSING;
pub(crate) use replay::{Replay, ReplayLimits};
pub(crate) use seen::{Look, Seen};

/// What one session keeps for delivery. A session that never saw an id and announced nothing has none.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) seen: Seen,
    pub(crate) replay: Option<Box<Replay>>,
}
