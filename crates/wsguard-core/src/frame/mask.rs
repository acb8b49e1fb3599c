//! Masking (RFC 6455 section 5.3): XOR with a repeated key of four bytes, in words as wide as the machine has.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x32, u8x64, u32x8, u32x16};

use crate::vectors;

/// Bytes that are unmasked together.
const STRIDE: usize = 32;

/// Unmasks (or masks: it is the same) `payload` in place. `payload` begins where the key begins; for a later part of
/// a frame turn the key first with [`rotate_key`].
///
/// Cost: about 0.2 instructions a byte on x86-64 with AVX2, no allocation.
#[inline]
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    unmask_by(vectors::level(), payload, key);
}

/// [`unmask`] with the instructions of a level.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the level is known where this is inlined")]
fn unmask_by(level: Level, payload: &mut [u8], key: [u8; 4]) {
    if payload.len() < STRIDE {
        unmask_short(payload, key);
    } else {
        dispatch!(level, simd => unmask_long(simd, payload, key));
    }
}

/// [`unmask`] of a stride at least.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
fn unmask_long<S: Simd>(simd: S, payload: &mut [u8], key: [u8; 4]) {
    // The last stride is unmasked before the others and written behind them: it begins amid the one before.
    let last_key = u32x8::splat(simd, u32::from_ne_bytes(rotate_key(key, payload.len().wrapping_sub(STRIDE))));
    let last = payload.last_chunk().map(|last| u8x32::load_array_ref(simd, last) ^ last_key.bitcast::<u8x32<S>>());
    let key = u32x16::splat(simd, u32::from_ne_bytes(key)).bitcast::<u8x64<S>>();
    let (pairs, rest) = payload.as_chunks_mut::<{ 2 * STRIDE }>();
    for pair in pairs {
        (u8x64::load_array_ref(simd, pair) ^ key).store_array(pair);
    }
    if let Some(stride) = rest.first_chunk_mut() {
        (u8x32::load_array_ref(simd, stride) ^ key.split().0).store_array(stride);
    }
    if let (Some(last), Some(place)) = (last, payload.last_chunk_mut()) {
        last.store_array(place);
    }
}

fn unmask_short(payload: &mut [u8], key: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, key_byte) in rest.iter_mut().zip(key) {
        *byte ^= key_byte;
    }
}

/// The key as it applies after `offset` bytes of a frame.
#[inline]
#[must_use]
pub const fn rotate_key(key: [u8; 4], offset: usize) -> [u8; 4] {
    let turned = match offset % 4 {
        0 => 0,
        1 => 8,
        2 => 16,
        _ => 24,
    };
    u32::from_le_bytes(key).rotate_right(turned).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(payload: &mut [u8], key: [u8; 4]) {
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[at % 4];
        }
    }

    #[test]
    fn every_short_length_equals_the_naive_loop() {
        for level in [Level::baseline(), vectors::level()] {
            for len in 0..200 {
                let (mut ours, mut theirs): (Vec<u8>, Vec<u8>) = ((0..len).collect(), (0..len).collect());
                unmask_by(level, &mut ours, [0xA5, 0x01, 0xFE, 0x3C]);
                naive(&mut theirs, [0xA5, 0x01, 0xFE, 0x3C]);
                assert_eq!(ours, theirs, "length {len}, {level:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn parts_with_a_turned_key_equal_the_naive_loop(
            payload in prop::collection::vec(any::<u8>(), 0..400),
            key in any::<[u8; 4]>(),
            cut in 0usize..400,
        ) {
            let mut whole = payload.clone();
            naive(&mut whole, key);
            let mut parts = payload;
            let cut = cut.min(parts.len());
            let (left, right) = parts.split_at_mut(cut);
            unmask(left, key);
            unmask(right, rotate_key(key, cut));
            prop_assert_eq!(parts, whole);
        }
    }
}
