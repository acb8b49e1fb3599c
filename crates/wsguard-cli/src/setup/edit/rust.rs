//! `main.rs`: a module, and the guard around what is served. Looked at with comments and literals blanked out; changed
//! where one call of `axum::serve` is seen, else left alone. That it compiles afterwards is seen when it is built.

use super::{Edit, like};

/// Serves what is served through `ws::guarded`, and names the module.
pub(crate) fn wire(original: &str, path: &str) -> Edit {
    let by_hand = |why: &str| {
        Edit::ByHand(format!(
            "{path}: {why}. Add the module and wrap the router that is served:\n    mod ws;\n    \
             axum::serve(listener, ws::guarded(app).await)"
        ))
    };
    let Some(code) = blanked(original) else { return by_hand("it cannot be read as Rust") };
    if code.lines().any(|line| module_of(line) == Some("ws")) {
        let is_wired = code.contains("ws::guarded(");
        return if is_wired { Edit::Same } else { by_hand("it has a module ws of its own") };
    }
    let mut calls = code.match_indices("axum::serve(");
    let (Some((at, call)), None) = (calls.next(), calls.next()) else {
        return by_hand("axum::serve(listener, app) is not called exactly once");
    };
    let begins = at.saturating_add(call.len());
    // Inside a macro the braces say nothing about what an argument is.
    let is_argument = code.get(..at).is_some_and(|before| before.trim_end().ends_with(['(', '!']));
    let Some((from, to, end)) = served(&code, begins).filter(|_| !is_argument) else {
        return by_hand("axum::serve has an unusual form");
    };
    let parts = (original.get(..from), original.get(from..to), original.get(end..));
    let (Some(before), Some(inner), Some(after)) = parts else { return by_hand("it has an unusual form") };
    let text = format!("{before}ws::guarded({inner}).await{after}");
    match place_of_module(original, &code).filter(|(place, _)| *place <= at) {
        Some((place, module)) => {
            let (head, tail) = text.split_at(place);
            Edit::Changed(format!("{head}{}{tail}", like(original, module)))
        }
        None => by_hand("it has an unusual form"),
    }
}

/// Where the router stands in `axum::serve(listener, router)`: from, to, and where the argument ends that it is in, which
/// may have `.into_make_service()` behind it.
fn served(code: &str, begins: usize) -> Option<(usize, usize, usize)> {
    let rest = code.get(begins..)?;
    let (mut depth, mut comma, mut end) = (0_u32, None, None);
    for (at, letter) in rest.char_indices() {
        match letter {
            '(' | '[' | '{' => depth = depth.checked_add(1)?,
            ')' if depth == 0 => {
                end = Some(at);
                break;
            }
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 && comma.is_none() => comma = Some(at),
            // A third argument, or the comma of a call that is written over lines.
            ',' if depth == 0 && rest.get(at..)?.trim_start_matches(',').trim_start().starts_with(')') => {
                end = Some(at);
                break;
            }
            ',' if depth == 0 => return None,
            _ => {}
        }
    }
    let (comma, end) = (comma?, end?);
    let argument = rest.get(comma.checked_add(1)?..end)?;
    let whole = argument.trim();
    let from = begins.checked_add(comma)?.checked_add(1)?.checked_add(argument.find(whole)?)?;
    let services = [".into_make_service()", ".into_make_service_with_connect_info::<SocketAddr>()"];
    let router = services.iter().find_map(|service| whole.strip_suffix(service)).unwrap_or(whole).trim_end();
    // Any other form of the method has types that we would have to guess.
    let is_known = !router.is_empty() && !router.contains("into_make_service");
    is_known.then(|| (from, from.saturating_add(router.len()), from.saturating_add(whole.len())))
}

/// The name in `mod name;`.
fn module_of(line: &str) -> Option<&str> {
    line.trim_end()
        .strip_prefix("pub ")
        .unwrap_or(line.trim_end())
        .strip_prefix("mod ")?
        .strip_suffix(';')
        .map(str::trim)
}

/// Where the module is named: behind the others, else before the first item and what is said of it.
fn place_of_module(original: &str, code: &str) -> Option<(usize, &'static str)> {
    let (mut at, mut behind, mut first, mut aside) = (0_usize, None, None, 0_usize);
    for (line, coded) in original.split_inclusive('\n').zip(code.split_inclusive('\n')) {
        let (text, next) = (line.trim(), at.checked_add(line.len())?);
        if module_of(coded).is_some() {
            behind = Some(next);
        }
        let is_comment = text.starts_with("//") && !text.starts_with("///");
        if first.is_none() {
            if text.is_empty() || text.starts_with("//!") || text.starts_with("#![") {
                if text.starts_with("#![") && !text.ends_with(']') {
                    return None;
                }
                aside = next;
            } else if text.starts_with("/*") {
                return None;
            } else if !is_comment {
                first = Some(aside);
            }
        }
        at = next;
    }
    behind.map(|place| (place, "mod ws;\n")).or(first.map(|place| (place, "mod ws;\n\n")))
}

/// `source` with comments and literals made of spaces, every place where it was; `None` where one does not end.
fn blanked(source: &str) -> Option<String> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let word = out.chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_');
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest)?,
            '"' => quoted(rest, '"')?,
            'r' | 'b' | 'c' if !word => raw(rest)?,
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(letter);
            rest = rest.get(letter.len_utf8()..)?;
        } else {
            let (blank, after) = rest.split_at_checked(length)?;
            out.extend(blank.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    Some(out)
}

/// Length of a comment in `/* */`, which may hold others.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_u32, 0_usize);
    loop {
        let rest = text.get(at..)?;
        let step = if rest.starts_with("/*") {
            depth = depth.checked_add(1)?;
            2
        } else if rest.starts_with("*/") {
            depth = depth.checked_sub(1)?;
            2
        } else {
            rest.chars().next()?.len_utf8()
        };
        at = at.checked_add(step)?;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Length of a literal between quotes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next()?;
        } else if letter == quote {
            return at.checked_add(1);
        }
    }
    None
}

/// Length of a literal that begins with letters (`r"…"`, `br#"…"#`, `b"…"`); 0 where a name begins so.
fn raw(text: &str) -> Option<usize> {
    let Some(prefix) = ["br", "cr", "r", "b", "c"].iter().find(|prefix| text.starts_with(**prefix)) else {
        return Some(0);
    };
    let rest = text.get(prefix.len()..)?;
    let hashes = rest.len().checked_sub(rest.trim_start_matches('#').len())?;
    if !rest.get(hashes..)?.starts_with('"') {
        return Some(0);
    }
    if !prefix.contains('r') {
        return if hashes == 0 { quoted(rest, '"')?.checked_add(prefix.len()) } else { Some(0) };
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = prefix.len().checked_add(hashes)?.checked_add(1)?;
    text.get(begin..)?.find(&end)?.checked_add(begin)?.checked_add(end.len())
}

/// Length of `'a'`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some(_)) => quoted(text, '\'').unwrap_or(0),
        (Some(_), Some((at, '\''))) => at.saturating_add(1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        for (source, want) in [
            ("a // b\nc", "a     \nc"),
            ("/* x /* y */ */z", "               z"),
            (r#"f("(\")", 'a', '\'', 'b)"#, "f(      ,    ,     , 'b)"),
            (r##"r#"a"b"# br"c" number"##, "                number".get(1..).map_or("", |text| text)),
            ("let for_b = b;", "let for_b = b;"),
        ] {
            assert_eq!(blanked(source).as_deref(), Some(want), "{source}");
        }
        assert_eq!(blanked("\"open"), None);
        assert_eq!(blanked("/* open"), None);
    }

    const MAIN: &str = "//! A shop.\n\nuse axum::Router;\n\n#[tokio::main]\nasync fn main() {\n    let app = Router::new(); // all of it\n    axum::serve(listener, app).await.unwrap();\n}\n";

    #[test]
    fn two_lines_change() {
        let want = MAIN
            .replace("use axum", "mod ws;\n\nuse axum")
            .replace("listener, app)", "listener, ws::guarded(app).await)");
        for (name, original, want) in [
            ("plain", MAIN.to_owned(), want.clone()),
            ("a service", MAIN.replace(", app)", ", app.into_make_service())"), want.clone()),
            (
                "with addresses",
                MAIN.replace(", app)", ", app.into_make_service_with_connect_info::<SocketAddr>())"),
                want.clone(),
            ),
            (
                "an expression",
                MAIN.replace(", app)", ", app.layer(trace()))"),
                want.replace("guarded(app)", "guarded(app.layer(trace()))"),
            ),
            (
                "beside other modules",
                MAIN.replace("use axum", "mod a;\nmod b;\n\nuse axum"),
                want.replace("mod ws;\n\nuse axum", "mod a;\nmod b;\nmod ws;\n\nuse axum"),
            ),
            ("of another system", MAIN.replace('\n', "\r\n"), want.replace('\n', "\r\n")),
            (
                "text that looks like it",
                MAIN.replace("// all of it", "// axum::serve(a, b)"),
                want.replace("// all of it", "// axum::serve(a, b)"),
            ),
        ] {
            assert_eq!(wire(&original, "src/main.rs"), Edit::Changed(want), "{name}");
        }
        assert_eq!(wire(&want, "src/main.rs"), Edit::Same);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for (name, original) in [
            ("not Rust", "fn main( {".to_owned()),
            ("nothing served", MAIN.replace("axum::serve", "hyper::serve")),
            ("twice", MAIN.replace("    axum", "    axum::serve(other, app).await;\n    axum")),
            (
                "in a macro",
                MAIN.replace("axum::serve(listener, app).await.unwrap();", "run!(axum::serve(listener, app));"),
            ),
            ("a module of that name", MAIN.replace("use axum", "mod ws;\nuse axum")),
            (
                "addresses of another type",
                MAIN.replace(", app)", ", app.into_make_service_with_connect_info::<Mine>())"),
            ),
        ] {
            assert!(matches!(wire(&original, "src/main.rs"), Edit::ByHand(_)), "{name}");
        }
    }
}
