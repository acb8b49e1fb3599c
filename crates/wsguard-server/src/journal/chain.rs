//! The chain through the log: every line ends with its number and a hash over the line and the hash before it.
//!
//! Attack: someone who can write the file changes, removes, adds or reorders lines to hide what was done (CWE-117,
//! CWE-778). A changed line no longer fits its hash; a line that is gone leaves a gap in the numbers and breaks the hash
//! of the next. The hash alone has no secret: who rewrites every line from there on can compute it. That is what the
//! signed checkpoints are for ([`super::checkpoint`]).
//!
//! A line is a JSON object whose last members are, in this order: on the first line of a file `wsguard.log.prev` (the
//! hash of the line before it, in another file), then `wsguard.log.seq` (from 1) and `wsguard.log.hash`: 64 hexadecimal
//! digits of SHA-256 over the 32 bytes of the previous hash and the line's bytes up to, not including, the comma before
//! `"wsguard.log.hash"`.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

/// A hash of the chain.
pub(super) type Hash = [u8; 32];

/// What stands before the digits of the hash.
const HASH_MEMBER: &str = ",\"wsguard.log.hash\":\"";
const SEQ_MEMBER: &str = "\"wsguard.log.seq\":";
const PREV_MEMBER: &str = "\"wsguard.log.prev\":\"";

/// Bytes behind the hashed part of a line: the member's name, 64 digits, a quotation mark and a brace.
const SUFFIX_BYTES: usize = HASH_MEMBER.len() + 64 + 2;

/// Where the chain stands: number and hash of its last line. Before the first line both are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) head: Hash,
}

impl Chain {
    /// Ends `line`, a JSON object without an end of line, with its place in the chain. `opens_file`: the line also says
    /// what stood before it, so that a file can be verified alone.
    pub(super) fn seal(&mut self, line: &mut String, opens_file: bool) {
        self.seq = self.seq.saturating_add(1);
        let brace = line.pop();
        debug_assert_eq!(brace, Some('}'), "a line is a JSON object");
        // Writing to a String does not fail.
        if opens_file {
            let _ = write!(line, ",{PREV_MEMBER}{}\"", hex(&self.head));
        }
        let _ = write!(line, ",{SEQ_MEMBER}{}", self.seq);
        self.head = hash(&self.head, line.as_bytes());
        line.push_str(HASH_MEMBER);
        HEXLOWER.encode_append(&self.head, line);
        line.push_str("\"}");
    }
}

/// One line as it stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// The bytes under the hash.
    pub(super) body: &'a str,
    /// The hash that the line says of the one before it, on the first line of a file.
    pub(super) prev: Option<Hash>,
    /// Its number.
    pub(super) seq: u64,
    /// Its hash, as it says.
    pub(super) hash: Hash,
}

impl<'a> Link<'a> {
    /// Reads the end of `line`; `None` when it has none of the chain.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let (body, suffix) = line.split_at_checked(line.len().checked_sub(SUFFIX_BYTES)?)?;
        let hash = unhex(suffix.strip_prefix(HASH_MEMBER)?.strip_suffix("\"}")?)?;
        let (before, digits) = body.rsplit_once(SEQ_MEMBER)?;
        let before = before.strip_suffix(',')?;
        let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let seq = canonical.then(|| digits.parse().ok()).flatten()?;
        let prev = before
            .strip_suffix('"')
            .and_then(|before| before.get(before.len().checked_sub(PREV_MEMBER.len().checked_add(64)?)?..))
            .and_then(|member| unhex(member.strip_prefix(PREV_MEMBER)?));
        Some(Self { body, prev, seq, hash })
    }

    /// Whether the line is what was hashed behind a line of hash `prev`.
    pub(super) fn follows(&self, prev: &Hash) -> bool {
        hash(prev, self.body.as_bytes()) == self.hash
    }
}

fn hash(prev: &Hash, body: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(prev);
    context.update(body);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// 64 hexadecimal digits in lower case.
pub(super) fn hex(hash: &Hash) -> String {
    HEXLOWER.encode(hash)
}

/// The hash of 64 hexadecimal digits in lower case.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "the lines cut here are ASCII")]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_reads_back_and_follows_its_predecessor() {
        let mut chain = Chain::default();
        let mut prev = Hash::default();
        for number in 1..=3 {
            let mut line = format!("{{\"event.action\":\"a{number}\"}}");
            chain.seal(&mut line, number != 2);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
            let read = Link::read(&line).unwrap();
            assert_eq!((read.seq, read.hash), (number, chain.head));
            assert_eq!(read.prev, (number != 2).then_some(prev));
            assert!(read.follows(&prev));
            assert!(!read.follows(&[7; 32]));
            prev = read.hash;
        }
    }

    #[test]
    fn what_only_looks_like_a_link_is_none() {
        let mut good = String::from("{\"a\":1}");
        Chain::default().seal(&mut good, false);
        for (name, line) in [
            ("empty", String::new()),
            ("no chain", "{\"a\":1}".to_owned()),
            ("torn", good[..good.len() - 1].to_owned()),
            ("upper case", good.replace(&good[good.len() - 66..good.len() - 2], &"A".repeat(64))),
            ("no number", good.replace("\"wsguard.log.seq\":1", "\"wsguard.log.seq\":")),
            ("number with a zero", good.replace("\"wsguard.log.seq\":1", "\"wsguard.log.seq\":01")),
            ("number too large", good.replace("\"wsguard.log.seq\":1", "\"wsguard.log.seq\":99999999999999999999")),
        ] {
            assert_eq!(Link::read(&line), None, "{name}");
        }
    }
}
