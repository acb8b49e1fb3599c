//! Entries as text: JSON for machines, a line for people.

use std::fmt::Write as _;

use super::{Entry, Outcome};

/// Longest string of an entry, in characters; what exceeds it is cut and ends in `…`.
pub const STRING_CHARS_MAX: usize = 256;

/// Longest `detail`, in characters.
pub const DETAIL_CHARS_MAX: usize = 1_024;

/// The version of the Elastic Common Schema whose names are used.
const ECS_VERSION: &str = "8.17";

/// The last millisecond of the year 9999: RFC 3339 has four digits for a year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// Appends `entry` to `out` as one JSON object without an end of line. Absent fields are left out.
pub fn json(entry: &Entry, out: &mut String) {
    out.push_str("{\"@timestamp\":\"");
    timestamp(entry.unix_ms, out);
    out.push('"');
    let category = match entry.control {
        Some("credential" | "csrf") => "[\"authentication\",\"network\"]",
        _ => "[\"network\"]",
    };
    let kind = match entry.outcome {
        Outcome::Failure => "[\"denied\"]",
        Outcome::Success => "[\"allowed\"]",
        Outcome::Unknown => "[\"info\"]",
    };
    text(out, "ecs.version", ECS_VERSION);
    text(out, "event.kind", "event");
    member(out, "event.category");
    out.push_str(category);
    member(out, "event.type");
    out.push_str(kind);
    text(out, "event.action", entry.action);
    text(out, "event.outcome", entry.outcome.as_str());
    for (name, value) in
        [("event.code", entry.code), ("event.reason", entry.reason), ("wsguard.control", entry.control)]
    {
        if let Some(value) = value {
            text(out, name, value);
        }
    }
    if let Some(ip) = entry.source {
        member(out, "source.ip");
        let _ = write!(out, "\"{ip}\"");
    }
    for (name, value) in [
        ("wsguard.ref", &entry.reference),
        ("user.name", &entry.subject),
        ("wsguard.session", &entry.session),
        ("wsguard.message_type", &entry.message_type),
        ("url.path", &entry.path),
        ("wsguard.origin", &entry.origin),
    ] {
        if let Some(value) = value {
            text(out, name, value);
        }
    }
    if let Some(bytes) = entry.bytes {
        raw(out, "wsguard.message_bytes", bytes);
    }
    if let Some(code) = entry.close_code {
        raw(out, "wsguard.close_code", code);
    }
    if let Some(status) = entry.status {
        raw(out, "http.response.status_code", status);
    }
    if let Some(detail) = &entry.detail {
        out.push_str(",\"message\":\"");
        escaped(detail, DETAIL_CHARS_MAX, Quotes::Json, out);
        out.push('"');
    }
    out.push('}');
}

/// Appends `entry` to `out` as one line for people, without an end of line: time, outcome, action, then `name=value`.
pub fn human(entry: &Entry, out: &mut String) {
    timestamp(entry.unix_ms, out);
    let mark = match entry.outcome {
        Outcome::Success => "ok     ",
        Outcome::Failure => "refused",
        Outcome::Unknown => "note   ",
    };
    // Writing to a String does not fail.
    let _ = write!(out, " {mark} {}", entry.action);
    for (name, value) in [("control", entry.control), ("code", entry.code), ("reason", entry.reason)] {
        if let Some(value) = value {
            let _ = write!(out, " {name}={value}");
        }
    }
    if let Some(ip) = entry.source {
        let _ = write!(out, " from={ip}");
    }
    for (name, value) in [
        ("subject", &entry.subject),
        ("type", &entry.message_type),
        ("path", &entry.path),
        ("origin", &entry.origin),
        ("session", &entry.session),
        ("ref", &entry.reference),
    ] {
        if let Some(value) = value {
            let _ = write!(out, " {name}=");
            escaped(value, STRING_CHARS_MAX, Quotes::Human, out);
        }
    }
    if let Some(bytes) = entry.bytes {
        let _ = write!(out, " bytes={bytes}");
    }
    if let Some(code) = entry.close_code {
        let _ = write!(out, " close={code}");
    }
    if let Some(status) = entry.status {
        let _ = write!(out, " status={status}");
    }
    if let Some(detail) = &entry.detail {
        out.push_str(": ");
        escaped(detail, DETAIL_CHARS_MAX, Quotes::Human, out);
    }
}

/// The name of the next member, up to its value. Joined by hand: `write!` takes several times as long.
fn member(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn text(out: &mut String, name: &str, value: &str) {
    member(out, name);
    out.push('"');
    escaped(value, STRING_CHARS_MAX, Quotes::Json, out);
    out.push('"');
}

fn raw(out: &mut String, name: &str, value: impl std::fmt::Display) {
    member(out, name);
    let _ = write!(out, "{value}");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Quotation mark and backslash are escaped.
    Json,
    /// They stand as they are, and a space ends nothing: the line is for eyes.
    Human,
}

/// Appends `value`, cut, with everything escaped that moves a cursor, ends a line or turns the direction of text.
fn escaped(value: &str, chars_max: usize, quotes: Quotes, out: &mut String) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    if value.len() <= chars_max && value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push_str(value);
        return;
    }
    for (index, letter) in value.chars().enumerate() {
        if index == chars_max {
            out.push('…');
            return;
        }
        match letter {
            '"' | '\\' if quotes == Quotes::Json => {
                out.push('\\');
                out.push(letter);
            }
            _ if is_unsafe(letter) => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
}

/// C0, DEL, C1, line and paragraph separators, and the bidi controls (Unicode `Bidi_Control`); all below U+10000.
const fn is_unsafe(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// Appends a time as RFC 3339 in UTC with milliseconds. Times beyond the year 9999 count as its end.
#[expect(clippy::arithmetic_side_effects, reason = "the time is bounded by UNIX_MS_MAX, so nothing overflows")]
fn timestamp(unix_ms: u64, out: &mut String) {
    let unix_ms = unix_ms.min(UNIX_MS_MAX);
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days since 0000-03-01, so that the leap day is the last of its year; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    for (number, mut unit, behind) in [
        (year, 1_000, '-'),
        (month, 10, '-'),
        (day, 10, 'T'),
        (hour, 10, ':'),
        (minute, 10, ':'),
        (second, 10, '.'),
        (ms % 1_000, 100, 'Z'),
    ] {
        while unit > 0 {
            out.push(char::from(b'0' + (number / unit % 10).to_le_bytes()[0]));
            unit /= 10;
        }
        out.push(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (unix_ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let mut out = String::new();
            timestamp(unix_ms, &mut out);
            assert_eq!(out, want, "{unix_ms}");
        }
    }

    fn full() -> Entry {
        Entry {
            control: Some("origin"),
            code: Some("forbidden"),
            reason: Some("origin_foreign"),
            reference: Some("r-1".to_owned()),
            source: Some("203.0.113.9".parse().unwrap()),
            subject: Some("ann".to_owned()),
            session: Some("s-1".to_owned()),
            message_type: Some("chat".to_owned()),
            bytes: Some(12),
            close_code: Some(4_403),
            status: Some(403),
            path: Some("/ws".to_owned()),
            origin: Some("https://evil.example".to_owned()),
            detail: Some("two\nlines".to_owned()),
            ..Entry::new(0, "handshake_refused", Outcome::Failure)
        }
    }

    #[test]
    fn json_has_the_names_of_ecs() {
        let mut out = String::new();
        json(&full(), &mut out);
        let want = r#"{"@timestamp":"1970-01-01T00:00:00.000Z","ecs.version":"8.17","event.kind":"event","event.category":["network"],"event.type":["denied"],"event.action":"handshake_refused","event.outcome":"failure","event.code":"forbidden","event.reason":"origin_foreign","wsguard.control":"origin","source.ip":"203.0.113.9","wsguard.ref":"r-1","user.name":"ann","wsguard.session":"s-1","wsguard.message_type":"chat","url.path":"/ws","wsguard.origin":"https://evil.example","wsguard.message_bytes":12,"wsguard.close_code":4403,"http.response.status_code":403,"message":"two\u000alines"}"#;
        assert_eq!(out, want);
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    }

    #[test]
    fn human_is_one_line() {
        let mut out = String::new();
        human(&full(), &mut out);
        let want = "1970-01-01T00:00:00.000Z refused handshake_refused control=origin code=forbidden reason=origin_foreign \
                    from=203.0.113.9 subject=ann type=chat path=/ws origin=https://evil.example session=s-1 ref=r-1 \
                    bytes=12 close=4403 status=403: two\\u000alines";
        assert_eq!(out, want);
    }

    #[test]
    fn what_peers_chose_cannot_leave_its_string() {
        for (name, hostile, want) in [
            ("quote", "a\"b\\c", r#"a\"b\\c"#),
            ("line", "a\r\nb", r"a\u000d\u000ab"),
            ("terminal", "\u{1b}[2J", r"\u001b[2J"),
            ("C1", "\u{9b}2J", r"\u009b2J"),
            ("DEL", "\u{7f}", r"\u007f"),
            ("bidi", "\u{202e}abc\u{2066}\u{61c}", r"\u202eabc\u2066\u061c"),
            ("separators", "\u{2028}\u{2029}", r"\u2028\u2029"),
            ("letters stay", "Zoë 東京 😀", "Zoë 東京 😀"),
        ] {
            let entry = Entry { subject: Some(hostile.to_owned()), ..Entry::new(0, "a", Outcome::Unknown) };
            let mut out = String::new();
            json(&entry, &mut out);
            assert!(out.contains(&format!("\"user.name\":\"{want}\"")), "{name}: {out}");
            let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(parsed["user.name"], hostile, "{name}");
            out.clear();
            human(&entry, &mut out);
            assert!(!out.chars().any(is_unsafe), "{name}: {out:?}");
        }
    }

    #[test]
    fn strings_are_cut() {
        for (chars, cut) in [(STRING_CHARS_MAX, false), (STRING_CHARS_MAX + 1, true), (1_000_000, true)] {
            let entry = Entry { subject: Some("ü".repeat(chars)), ..Entry::new(0, "a", Outcome::Success) };
            let mut out = String::new();
            json(&entry, &mut out);
            assert_eq!(out.contains('…'), cut, "{chars}");
            assert!(out.chars().filter(|letter| *letter == 'ü').count() <= STRING_CHARS_MAX, "{chars}");
        }
    }
}
