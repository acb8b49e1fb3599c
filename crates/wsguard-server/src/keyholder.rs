//! The keys in force: those of `auth.keys` and those that the issuer publishes at `auth.jwks`, always put in force
//! together and in one step.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wsguard::Guard;
use wsguard::core::token::{Key, KeyRing, KeyRingError};

/// Puts keys in force when one of their sources changes.
pub(crate) struct Keyholder {
    guard: Guard,
    /// The development key: no file has it.
    made_at_start: Option<Key>,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    files: Vec<Key>,
    issuer: Vec<Key>,
}

impl Sources {
    /// All keys. One that is in a file and in the issuer's set is the file's: its name there is the operator's choice.
    fn ring(&self) -> Result<KeyRing, KeyRingError> {
        let known = |key: &&Key| !self.files.iter().any(|file| file.thumbprint() == key.thumbprint());
        KeyRing::new(self.files.iter().chain(self.issuer.iter().filter(known)).cloned().collect())
    }
}

impl Keyholder {
    /// Holds the keys that `guard` was built with as those of files.
    pub(crate) fn new(guard: Guard) -> Self {
        let files = guard.context().keys().keys().to_vec();
        Self { guard, made_at_start: None, sources: Mutex::new(Sources { files, ..Sources::default() }) }
    }

    /// The same, where one of those keys was made at the start.
    pub(crate) fn keeping(self, made_at_start: Option<Key>) -> Self {
        Self { made_at_start, ..self }
    }

    /// The key that stays in force whatever the files hold.
    pub(crate) fn made_at_start(&self) -> Option<&Key> {
        self.made_at_start.as_ref()
    }

    /// The ring that `files` would make together with the issuer's keys.
    ///
    /// # Errors
    /// Keys that cannot stand together.
    pub(crate) fn ring_with(&self, files: &[Key]) -> Result<KeyRing, KeyRingError> {
        Sources { files: files.to_vec(), issuer: self.sources().issuer.clone() }.ring()
    }

    /// Takes `files` in place of the keys of files before. Returns whether the keys in force are others.
    ///
    /// # Errors
    /// Keys that cannot stand together; then the old keys stay in force.
    pub(crate) fn set_files(&self, files: Vec<Key>) -> Result<bool, KeyRingError> {
        self.change(|sources| sources.files = files)
    }

    /// Takes the keys that the issuer publishes in place of those before. Returns whether they are others.
    ///
    /// # Errors
    /// Keys that cannot stand together with those of the files; then the old keys stay in force.
    pub(crate) fn set_issuer(&self, keys: Vec<Key>) -> Result<bool, KeyRingError> {
        self.change(|sources| sources.issuer = keys)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, act: impl FnOnce(&mut Sources)) -> Result<bool, KeyRingError> {
        let mut sources = self.sources();
        let (files, issuer) = (sources.files.clone(), sources.issuer.clone());
        act(&mut sources);
        let ring = match sources.ring() {
            Ok(ring) => ring,
            Err(error) => {
                *sources = Sources { files, issuer };
                return Err(error);
            }
        };
        // A refresh that brought nothing new must not empty the cache of verified tokens.
        let changed = !ring.is_same_as(&self.guard.context().keys());
        if changed {
            self.guard.handle().replace_keys(&ring);
        }
        Ok(changed)
    }
}

impl fmt::Debug for Keyholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyholder").field("keys", &self.guard.context().keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wsguard::core::token::encode_secret;

    use super::*;

    /// A guard without keys.
    pub(crate) fn guard() -> Guard {
        Guard::builder()
            .keys(KeyRing::default())
            .late_keys()
            .hosts(["localhost"])
            .message("echo", "true")
            .build()
            .unwrap()
    }

    pub(crate) fn secret(id: &str, fill: u8) -> String {
        format!("kid: {id}\n{}", *encode_secret(&[fill; 32]))
    }

    fn key(id: &str, fill: u8) -> Key {
        Key::parse("issuer", secret(id, fill).as_bytes()).unwrap()
    }

    fn ids(guard: &Guard) -> Vec<String> {
        guard.context().keys().keys().iter().map(|key| key.id().to_owned()).collect()
    }

    #[test]
    fn files_and_issuer_stand_together() {
        let guard = guard();
        let holder = Keyholder::new(guard.clone());
        assert!(holder.set_files(vec![key("file", 1)]).unwrap());
        assert!(!holder.set_files(vec![key("file", 1)]).unwrap(), "the same again");
        assert!(holder.set_issuer(vec![key("a", 2), key("b", 3)]).unwrap());
        assert_eq!(ids(&guard), ["file", "a", "b"]);
        assert!(holder.set_issuer(vec![key("b", 3), key("renamed", 1)]).unwrap());
        assert_eq!(ids(&guard), ["file", "b"], "a key of both is the file's");

        let clash = holder.set_issuer(vec![key("file", 9)]).unwrap_err();
        assert!(matches!(clash, KeyRingError::SameId { .. }), "{clash}");
        assert_eq!(ids(&guard), ["file", "b"], "what was in force stays");
        assert!(holder.ring_with(&[key("b", 9)]).is_err() && holder.ring_with(&[key("other", 9)]).is_ok());
        assert_eq!(ids(&guard), ["file", "b"], "asking changes nothing");

        assert!(holder.set_issuer(Vec::new()).unwrap());
        assert_eq!(ids(&guard), ["file"]);
    }
}
