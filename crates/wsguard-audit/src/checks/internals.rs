//! What must not leave a server: signs of its inside, told from words that anybody may use.

use std::sync::LazyLock;

use regex::Regex;

/// Signs that are enough by themselves, by what they show.
static SIGNS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    compiled(&[
        ("a trace of Python", r#"Traceback \(most recent call last\)|File "[^"\n]+", line \d+"#),
        ("a trace of JavaScript", r"(?:^|\n|\\n)\s+at [^\n]{0,200}:\d+:\d+\)?"),
        ("a trace of Java", r"(?:^|\n|\\n)\s*(?:\\t)?at [a-z][\w$]*(?:\.[\w$<>]+)+\([\w$]+\.(?:java|kt|scala):\d+\)"),
        ("a trace of .NET", r"(?:^|\n|\\n)\s*at [\w.<>`]+\([^)\n]*\) in [^\n]+:line \d+"),
        ("a trace of Go", r"goroutine \d+ \[|runtime error: "),
        ("a panic of Rust", r"thread '[^']*' panicked at|panicked at [\w/.-]+\.rs:\d+"),
        ("an error of PHP or Ruby", r"(?:Fatal error|Warning|Notice): .{0,200} on line \d+|\.rb:\d+:in "),
        (
            "an error of a database",
            r#"(?i)sqlite3?\.\w*error|SQLITE_\w+|you have an error in your SQL syntax|unterminated quoted string|near "[^"]*": syntax error|unrecognized token: |ORA-\d{5}|PG::\w+Error|psycopg2?\.|MongoServerError|MongoError|SQLSTATE\["#,
        ),
        (
            "an error of a deserialiser",
            r"(?i)UnpicklingError|pickle data|could not find MARK|StreamCorruptedException|InvalidClassException|java\.io\.\w+Exception|msgpack\.exceptions|yaml\.\w+error",
        ),
        (
            "a path",
            r"(?:/(?:usr|home|var|opt|app|srv|root)/[\w.@-]+/[\w./@-]*\.\w{1,5}\b|[A-Z]:\\\\?[\w. -]+\\\\?[\w.\\ -]+\.\w{1,5}\b|node_modules/|site-packages/)",
        ),
    ])
});

/// Signs that prove something only together.
static HINTS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    compiled(&[
        ("the name of an exception", r"\b[A-Z]\w+(?:Exception|Error)\b"),
        (
            "an address of a private network",
            r"\b(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b",
        ),
        ("a place in a program", r"\b[\w-]+\.(?:js|ts|py|rb|go|rs|java|php):\d+\b"),
    ])
});

/// Compiled once: a run looks at thousands of texts.
fn compiled(patterns: &[(&'static str, &str)]) -> Vec<(&'static str, Regex)> {
    patterns.iter().filter_map(|(what, pattern)| Some((*what, Regex::new(pattern).ok()?))).collect()
}

/// What of the inside a text shows: one sign, or two hints.
pub(super) fn internals(text: &str) -> Option<String> {
    // As it stood before it was put into a text of JSON.
    let text = &text.replace("\\n", "\n").replace("\\\"", "\"");
    if let Some(sign) = SIGNS.iter().find_map(|sign| found(sign, text)) {
        return Some(sign);
    }
    let hints: Vec<String> = HINTS.iter().filter_map(|hint| found(hint, text)).collect();
    (hints.len() >= 2).then(|| hints.join(" and "))
}

/// The voice of one kind of machine alone: a trace of the program around it is judged by WSA-ERR-01.
pub(super) fn voice(text: &str, of: &str) -> Option<String> {
    let text = &text.replace("\\n", "\n").replace("\\\"", "\"");
    SIGNS.iter().filter(|(what, _)| *what == of).find_map(|sign| found(sign, text))
}

fn found((what, pattern): &(&str, Regex), text: &str) -> Option<String> {
    let hit = pattern.find(text)?.as_str().trim();
    Some(format!("{what} ({:?})", crate::probe::shortened(hit)))
}

#[cfg(test)]
mod tests {
    use super::internals;

    #[test]
    fn signs_are_told_from_words() {
        for (text, want) in [
            (r#"{"error":"SyntaxError: x\n    at JSON.parse (<anonymous>)\n    at f (/srv/a/b.js:3:14)"}"#, true),
            ("Traceback (most recent call last):", true),
            (r#"{"error":"near \"x\": syntax error"}"#, true),
            (r#"near "x": syntax error"#, true),
            ("sqlite3.OperationalError: no", true),
            ("UnpicklingError: invalid load key", true),
            ("ENOENT: no such file /var/www/app/index.html", true),
            ("TypeError in handler.py:12", true),
            ("TypeError: cannot read", false),
            ("an exception was made for you", false),
            (r#"{"type":"error","code":"invalid_json"}"#, false),
            ("Unexpected token } in JSON at position 4", false),
            ("see https://example.com/usr/share", false),
        ] {
            assert_eq!(internals(text).is_some(), want, "{text}: {:?}", internals(text));
        }
    }
}
