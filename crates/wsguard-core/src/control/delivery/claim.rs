//! Resume tokens: the name of a session, which of its tokens this is, and a proof that this server gave it to this
//! subject.
//!
//! Nothing is stored for a token: the proof is an HMAC under a key of this run, over session, generation and subject. A
//! token opens nothing by itself, since it is looked at only behind a verified credential of the same subject.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use wsguard_protocol::limits::ID_INTEGER_MAX;

use crate::control::session::SessionId;
use crate::fault::{self, Fault};
use crate::json::Value;
use crate::token::CsrfKey;

/// Length of a resume token in characters: 36 bytes, base64url without padding.
pub const RESUME_TOKEN_CHARS: usize = 48;

/// Longest text that is read as a resume token; another server's may have another length.
const TOKEN_CHARS_MAX: usize = 128;

const TOKEN_BYTES: usize = 36;

/// The session that a connection asks for, proved to have been given to its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    pub(crate) generation: u32,
}

/// What a client says about resuming beside its credential. That it says anything announces that it will come back.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeRequest {
    token: Offered,
    /// The last `seq` that the client has.
    pub last_seq: u64,
}

#[derive(Clone, PartialEq, Eq)]
enum Offered {
    /// There is nothing to go on with yet.
    Nothing,
    /// A token that this version did not make.
    Foreign,
    Token([u8; TOKEN_BYTES]),
}

/// A request to resume that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a resume token of base64url characters and the last seq, 0 to 2^53 - 1")]
pub struct ResumeMalformed;

impl ResumeRequest {
    /// Announces that the client will come back.
    pub fn announce() -> Self {
        Self { token: Offered::Nothing, last_seq: 0 }
    }

    /// Asks for the session that `token` names; `last_seq` is the last frame that the client has.
    ///
    /// # Errors
    /// The token has other characters than base64url or a strange length, or the number is too large for one.
    pub fn new(token: &str, last_seq: u64) -> Result<Self, ResumeMalformed> {
        let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !plain || !(1..=TOKEN_CHARS_MAX).contains(&token.len()) || last_seq > ID_INTEGER_MAX {
            return Err(ResumeMalformed);
        }
        let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self { token: decoded.map_or(Offered::Foreign, Offered::Token), last_seq })
    }

    /// Reads the rest of a subprotocol entry behind `wsguard.resume`: nothing, or `.TOKEN.LASTSEQ`.
    pub(crate) fn from_entry(rest: &str) -> Result<Self, ResumeMalformed> {
        if rest.is_empty() {
            return Ok(Self::announce());
        }
        let (token, number) = rest.strip_prefix('.').and_then(|rest| rest.split_once('.')).ok_or(ResumeMalformed)?;
        // One spelling: digits without a leading zero.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
        match number.parse() {
            Ok(last_seq) if plain => Self::new(token, last_seq),
            _ => Err(ResumeMalformed),
        }
    }

    /// Whether the client asks for a session, rather than announce that it may do so later.
    pub fn asks(&self) -> bool {
        self.token != Offered::Nothing
    }

    /// The session asked for, where the token is one that was given to `subject`.
    pub(crate) fn claim(&self, key: &CsrfKey, subject: &str) -> Option<Claim> {
        let Offered::Token(bytes) = &self.token else {
            return None;
        };
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (generation, proof) = rest.split_first_chunk::<4>()?;
        let claim = Claim { session: SessionId(*id), generation: u32::from_be_bytes(*generation) };
        let good = key.resume(id, claim.generation, subject);
        (bool::from(good.ct_eq(proof)) || fault::is_on(Fault::ClaimOfAnybody)).then_some(claim)
    }
}

impl fmt::Debug for ResumeRequest {
    /// Writes no token: it is a secret, if a small one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeRequest")
            .field("asks", &self.asks())
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}

/// The token number `generation` of `session`, good for `subject` alone.
pub(crate) fn token(key: &CsrfKey, session: SessionId, generation: u32, subject: &str) -> String {
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.extend_from_slice(&session.0);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(&key.resume(&session.0, generation, subject));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads `token`, `resumeToken` and `lastSeq` from the payload of `auth`; another member is an error.
pub(crate) fn payload(payload: Option<Value<'_>>) -> Result<(Option<&str>, Option<ResumeRequest>), ResumeMalformed> {
    let Some(payload) = payload else {
        return Ok((None, None));
    };
    if !payload.is_object() {
        return Err(ResumeMalformed);
    }
    let (mut token, mut resume, mut last_seq) = (None, None, None);
    for member in payload.members() {
        if member.key.str_eq("token") {
            token = Some(member.value.as_plain_str().ok_or(ResumeMalformed)?);
        } else if member.key.str_eq("resumeToken") {
            resume = Some(member.value.as_plain_str().ok_or(ResumeMalformed)?);
        } else if member.key.str_eq("lastSeq") {
            last_seq = Some(member.value.as_u64_exact().ok_or(ResumeMalformed)?);
        } else {
            return Err(ResumeMalformed);
        }
    }
    let resume = match (resume, last_seq) {
        (Some(resume), last_seq) => Some(ResumeRequest::new(resume, last_seq.unwrap_or(0))?),
        (None, Some(_)) => Some(ResumeRequest::announce()),
        (None, None) => None,
    };
    Ok((token, resume))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_form() {
        let token = "A".repeat(RESUME_TOKEN_CHARS);
        for (name, rest, good) in [
            ("announcement", String::new(), true),
            ("token and number", format!(".{token}.17"), true),
            ("from the beginning", format!(".{token}.0"), true),
            ("largest number", format!(".{token}.9007199254740991"), true),
            ("of another length", ".abc.1".to_owned(), true),
            ("larger number", format!(".{token}.9007199254740992"), false),
            ("no number", format!(".{token}"), false),
            ("empty number", format!(".{token}."), false),
            ("sign", format!(".{token}.+1"), false),
            ("leading zero", format!(".{token}.01"), false),
            ("hexadecimal", format!(".{token}.0x1"), false),
            ("two numbers", format!(".{token}.1.2"), false),
            ("no token", "..1".to_owned(), false),
            ("padding", format!(".{token}=.1"), false),
            ("glued to the name", format!("{token}.1"), false),
            ("too long", format!(".{}.1", "A".repeat(129)), false),
        ] {
            assert_eq!(ResumeRequest::from_entry(&rest).is_ok(), good, "{name}: {rest}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_subject_session_and_generation() {
        let key = CsrfKey::new(&[3; 32]);
        let id = SessionId([9; 16]);
        let text = token(&key, id, 4, "ann");
        assert_eq!(text.len(), RESUME_TOKEN_CHARS);
        let claim = |text: &str, key: &CsrfKey, subject| ResumeRequest::new(text, 0).unwrap().claim(key, subject);
        assert_eq!(claim(&text, &key, "ann"), Some(Claim { session: id, generation: 4 }));
        assert_eq!(claim(&text, &key, "bob"), None, "another subject");
        assert_eq!(claim(&text, &CsrfKey::new(&[4; 32]), "ann"), None, "another server");
        for place in 0..RESUME_TOKEN_CHARS {
            let mut letters: Vec<char> = text.chars().collect();
            letters[place] = if letters[place] == 'A' { 'B' } else { 'A' };
            let changed: String = letters.into_iter().collect();
            assert_eq!(claim(&changed, &key, "ann"), None, "character {place}");
        }
        assert!(!format!("{:?}", ResumeRequest::new(&text, 0)).contains(&text), "Debug is mute");
    }
}
