//! Secrets and signs of people in texts, told from what only looks like them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regex::Regex;

/// What a finding is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nobody else may have it.
    Secret,
    /// It may be the reader's own, or harmless.
    Hint,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) weight: Weight,
    pub(super) what: &'static str,
    text: String,
}

impl Finding {
    /// Its beginning and its end: a report must not hold the secret itself.
    pub(super) fn shown(&self) -> String {
        let letters: Vec<char> = self.text.chars().collect();
        let count = letters.len();
        if self.weight == Weight::Hint && count <= 40 {
            return self.text.clone();
        }
        let begin: String = letters.iter().take(4).collect();
        let end: String = letters.iter().skip(count.saturating_sub(2)).collect();
        format!("{begin}…{end}, {count} characters")
    }
}

/// A kind: its weight, what it is, how it looks, and what must hold besides.
type Kind = (Weight, &'static str, &'static str, fn(&str) -> bool);

const KINDS: [Kind; 9] = [
    (Weight::Secret, "a private key", r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----", |_| true),
    (Weight::Secret, "an access key of AWS", r"(?:AKIA|ASIA)[0-9A-Z]{16}", |_| true),
    (Weight::Secret, "a key of Google", r"AIza[0-9A-Za-z_-]{35}", |_| true),
    (Weight::Secret, "a token of GitHub", r"gh[pousr]_[0-9A-Za-z]{36}", |_| true),
    (Weight::Secret, "a key of Stripe", r"(?:sk|rk)_live_[0-9A-Za-z]{16,}", |_| true),
    (Weight::Secret, "a card number", r"\d(?:[ -]?\d){12,18}", is_card),
    (Weight::Hint, "a token", r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*", is_token),
    (
        Weight::Hint,
        "an address of a person",
        r"[0-9A-Za-z][\w.+-]*@[0-9A-Za-z][0-9A-Za-z-]*(?:\.[0-9A-Za-z-]+)*\.[A-Za-z]{2,}",
        |_| true,
    ),
    (
        Weight::Hint,
        "a private address",
        r"(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}",
        |_| true,
    ),
];

/// Everything that is found in `text`, the heaviest first.
pub(super) fn findings(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (weight, what, pattern, holds) in KINDS {
        let Ok(pattern) = Regex::new(pattern) else { continue };
        let hit = pattern.find_iter(text).find(|hit| stands_alone(text, hit.start(), hit.end()) && holds(hit.as_str()));
        if let Some(hit) = hit {
            found.push(Finding { weight, what, text: hit.as_str().to_owned() });
        }
    }
    found.sort_by_key(|finding| finding.weight);
    found
}

/// Not a part of a longer word, as base64 makes them.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '_' | '=');
    let before = text.get(..start).and_then(|before| before.chars().next_back());
    let after = text.get(end..).and_then(|after| after.chars().next());
    !before.is_some_and(|letter| is_word(letter) || letter == '.') && !after.is_some_and(is_word)
}

/// The check digit of Luhn, and the first digits of an issuer (ISO/IEC 7812).
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|letter| letter.to_digit(10)).collect();
    let value = |count: usize| {
        digits.iter().take(count).fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(*digit))
    };
    let issued = match digits.len() {
        13 => value(1) == 4,
        15 => matches!(value(2), 34 | 37),
        16 => value(1) == 4 || matches!(value(2), 51..=55 | 65) || matches!(value(4), 2221..=2720 | 6011 | 3528..=3589),
        19 => value(1) == 4 || value(4) == 6011,
        _ => false,
    };
    let sum = digits.iter().rev().enumerate().fold(0_u32, |sum, (place, digit)| {
        let doubled = if place % 2 == 1 { digit.saturating_mul(2) } else { *digit };
        sum.saturating_add(if doubled > 9 { doubled.saturating_sub(9) } else { doubled })
    });
    issued && sum % 10 == 0 && digits.iter().any(|digit| Some(digit) != digits.first())
}

/// The head is a JSON object with an `alg`.
fn is_token(text: &str) -> bool {
    let head = text.split('.').next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok()).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&head).is_ok_and(|head| head.get("alg").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_looks_like_them() {
        let token = format!(
            "{}.{}.x",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"ann"}"#)
        );
        for (name, text, want) in [
            ("a key", r#"{"key":"AKIAIOSFODNN7EXAMPLE"}"#, Some(Weight::Secret)),
            ("a key within base64", "xxAKIAIOSFODNN7EXAMPLEyy+/aa", None),
            ("a card", r#"{"card":"4111 1111 1111 1111"}"#, Some(Weight::Secret)),
            ("a wrong check digit", r#"{"card":"4111111111111112"}"#, None),
            ("a time in microseconds", r#"{"at":1764310000000000}"#, None),
            ("a long number", r#"{"n":41111111111111111111111}"#, None),
            ("zeros", r#"{"n":"0000000000000000"}"#, None),
            ("a private key", "-----BEGIN RSA PRIVATE KEY-----", Some(Weight::Secret)),
            ("a token", token.as_str(), Some(Weight::Hint)),
            ("two words with points", "eyJub3RqYXNvbg.eyJub3RqYXNvbg.x", None),
            ("an address", "write to ann@example.com", Some(Weight::Hint)),
            ("a handle", "@ann says hi", None),
            ("a private address", "at 10.2.3.4", Some(Weight::Hint)),
            ("a version", "at 1.10.2.3.4", None),
        ] {
            let found = findings(text);
            assert_eq!(found.first().map(|finding| finding.weight), want, "{name}: {found:?}");
        }
        let found = findings("AKIAIOSFODNN7EXAMPLE");
        assert_eq!(found[0].shown(), "AKIA…LE, 20 characters");
    }
}
