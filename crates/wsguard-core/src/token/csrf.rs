//! CSRF tokens: HMACs that a page can only have from us.
//!
//! Attack: cross-site WebSocket hijacking (CWE-1385). A foreign page makes the browser send the cookie, but it can read
//! no answer of ours, so it never has the token for the first frame. The token is computed, not stored: nothing to fill
//! up, nothing to look up.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use subtle::ConstantTimeEq as _;

use super::BASE64URL;
use crate::fault::{self, Fault};

/// Length of a CSRF token in characters: 16 bytes, base64url without padding.
pub const CSRF_TOKEN_CHARS: usize = 22;

/// Bytes of the HMAC that are kept: 128 bits, beyond guessing at any rate.
const CSRF_TOKEN_BYTES: usize = 16;

// What a token is for stands first in what is hashed, with an end of its own: a token for one purpose is never one for
// the other, whatever ids and hashes coincide.
const MESSAGE_PURPOSE: &[u8] = b"wsguard csrf message v1\0";
const SESSION_PURPOSE: &[u8] = b"wsguard csrf session v1\0";
const RESUME_PURPOSE: &[u8] = b"wsguard resume v1\0";

/// The secret under which CSRF tokens are computed. Mute in `Debug`.
///
/// One for all servers that share sessions; a new one makes every token stale, and clients fetch new ones.
#[derive(Clone)]
pub struct CsrfKey(hmac::Key);

/// One CSRF token, [`CSRF_TOKEN_CHARS`] ASCII characters, stored inline.
///
/// No `PartialEq`: compare what a peer sent with [`CsrfToken::matches`], in constant time. Mute in `Debug`.
#[derive(Clone, Copy)]
pub struct CsrfToken([u8; CSRF_TOKEN_CHARS]);

impl CsrfKey {
    /// Makes the key from 32 random bytes, which come from the driver.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Computes the token that messages of a session carry during `epoch`.
    ///
    /// Cost: one HMAC; keep the result for the epoch rather than compute it for each message. During rotation accept
    /// the tokens of two epochs.
    ///
    /// # Specification
    /// contract "CSRF": per-message tokens are bound to session and epoch
    pub fn per_message(&self, session_id: &[u8; 16], epoch: u32) -> CsrfToken {
        let session = if fault::is_on(Fault::CsrfOfAnySession) { &[0; 16] } else { session_id };
        self.token(MESSAGE_PURPOSE, session, epoch)
    }

    /// Computes the token that `POST /ws/session` hands out and the first frame of a cookie connection proves itself
    /// with, during `epoch`.
    ///
    /// `cookie_token_fingerprint`: [`super::fingerprint`] of the cookie's token, so that the token of one login is
    /// worth nothing for another.
    pub fn pre_session(&self, cookie_token_fingerprint: &[u8; 32], epoch: u32) -> CsrfToken {
        let cookie = if fault::is_on(Fault::ProofOfAnyCookie) { &[0; 32] } else { cookie_token_fingerprint };
        self.token(SESSION_PURPOSE, cookie, epoch)
    }

    /// Computes the proof in a resume token: that this server gave number `generation` of the session's tokens to
    /// `subject`.
    pub(crate) fn resume(&self, session_id: &[u8; 16], generation: u32, subject: &str) -> [u8; CSRF_TOKEN_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(RESUME_PURPOSE);
        context.update(session_id);
        context.update(&generation.to_be_bytes());
        // Last, since it alone has no fixed length.
        context.update(subject.as_bytes());
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn token(&self, purpose: &[u8], binding: &[u8], epoch: u32) -> CsrfToken {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(binding);
        context.update(&epoch.to_be_bytes());
        let tag = context.sign();
        let kept = tag.as_ref().get(..CSRF_TOKEN_BYTES).unwrap_or_default();
        let mut characters = [0; CSRF_TOKEN_CHARS];
        let written = BASE64URL.encode_slice(kept, &mut characters);
        debug_assert_eq!(written, Ok(CSRF_TOKEN_CHARS));
        CsrfToken(characters)
    }
}

impl CsrfToken {
    /// Returns the characters.
    pub fn as_str(&self) -> &str {
        // Base64url is ASCII, so the other branch is never taken; an empty string would match nothing.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns whether `offered` is this token. Takes the same time wherever they differ; a wrong length, which tells
    /// nothing, is answered at once.
    #[inline]
    pub fn matches(&self, offered: impl AsRef<[u8]>) -> bool {
        let offered: Result<&[u8; CSRF_TOKEN_CHARS], _> = offered.as_ref().try_into();
        offered.is_ok_and(|offered| {
            let (mine, theirs) = (words(&self.0), words(offered));
            let differences = mine.iter().zip(theirs).fold(0, |found, (mine, theirs)| found | (mine ^ theirs));
            differences.ct_eq(&0).into()
        })
    }
}

/// A token as three words, the last two overlapping: compared like its bytes, in an eighth of the steps.
#[inline]
fn words(token: &[u8; CSRF_TOKEN_CHARS]) -> [u64; 3] {
    let word = |from: usize| token.get(from..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_le_bytes);
    [word(0), word(8), word(CSRF_TOKEN_CHARS - 8)]
}

impl fmt::Debug for CsrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfKey(..)")
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes `first`, `first + 1`, ...
    fn counting<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|at| first.checked_add(u8::try_from(at).unwrap()).unwrap())
    }

    #[test]
    fn tokens_are_those_of_another_implementation() {
        // Computed with Python's hmac over purpose || binding || epoch (big-endian), first 16 bytes.
        let key = CsrfKey::new(&counting(0));
        assert_eq!(key.per_message(&counting(0), 7).as_str(), "WDY7tub2IO5V43RgBDcjVg");
        assert_eq!(key.pre_session(&counting(32), 7).as_str(), "eGnoRddABPp7QOVDfleyFw");
    }

    #[test]
    fn only_the_same_key_purpose_binding_and_epoch_match() {
        let key = CsrfKey::new(&[1; 32]);
        let session = [2; 16];
        let token = key.per_message(&session, 3);
        let mut other_session = session;
        other_session[15] ^= 1;
        for (name, offered, want) in [
            ("same", key.per_message(&session, 3), true),
            ("other epoch", key.per_message(&session, 4), false),
            ("other session", key.per_message(&other_session, 3), false),
            ("other key", CsrfKey::new(&[9; 32]).per_message(&session, 3), false),
            ("other purpose", key.pre_session(&[2; 32], 3), false),
        ] {
            assert_eq!(token.matches(offered.as_str()), want, "{name}");
        }
    }

    #[test]
    fn near_misses_do_not_match() {
        let token = CsrfKey::new(&[1; 32]).per_message(&[2; 16], 3);
        let good = token.as_str().to_owned();
        assert!(token.matches(&good));
        for (name, offered) in [
            ("empty", String::new()),
            ("one character less", good.get(..21).unwrap().to_owned()),
            ("one character more", format!("{good}A")),
            ("padded", format!("{good}==")),
            ("white space", format!(" {good}")),
            ("other case", good.to_ascii_uppercase()),
            ("another alphabet of the same length", "é".repeat(11)),
        ] {
            assert!(!token.matches(&offered), "{name}");
        }
        for at in 0..CSRF_TOKEN_CHARS {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(!token.matches(std::str::from_utf8(&bytes).unwrap()), "character {at}");
        }
    }

    #[test]
    fn debug_is_mute() {
        let key = CsrfKey::new(&[0x41; 32]);
        assert_eq!(format!("{key:?} {:?}", key.per_message(&[0; 16], 0)), "CsrfKey(..) CsrfToken(..)");
    }
}
