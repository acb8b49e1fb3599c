//! Regular expressions of ECMA-262 that mean the same in the `regex` crate, which matches in linear time.
//!
//! Attack: a pattern that backtracks can be made to run for hours by one message (`ReDoS`, CWE-1333). A conservative subset is
//! rewritten with every construct spelled out, because the dialects differ in the meaning of `\d`, `\w`, `\s` and `.` and in what
//! is special inside a class. Everything else (look-around, back references, `\b`, `\p`) is left to the fallback engine.

use super::program::PATTERN_BYTES_MAX;
use regex::{Regex, RegexBuilder};
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// ECMA-262 `WhiteSpace` and `LineTerminator`, inside a class.
const SPACE: &str = r"\t\n\x0b\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// The expression that matches what `source` matches in ECMA-262 with the `u` flag; `None` outside of the subset.
pub(super) fn compile(source: &str) -> Option<Regex> {
    let mut translation = Translation { rest: source.chars().peekable(), out: String::new(), depth: 0 };
    translation.pattern()?;
    RegexBuilder::new(&translation.out).size_limit(PATTERN_BYTES_MAX).build().ok()
}

struct Translation<'s> {
    rest: Peekable<Chars<'s>>,
    out: String,
    depth: u32,
}

/// What stands for one character or for a set of them.
enum Unit {
    Char(char),
    /// The inside of a class, and whether the class is negated.
    Set(&'static str, bool),
}

impl Translation<'_> {
    fn pattern(&mut self) -> Option<()> {
        while let Some(character) = self.rest.next() {
            let repeatable = match character {
                '|' => {
                    self.out.push('|');
                    false
                }
                '^' | '$' => {
                    self.out.push_str(if character == '^' { r"\A" } else { r"\z" });
                    false
                }
                '(' => {
                    if self.rest.next_if_eq(&'?').is_some() {
                        self.rest.next_if_eq(&':')?;
                    }
                    self.out.push_str("(?:");
                    self.depth = self.depth.checked_add(1)?;
                    false
                }
                ')' => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.out.push(')');
                    true
                }
                '.' => {
                    self.out.push_str(r"[^\n\r\x{2028}\x{2029}]");
                    true
                }
                '[' => {
                    self.class()?;
                    true
                }
                '\\' => {
                    let unit = self.escape()?;
                    self.unit(&unit);
                    true
                }
                '*' | '+' | '?' | '{' | '}' | ']' => return None,
                literal => {
                    self.unit(&Unit::Char(literal));
                    true
                }
            };
            if repeatable {
                self.quantifier()?;
            }
        }
        (self.depth == 0).then_some(())
    }

    fn unit(&mut self, unit: &Unit) {
        match unit {
            Unit::Char(character) => self.literal(*character),
            Unit::Set(inside, negated) => {
                self.out.push_str(if *negated { "[^" } else { "[" });
                self.out.push_str(inside);
                self.out.push(']');
            }
        }
    }

    fn literal(&mut self, character: char) {
        if character.is_ascii_alphanumeric() {
            self.out.push(character);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.out, r"\x{{{:x}}}", u32::from(character));
        }
    }

    fn quantifier(&mut self) -> Option<()> {
        match self.rest.peek() {
            Some('*' | '+' | '?') => self.out.extend(self.rest.next()),
            Some('{') => self.counted()?,
            _ => return Some(()),
        }
        // Lazy or greedy changes only where a match ends, and nobody asks that.
        self.out.extend(self.rest.next_if_eq(&'?'));
        Some(())
    }

    fn counted(&mut self) -> Option<()> {
        let mut text = String::new();
        loop {
            let character = self.rest.next()?;
            text.push(character);
            if character == '}' {
                break;
            }
        }
        let inside = text.strip_prefix('{')?.strip_suffix('}')?;
        let (min, max) = inside.split_once(',').unwrap_or((inside, inside));
        let number = |digits: &str| -> Option<u32> {
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let min = number(min)?;
        if !max.is_empty() && number(max)? < min {
            return None;
        }
        self.out.push_str(&text);
        Some(())
    }

    fn escape(&mut self) -> Option<Unit> {
        Some(match self.rest.next()? {
            'd' => Unit::Set("0-9", false),
            'D' => Unit::Set("0-9", true),
            'w' => Unit::Set("0-9A-Za-z_", false),
            'W' => Unit::Set("0-9A-Za-z_", true),
            's' => Unit::Set(SPACE, false),
            'S' => Unit::Set(SPACE, true),
            't' => Unit::Char('\t'),
            'n' => Unit::Char('\n'),
            'r' => Unit::Char('\r'),
            'f' => Unit::Char('\u{c}'),
            'v' => Unit::Char('\u{b}'),
            'x' => Unit::Char(self.hexadecimal(2)?),
            'u' => Unit::Char(self.hexadecimal(4)?),
            syntax if "^$\\.*+?()[]{}|/".contains(syntax) => Unit::Char(syntax),
            _ => return None,
        })
    }

    /// A character by its code; a surrogate is outside of the subset.
    fn hexadecimal(&mut self, digits: u32) -> Option<char> {
        let mut code = 0_u32;
        for _ in 0..digits {
            code = code << 4 | self.rest.next()?.to_digit(16)?;
        }
        char::from_u32(code)
    }

    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        self.out.extend(self.rest.next_if_eq(&'^'));
        // `[]` and `[^]` exist only in ECMA-262.
        if self.rest.peek() == Some(&']') {
            return None;
        }
        loop {
            match self.class_unit()? {
                None => break,
                Some(Unit::Set(_, true)) => return None,
                Some(Unit::Set(inside, false)) => {
                    if self.rest.peek() == Some(&'-') {
                        return None;
                    }
                    self.out.push_str(inside);
                }
                Some(Unit::Char(from)) => {
                    self.literal(from);
                    if self.rest.next_if_eq(&'-').is_some() {
                        self.range_end(from)?;
                    }
                }
            }
        }
        self.out.push(']');
        Some(())
    }

    /// What follows the `-` behind `from`: the end of a range, or the class with the `-` as its last character.
    fn range_end(&mut self, from: char) -> Option<()> {
        if self.rest.peek() == Some(&']') {
            self.literal('-');
            return Some(());
        }
        match self.class_unit()?? {
            Unit::Char(to) if to >= from => {
                self.out.push('-');
                self.literal(to);
                Some(())
            }
            _ => None,
        }
    }

    /// One element of a class; `Some(None)` is its end.
    #[expect(
        clippy::option_option,
        reason = "outside of the subset, the end, an element: private, and read right here"
    )]
    fn class_unit(&mut self) -> Option<Option<Unit>> {
        match self.rest.next()? {
            ']' => Some(None),
            '\\' if self.rest.next_if_eq(&'-').is_some() => Some(Some(Unit::Char('-'))),
            '\\' => self.escape().map(Some),
            character => Some(Some(Unit::Char(character))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_ecma_262_says() {
        for (source, matching, other) in [
            ("^[a-z]+$", "abc", "abc\n"),
            (r"^\d{2,4}$", "123", "\u{661}\u{662}"),
            (r"^\w+$", "a_1", "\u{e9}"),
            (r"^\s$", "\u{feff}", "\u{85}"),
            (r"^\S$", "\u{85}", "\u{2028}"),
            ("^.$", "\u{1f600}", "\r"),
            ("a|b", "xbx", "c"),
            ("^(ab)+?c$", "ababc", "abac"),
            ("^(?:x{0}|y)$", "y", "x"),
            ("^[&&~~-]$", "&", "a"),
            ("^[[a]$", "[", "]"),
            (r"^[\]\-^]$", "^", "a"),
            ("^[^a-c]$", "d", "b"),
            ("^[a-]$", "-", "b"),
            (r"^\u0041\x42\/$", "AB/", "ab/"),
            ("^#é $", "#é ", "#e "),
            ("(?:)", "", "\u{0}never"),
        ] {
            let pattern = compile(source).unwrap_or_else(|| panic!("{source} is in the subset"));
            assert!(pattern.is_match(matching), "{source}: {matching:?}");
            assert!(!pattern.is_match(other) || other.ends_with("never"), "{source}: {other:?}");
        }
    }

    #[test]
    fn what_differs_is_left_to_the_fallback() {
        for source in [
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<n>a)",
            r"(a)\1",
            r"\bx",
            r"\p{L}",
            "[]",
            "[^]",
            r"[\D]",
            r"[\d-x]",
            r"[a-\d]",
            "a**",
            "^*",
            "*",
            "{",
            "a{",
            "a{,2}",
            "a{2,1}",
            "(",
            ")",
            "[a",
            "[b-a]",
            r"\ud83d",
            r"\c",
            r"\0",
            r"\q",
            "(?i:a)",
            r"\",
            "]",
            "a{1000000000}",
        ] {
            assert!(compile(source).is_none(), "{source}");
        }
    }
}
