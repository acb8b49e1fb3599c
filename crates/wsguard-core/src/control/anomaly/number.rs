//! Small numbers: logarithms and conversions that are the same on every machine.

/// `log2(x)` to about a hundredth, for a normal `x` above zero: its exponent, and a parabola through its mantissa. Only
/// basic operations, which every machine rounds alike.
pub(super) fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = i16::try_from(bits >> 23).unwrap_or(0);
    let mantissa = f32::from_bits(bits & 0x007F_FFFF | 0x3F80_0000);
    f32::from(exponent) - 127.0 + (2.0 - mantissa / 3.0) * mantissa - 5.0 / 3.0
}

#[expect(clippy::cast_precision_loss, reason = "a measure, not a count: 24 bits are enough")]
pub(super) const fn real(count: u32) -> f32 {
    count as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and NaN becomes 0")]
pub(super) const fn whole(value: f32) -> u32 {
    value as u32
}

/// Where `value` lies between `low` and `high`, 0 to 1.
pub(super) fn between(value: f32, low: f32, high: f32) -> f32 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close() {
        for x in [0.001_f32, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 1_000.0, 65_536.0, 1e9] {
            assert!((log2(x) - x.log2()).abs() < 0.02, "{x}: {} {}", log2(x), x.log2());
        }
        assert!(log2(0.0) < -100.0);
    }
}
