//! Key files on disk: made for `wsguard keygen`, loaded for `auth.keys`.
//!
//! Attack: a key that other accounts of the machine can read signs for everybody (CWE-732), and one written over
//! another logs all out and cannot be had back. So private files are made with mode 0600 from their first byte, and
//! nothing that exists is ever overwritten.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use wsguard_core::token::{
    Algorithm, KEY_FILE_BYTES_MAX, Key, KeyError, KeyRing, KeyRingError, SECRET_BYTES_MIN, SigningKey,
    encode_private_pem, encode_secret,
};
use zeroize::Zeroizing;

/// A new key, as the text of its files. The private text is wiped from memory when dropped, and mute in `Debug`.
pub struct KeyFile {
    /// The algorithm that the key is for.
    pub algorithm: Algorithm,
    /// PEM `PRIVATE KEY`, or the line of an HS256 secret. Everything that signs.
    pub private: Zeroizing<String>,
    /// PEM `PUBLIC KEY`, enough to verify; `None` for HS256, which has no public part.
    pub public_pem: Option<String>,
    /// The `kid` that tokens of this key carry.
    pub key_id: Box<str>,
}

/// Why a key could not be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// RS256 is there to verify only.
    #[error("generate a key for {0}: only EdDSA, ES256 and HS256 sign")]
    NotSigning(Algorithm),
    /// The cryptographic library failed; most likely the system gives no randomness.
    #[error("generate a key: the cryptographic library failed")]
    Failed,
    /// The file, or its `.pub`, is already there.
    #[error("write {}: it exists, and keys are never overwritten", .0.display())]
    Exists(PathBuf),
    /// Any other failure of the file system.
    #[error("write {}: {error}", .path.display())]
    Io {
        /// The file that could not be written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Makes a new key from the system's randomness.
///
/// # Errors
/// [`KeygenError::NotSigning`] for RS256, [`KeygenError::Failed`] when the library fails.
pub fn generate(algorithm: Algorithm) -> Result<KeyFile, KeygenError> {
    let failed = |_| KeygenError::Failed;
    let private = match algorithm {
        // PKCS#8 version 1: version 2 also carries the public key, and older OpenSSL cannot read it.
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            encode_private_pem(pair.to_pkcs8v1().map_err(failed)?.as_ref())
        }
        Algorithm::Es256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            encode_private_pem(document.map_err(failed)?.as_ref())
        }
        Algorithm::Hs256 => {
            let mut secret = Zeroizing::new([0; SECRET_BYTES_MIN]);
            rand::fill(secret.as_mut_slice()).map_err(failed)?;
            encode_secret(secret.as_slice())
        }
        Algorithm::Rs256 => return Err(KeygenError::NotSigning(algorithm)),
    };
    // Read back as a server would: a key that it could not load is not handed out.
    let key = SigningKey::parse("the new key", private.as_bytes()).map_err(|_| KeygenError::Failed)?;
    Ok(KeyFile { algorithm, public_pem: key.public_pem(), key_id: key.verifying_key().id().into(), private })
}

/// Writes `key` to `path` (mode 0600) and its public part, if it has one, to `path` with `.pub` appended (mode 0644 less
/// the umask). Returns the paths written. Both are on disk when it returns.
///
/// All or nothing: when the second file fails, the first is removed again.
///
/// # Errors
/// [`KeygenError::Exists`] when either is there, a dangling link too; else what the system says.
pub fn write_key_files(path: &Path, key: &KeyFile) -> Result<Vec<PathBuf>, KeygenError> {
    create(path, 0o600, key.private.as_bytes())?;
    let mut written = vec![path.to_owned()];
    if let Some(public) = &key.public_pem {
        let public_path = public_path(path);
        if let Err(error) = create(&public_path, 0o644, public.as_bytes()) {
            // This call made the file a moment ago; a private key without its public part would block the next try.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        written.push(public_path);
    }
    Ok(written)
}

/// Returns where the public part of the key at `path` goes: `FILE.pub`.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    PathBuf::from(name)
}

/// Every key file that could not be used, and every clash among those that could.
#[derive(Debug)]
pub struct KeysInvalid {
    faults: Vec<KeyLoadError>,
}

/// Why one key file, or the set of them, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyLoadError {
    /// The file cannot be read.
    #[error("read key {}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file can be read, but is no key that wsguard takes.
    #[error(transparent)]
    Invalid(#[from] KeyError),
    /// The keys cannot stand together.
    #[error(transparent)]
    Ring(#[from] KeyRingError),
}

impl KeysInvalid {
    /// Returns the faults, in the order of the paths; a clash of keys comes last.
    pub fn faults(&self) -> &[KeyLoadError] {
        &self.faults
    }
}

impl From<KeyRingError> for KeysInvalid {
    fn from(clash: KeyRingError) -> Self {
        Self { faults: vec![clash.into()] }
    }
}

impl fmt::Display for KeysInvalid {
    /// Writes one fault a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for KeysInvalid {}

/// Loads the keys that verify tokens (`auth.keys`): private keys, public keys and HS256 secrets, of which only what
/// verifies is kept. No path gives an empty ring, which refuses every token.
///
/// Blocks on the file system: for start and reload.
///
/// # Errors
/// All faults at once, so that one edit of the configuration repairs them.
pub fn load_keys<P: AsRef<Path>>(paths: &[P]) -> Result<KeyRing, KeysInvalid> {
    let mut keys = Vec::new();
    let mut faults = Vec::new();
    for path in paths {
        match load_key(path.as_ref()) {
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(fault),
        }
    }
    // Clashes are told even when other files failed: they need an edit all the same.
    match KeyRing::new(keys) {
        Ok(ring) if faults.is_empty() => return Ok(ring),
        Ok(_) => {}
        Err(clash) => faults.push(clash.into()),
    }
    Err(KeysInvalid { faults })
}

/// Loads the key that signs (`wsguard token --key FILE`).
///
/// # Errors
/// A file that cannot be read, is no key, or only verifies.
pub fn load_signing_key(path: &Path) -> Result<SigningKey, KeyLoadError> {
    let text = read(path)?;
    Ok(SigningKey::parse(&path.to_string_lossy(), &text)?)
}

fn load_key(path: &Path) -> Result<Key, KeyLoadError> {
    let text = read(path)?;
    Ok(Key::parse(&path.to_string_lossy(), &text)?)
}

/// Reads one byte more than a key file may have, at most: enough for the parser to see that it is too long, and a
/// device that never ends does end.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyLoadError> {
    let unreadable = |error| KeyLoadError::Unreadable { path: path.to_owned(), error };
    let most = KEY_FILE_BYTES_MAX.saturating_add(1);
    // Reserved in full: a growing buffer would leave copies of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.saturating_add(32)));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    File::open(path).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeygenError> {
    let io_error = |error| KeygenError::Io { path: path.to_owned(), error };
    let mut options = OpenOptions::new();
    // `create_new` follows no link and loses no race: whoever made the file first keeps it.
    options.write(true).create_new(true);
    set_mode(&mut options, mode);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeygenError::Exists(path.to_owned()));
        }
        Err(error) => return Err(io_error(error)),
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a key is worse than none.
        let _ = fs::remove_file(path);
        io_error(error)
    })
}

#[cfg(unix)]
fn set_mode(options: &mut OpenOptions, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(mode);
}

/// Elsewhere the file takes the permissions of its folder.
#[cfg(not(unix))]
fn set_mode(_: &mut OpenOptions, _: u32) {}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use wsguard_core::time::UnixMs;
    use wsguard_core::token::{KeyFault, MintClaims, TokenPolicy, mint, verify};

    /// A new folder for one test, removed with its content at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("wsguard-keys-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            fs::write(self.path(name), text).unwrap();
            self.path(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_generated_key_signs_and_both_its_files_verify() {
        let now = UnixMs(1_700_000_000_000);
        for (algorithm, files) in [(Algorithm::EdDsa, 2), (Algorithm::Es256, 2), (Algorithm::Hs256, 1)] {
            let folder = Folder::new();
            let key = generate(algorithm).unwrap();
            let written = write_key_files(&folder.path("auth.key"), &key).unwrap();
            assert_eq!(written.len(), files, "{algorithm}");
            let signing = load_signing_key(&written[0]).unwrap();
            let token = mint(&signing, &MintClaims::new("ann", now)).unwrap();
            for path in &written {
                let ring = load_keys(&[path]).unwrap();
                assert_eq!(ring.keys()[0].id(), &*key.key_id, "{algorithm}");
                let claims = verify(&ring, &TokenPolicy::default(), now, &token).unwrap();
                assert_eq!(claims.key_id, key.key_id.clone().into(), "{algorithm}");
            }
        }
        assert!(matches!(generate(Algorithm::Rs256), Err(KeygenError::NotSigning(Algorithm::Rs256))));
    }

    #[test]
    fn two_keys_are_never_the_same() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
            let (one, two) = (generate(algorithm).unwrap(), generate(algorithm).unwrap());
            assert!(*one.private != *two.private && one.key_id != two.key_id, "{algorithm}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_a_private_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        let written = write_key_files(&folder.path("auth.key"), &generate(Algorithm::EdDsa).unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&written[0]), 0o600);
        assert_eq!(written[1], folder.path("auth.key.pub"));
        assert_eq!(mode(&written[1]) & 0o600, 0o600, "the umask may take the others' right to read");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_done_stays() {
        let key = generate(Algorithm::EdDsa).unwrap();
        for (name, present) in [("the private file is there", "auth.key"), ("the public file is there", "auth.key.pub")]
        {
            let folder = Folder::new();
            let old = folder.write(present, "old");
            let refused = write_key_files(&folder.path("auth.key"), &key);
            assert!(matches!(refused, Err(KeygenError::Exists(ref path)) if *path == old), "{name}: {refused:?}");
            assert_eq!(fs::read_to_string(&old).unwrap(), "old", "{name}");
            assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "{name}");
        }
        let folder = Folder::new();
        let refused = write_key_files(&folder.path("missing/auth.key"), &key);
        assert!(matches!(refused, Err(KeygenError::Io { .. })), "{refused:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_planted_link_is_not_followed() {
        let folder = Folder::new();
        std::os::unix::fs::symlink(folder.path("elsewhere"), folder.path("auth.key")).unwrap();
        let refused = write_key_files(&folder.path("auth.key"), &generate(Algorithm::Hs256).unwrap());
        assert!(matches!(refused, Err(KeygenError::Exists(_))), "{refused:?}");
        assert!(!folder.path("elsewhere").exists());
    }

    #[test]
    fn every_bad_file_is_told_at_once() {
        let folder = Folder::new();
        let key = generate(Algorithm::EdDsa).unwrap();
        let written = write_key_files(&folder.path("good.key"), &key).unwrap();
        let paths = [
            folder.path("missing.key"),
            written[0].clone(),
            folder.write("words.key", "correct horse battery staple"),
            folder.write("huge.key", &"#".repeat(KEY_FILE_BYTES_MAX + 1)),
            // The same key a second time, by its public part.
            written[1].clone(),
        ];
        let invalid = load_keys(&paths).unwrap_err();
        let [missing, words, huge, clash] = invalid.faults() else { panic!("{invalid}") };
        assert!(matches!(missing, KeyLoadError::Unreadable { path, .. } if *path == paths[0]), "{missing}");
        assert!(matches!(words, KeyLoadError::Invalid(error) if error.fault() == KeyFault::NotAKey), "{words}");
        assert!(matches!(huge, KeyLoadError::Invalid(error) if error.fault() == KeyFault::TooLong), "{huge}");
        assert!(matches!(clash, KeyLoadError::Ring(KeyRingError::SameId { .. })), "{clash}");
        let text = invalid.to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("words.key") && !text.contains("horse"), "{text}");
        assert!(load_keys(&[] as &[&Path]).unwrap().keys().is_empty());
    }

    #[test]
    fn a_public_key_does_not_sign() {
        let folder = Folder::new();
        let written = write_key_files(&folder.path("auth.key"), &generate(Algorithm::Es256).unwrap()).unwrap();
        let refused = load_signing_key(&written[1]);
        assert!(matches!(refused, Err(KeyLoadError::Invalid(ref error)) if error.fault() == KeyFault::NotSigning));
    }

    #[test]
    fn debug_is_mute() {
        let key = generate(Algorithm::Hs256).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains("wsguard-hs256") && !shown.contains(key.private.trim_end()), "{shown}");
    }
}
