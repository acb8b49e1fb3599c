//! Signed checkpoints: at times the log says, with a signature, how far it had come and with which hash.
//!
//! Attack: who can write the log can rewrite it from any line on and compute all hashes anew. Without the signing key the
//! checkpoints in between cannot be made again. Who holds that key can: keep it where the log's readers are not, and ship
//! checkpoints elsewhere, since a cut tail shows against those alone.
//!
//! # Specification
//! Ed25519, RFC 8032. The signed bytes are ASCII: `wsguard log checkpoint v1`, the number of the last line before the
//! checkpoint, its hash (64 hexadecimal digits) and the time (milliseconds since 1970), each ended by a line feed. They
//! hold spaces, so none of them is ever the signing input of a token.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsguard_core::token::{Key, SigningKey};

use super::chain::{Chain, Hash, hex, unhex};
use super::{Entry, Outcome, render};

/// Lines after which a checkpoint is due: what an attacker could rewrite unseen stays countable.
pub const CHECKPOINT_LINES: u64 = 1_000;

/// Time after which a checkpoint is due when there is something to sign, in milliseconds.
pub const CHECKPOINT_MS: u64 = 60_000;

/// `event.action` of a checkpoint.
pub(super) const ACTION: &str = "log_checkpoint";

/// Writes the line of a checkpoint on `chain`, not yet sealed. `false` when the key could not sign.
pub(super) fn write(chain: &Chain, unix_ms: u64, key: &SigningKey, line: &mut String) -> bool {
    let Some(signature) = key.sign(signed(chain.seq, &chain.head, unix_ms).as_bytes()) else {
        return false;
    };
    line.clear();
    render::json(&Entry::new(unix_ms, ACTION, Outcome::Unknown), line);
    line.pop();
    // Writing to a String does not fail.
    let _ = write!(
        line,
        ",\"wsguard.checkpoint.seq\":{},\"wsguard.checkpoint.hash\":\"{}\",\"wsguard.checkpoint.at\":{unix_ms},\
         \"wsguard.checkpoint.key\":\"{}\",\"wsguard.checkpoint.signature\":\"{}\"}}",
        chain.seq,
        hex(&chain.head),
        key.verifying_key().thumbprint(),
        URL_SAFE_NO_PAD.encode(signature),
    );
    true
}

/// A checkpoint as it stands in a log, or in the file it was shipped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) seq: u64,
    pub(super) hash: Hash,
    at: u64,
    /// The thumbprint of the key that signed.
    pub(super) key: String,
    signature: Vec<u8>,
}

impl Checkpoint {
    /// Reads the line of a checkpoint; `None` when it is no such line or is not whole.
    pub(super) fn read(line: &str) -> Option<Self> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| line.get(name)?.as_str();
        (text("event.action")? == ACTION).then_some(())?;
        Some(Self {
            seq: line.get("wsguard.checkpoint.seq")?.as_u64()?,
            hash: unhex(text("wsguard.checkpoint.hash")?)?,
            at: line.get("wsguard.checkpoint.at")?.as_u64()?,
            key: text("wsguard.checkpoint.key")?.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(text("wsguard.checkpoint.signature")?).ok()?,
        })
    }

    /// Whether `key` signed it.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        key.verifies(signed(self.seq, &self.hash, self.at).as_bytes(), &self.signature)
    }
}

fn signed(seq: u64, hash: &Hash, at: u64) -> String {
    format!("wsguard log checkpoint v1\n{seq}\n{}\n{at}\n", hex(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsguard_core::token::Algorithm;

    fn key() -> SigningKey {
        let file = crate::keys::generate(Algorithm::EdDsa).unwrap();
        SigningKey::parse("test", file.private.as_bytes()).unwrap()
    }

    #[test]
    fn a_checkpoint_reads_back_and_only_its_own_key_signed_it() {
        let (ours, other) = (key(), key());
        let chain = Chain { seq: 41, head: [9; 32] };
        let mut line = String::new();
        assert!(write(&chain, 1_000, &ours, &mut line));
        let read = Checkpoint::read(&line).unwrap();
        assert_eq!((read.seq, read.hash), (41, [9; 32]));
        assert!(read.is_signed_by(ours.verifying_key()));
        assert!(!read.is_signed_by(other.verifying_key()));
        for (name, from, to) in [
            ("number", "\"wsguard.checkpoint.seq\":41", "\"wsguard.checkpoint.seq\":42"),
            ("hash", "\"0909", "\"0908"),
            ("time", "\"wsguard.checkpoint.at\":1000", "\"wsguard.checkpoint.at\":1001"),
        ] {
            let forged = line.replace(from, to);
            assert_ne!(forged, line, "{name}");
            let read = Checkpoint::read(&forged).unwrap();
            assert!(!read.is_signed_by(ours.verifying_key()), "{name}");
        }
    }
}
