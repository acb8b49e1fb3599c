//! Masking (RFC 6455 section 5.3): XOR with a repeated key of four bytes, in words as wide as the machine has.

/// Unmasks (or masks: it is the same) `payload` in place. `payload` begins where the key begins; for a later part of
/// a frame turn the key first with [`rotate_key`].
///
/// Cost: about 0.3 instructions a byte on x86-64, no allocation.
#[inline]
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let short_key = u32::from_ne_bytes(key);
    let word_key = u64::from(short_key) | u64::from(short_key) << 32;
    // Plain loops of a fixed length, of which the compiler makes vector instructions, wider ones where the target
    // has them.
    let (wide, rest) = payload.as_chunks_mut::<64>();
    for chunk in wide {
        xor(chunk, word_key);
    }
    let (half, rest) = rest.as_chunks_mut::<32>();
    if let [half] = half {
        xor(half, word_key);
    }
    let (quarter, rest) = rest.as_chunks_mut::<16>();
    if let [quarter] = quarter {
        xor(quarter, word_key);
    }
    let (word, rest) = rest.as_chunks_mut::<8>();
    if let [word] = word {
        xor(word, word_key);
    }
    let (shorts, rest) = rest.as_chunks_mut::<4>();
    if let [short] = shorts {
        *short = (u32::from_ne_bytes(*short) ^ short_key).to_ne_bytes();
    }
    for (byte, key_byte) in rest.iter_mut().zip(key) {
        *byte ^= key_byte;
    }
}

/// The key as it applies after `offset` bytes of a frame.
#[inline]
#[must_use]
pub const fn rotate_key(mut key: [u8; 4], offset: usize) -> [u8; 4] {
    key.rotate_left(offset % 4);
    key
}

#[inline]
fn xor(chunk: &mut [u8], word_key: u64) {
    for word in chunk.as_chunks_mut::<8>().0 {
        *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
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
        for len in 0..200 {
            let (mut ours, mut theirs): (Vec<u8>, Vec<u8>) = ((0..len).collect(), (0..len).collect());
            unmask(&mut ours, [0xA5, 0x01, 0xFE, 0x3C]);
            naive(&mut theirs, [0xA5, 0x01, 0xFE, 0x3C]);
            assert_eq!(ours, theirs, "length {len}");
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
