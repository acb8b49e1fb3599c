//! The keys that are in force together: while keys rotate, old and new both verify.

use std::fmt;

use super::{Algorithm, Key};

/// Most keys in a ring. Rotation needs two or three for each issuer.
pub const KEYS_MAX: usize = 32;

/// Most keys that one token without a `kid` is tried against. Each trial is a signature check (some ten microseconds)
/// that a stranger can ask for with any bytes.
pub const KEYS_TRIED_MAX: usize = 4;

/// A fixed set of keys with distinct ids. Replaced whole when keys change.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Box<[Key]>,
}

/// Why keys cannot stand together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// More than [`KEYS_MAX`] keys.
    #[error("use {0} keys: at most {KEYS_MAX} are supported")]
    TooMany(usize),
    /// Two keys answer to the same id; which one a token means would depend on their order.
    #[error("use the keys {first} and {second} together: both have the id {id}")]
    SameId {
        /// Name of the key that came first.
        first: Box<str>,
        /// Name of the key that came later.
        second: Box<str>,
        /// The id that both answer to.
        id: Box<str>,
    },
}

/// The keys that may have signed a token, by what its header says.
pub(super) enum Candidates<'a> {
    /// No key of the ring has the header's `kid`.
    UnknownId,
    /// The key with that `kid` is for another algorithm, or no key of the ring is for this one.
    OtherAlgorithm,
    /// Without a `kid` more than [`KEYS_TRIED_MAX`] keys would have to be tried.
    IdNeeded,
    /// At least one.
    Some(Vec<&'a Key>),
}

impl KeyRing {
    /// Makes a ring of `keys`; an empty one refuses every token.
    ///
    /// # Errors
    /// More than [`KEYS_MAX`] keys, or two keys that answer to one id (also the same key twice).
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyRingError> {
        if keys.len() > KEYS_MAX {
            return Err(KeyRingError::TooMany(keys.len()));
        }
        for (at, second) in keys.iter().enumerate() {
            for first in keys.iter().take(at) {
                if let Some(id) = [second.id(), second.thumbprint()].into_iter().find(|id| first.answers_to(id)) {
                    return Err(KeyRingError::SameId {
                        first: first.name().into(),
                        second: second.name().into(),
                        id: id.into(),
                    });
                }
            }
        }
        Ok(Self { keys: keys.into_boxed_slice() })
    }

    /// Returns the keys in the order given.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Returns whether a key of the ring has this id (its declared one or its thumbprint): a session whose key left
    /// the ring must end.
    pub fn contains_id(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.answers_to(id))
    }

    /// Returns whether the key with this thumbprint ([`Key::thumbprint`]) is in the ring, under whatever name.
    pub fn contains_thumbprint(&self, thumbprint: &str) -> bool {
        self.keys.iter().any(|key| key.thumbprint() == thumbprint)
    }

    /// Returns whether `other` holds the same keys under the same names, in whatever order.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let known =
            |key: &Key| other.keys.iter().any(|one| one.id() == key.id() && one.thumbprint() == key.thumbprint());
        self.keys.len() == other.keys.len() && self.keys.iter().all(known)
    }

    pub(super) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> Candidates<'_> {
        if let Some(id) = id {
            return match self.keys.iter().find(|key| key.answers_to(id)) {
                None => Candidates::UnknownId,
                Some(key) if key.algorithm() != algorithm => Candidates::OtherAlgorithm,
                Some(key) => Candidates::Some(vec![key]),
            };
        }
        let keys: Vec<&Key> = self.keys.iter().filter(|key| key.algorithm() == algorithm).collect();
        match keys.len() {
            0 => Candidates::OtherAlgorithm,
            1..=KEYS_TRIED_MAX => Candidates::Some(keys),
            _ => Candidates::IdNeeded,
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::encode_secret;

    fn secret(fill: u8, id: Option<&str>) -> Key {
        let mut text = id.map(|id| format!("kid: {id}\n")).unwrap_or_default();
        text.push_str(&encode_secret(&[fill; 32]));
        Key::parse(&format!("key-{fill}"), text.as_bytes()).unwrap()
    }

    #[test]
    fn ids_are_distinct() {
        let clash = |keys: Vec<Key>| KeyRing::new(keys).is_err();
        assert!(!clash(vec![secret(1, None), secret(2, None)]), "two keys");
        assert!(clash(vec![secret(1, None), secret(1, None)]), "the same key twice");
        assert!(clash(vec![secret(1, Some("a")), secret(2, Some("a"))]), "the same declared id");
        assert!(clash(vec![secret(1, Some("a")), secret(1, Some("b"))]), "the same key under two ids");
        let thumbprint = secret(1, None).thumbprint().to_owned();
        assert!(clash(vec![secret(2, Some(&thumbprint)), secret(1, None)]), "an id that is another's thumbprint");
        assert!(clash(vec![secret(1, None), secret(2, Some(&thumbprint))]), "the same, other order");
    }

    #[test]
    fn a_ring_is_bounded() {
        let keys = |count: u8| (0..count).map(|fill| secret(fill, None)).collect::<Vec<_>>();
        assert!(KeyRing::new(keys(32)).is_ok());
        assert_eq!(KeyRing::new(keys(33)).err(), Some(KeyRingError::TooMany(33)));
    }

    #[test]
    fn debug_tells_no_secret() {
        let shown = format!("{:?}", KeyRing::new(vec![secret(0x41, None)]).unwrap());
        assert!(shown.contains("HS256") || shown.contains("Hs256"), "{shown}");
        assert!(!shown.contains("QUFB") && !shown.contains("AAAA") && !shown.contains("65, 65"), "{shown}");
    }
}
