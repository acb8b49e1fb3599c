//! The bearer key of the admin interface.

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use aws_lc_rs::constant_time;

use super::read::Reader;

/// Shortest key in characters: 32 random base64 characters hold 192 bits.
pub const ADMIN_KEY_CHARS_MIN: usize = 32;

/// Longest key in characters; a header line holds it.
pub const ADMIN_KEY_CHARS_MAX: usize = 4_096;

/// The bearer key of `/api`, read from `admin.key_file`. Its `Debug` is mute.
#[derive(Clone)]
pub struct AdminKey(Box<str>);

impl AdminKey {
    /// Takes a key: 32 to 4,096 visible ASCII characters; `None` for anything else.
    pub fn new(text: &str) -> Option<Self> {
        let good = (ADMIN_KEY_CHARS_MIN..=ADMIN_KEY_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Self(text.into()))
    }

    /// Compares in time that depends on the length of `offered` alone.
    #[must_use]
    pub fn matches(&self, offered: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), offered).is_ok()
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

pub(super) fn read(reader: &mut Reader) -> Option<AdminKey> {
    let path = reader.file("admin.key_file")?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(ADMIN_KEY_CHARS_MAX).unwrap_or(u64::MAX).saturating_add(3);
    let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let text = std::str::from_utf8(&bytes).ok().map(str::trim_end);
    let key = text.filter(|_| read.is_ok()).and_then(AdminKey::new);
    if key.is_none() {
        let message = format!(
            "expected a file with one line of {ADMIN_KEY_CHARS_MIN} to {ADMIN_KEY_CHARS_MAX} visible ASCII characters"
        );
        reader.wrong_at(reader.place("admin.key_file"), "admin.key_file", message);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_visible() {
        for (name, text, good) in [
            ("just long enough", "k".repeat(32), true),
            ("too short", "k".repeat(31), false),
            ("longest", "k".repeat(4_096), true),
            ("too long", "k".repeat(4_097), false),
            ("space", format!("{} k", "k".repeat(32)), false),
            ("not ASCII", "é".repeat(32), false),
        ] {
            assert_eq!(AdminKey::new(&text).is_some(), good, "{name}");
        }
    }

    #[test]
    fn only_the_key_matches_and_debug_is_mute() {
        let key = AdminKey::new(&"k".repeat(32)).unwrap();
        for (offered, want) in
            [("k".repeat(32), true), ("k".repeat(31), false), ("K".repeat(32), false), (String::new(), false)]
        {
            assert_eq!(key.matches(offered.as_bytes()), want, "{offered}");
        }
        assert!(!format!("{key:?}").contains('k'));
    }
}
