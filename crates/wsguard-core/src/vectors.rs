//! The instructions that this processor has for many bytes at once.

use std::sync::LazyLock;

use fearless_simd::Level;

/// What this processor has, found out once.
#[inline]
pub(crate) fn level() -> Level {
    static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);
    *LEVEL
}
