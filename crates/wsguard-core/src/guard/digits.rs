//! The digits of a sequence number, which stands in every application frame.

/// Numbers below have eight digits at most.
const FEW: u64 = 100_000_000;

/// The digits of a `number` of at most eight, and how many they are.
#[inline]
pub(super) const fn few(number: u64) -> Option<([u8; 8], usize)> {
    if number >= FEW {
        return None;
    }
    // All digits at once, in the parts of one word, the first in its lowest bytes: n * 10,486 >> 20 is n / 100 for n below
    // 10,000, and n * 103 >> 10 is n / 10 for n below 100. Nothing wraps.
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = (halves.wrapping_mul(10_486) >> 20) & 0x7f_0000_007f;
    let quarters = hundreds | (halves.wrapping_sub(hundreds.wrapping_mul(100)) << 16);
    let tens = (quarters.wrapping_mul(103) >> 10) & 0xf_000f_000f_000f;
    let digits = tens | (quarters.wrapping_sub(tens.wrapping_mul(10)) << 8);
    // Of zero one digit is left.
    let leading = (digits | (1 << 56)).trailing_zeros() & !7;
    let bytes = ((digits >> leading) | 0x3030_3030_3030_3030).to_le_bytes();
    Some((bytes, 8_usize.wrapping_sub(leading as usize / 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        let powers = (0..20).map(|power| 10_u64.pow(power)).flat_map(|power| [power - 1, power, power + 1]);
        let spread = (0..1_000_000).map(|step: u64| step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (step % 64));
        for number in (0..30_000).chain(powers).chain(spread).chain([u64::MAX]) {
            let digits = few(number).map(|(bytes, count)| String::from_utf8_lossy(&bytes[..count]).into_owned());
            assert_eq!(digits, Some(number.to_string()).filter(|_| number < FEW), "{number}");
        }
    }
}
