//! Times as operators write them.

use wsguard_core::time::UnixMs;

/// Reads `2026-11-25T03:10:52Z`, with a fraction of a second if need be, in UTC. `None` for anything else, also for days
/// that no calendar has.
///
/// # Specification
/// RFC 3339 section 5.6
pub fn time_from_rfc3339(text: &str) -> Option<UnixMs> {
    let text = text.strip_suffix(['Z', 'z'])?;
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, Some(fraction)),
        None => (time, None),
    };
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let millis = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let padded: String = digits.chars().chain("000".chars()).take(3).collect();
            padded.parse::<u64>().ok()?
        }
        Some(_) => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28_u64.checked_add(u64::from(is_leap))?,
        _ => 31,
    };
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=length).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    // Days since 1970, with years that begin in March, so that the leap day is the last (Howard Hinnant, days_from_civil).
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let of_year = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day)?.checked_sub(1)?;
    let leap_days = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let days = year.checked_mul(365)?.checked_add(leap_days)?.checked_add(of_year)?.checked_sub(719_468)?;
    let seconds = [(24, hour), (60, minute), (60, second)]
        .into_iter()
        .try_fold(days, |sum, (factor, part)| sum.checked_mul(factor)?.checked_add(part))?;
    seconds.checked_mul(1_000)?.checked_add(millis).map(UnixMs)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_exactly() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:00.001Z", Some(1)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2026-11-25T03:10:52Z", Some(1_795_576_252_000)),
            ("2026-11-25t03:10:52.5z", Some(1_795_576_252_500)),
            ("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999)),
            ("2026-02-29T00:00:00Z", None),
            ("1900-02-28T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-04-31T00:00:00Z", None),
            ("2026-11-25T24:00:00Z", None),
            ("2026-11-25T03:10:60Z", None),
            ("2026-11-25T03:10:52", None),
            ("2026-11-25T03:10:52+01:00", None),
            ("2026-11-25 03:10:52Z", None),
            ("2026-11-25T03:10Z", None),
            ("2026-11-25T03:10:52.Z", None),
            ("26-11-25T03:10:52Z", None),
            ("+026-11-25T03:10:52Z", None),
            ("", None),
        ] {
            assert_eq!(time_from_rfc3339(text).map(|time| time.0), want, "{text}");
        }
    }
}
