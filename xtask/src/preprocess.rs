//! A preprocessor of mdBook: links that leave the book lead to the repository, those to a `README.md` to its page.

use std::io::Read as _;
use std::path::Path;

use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;

/// Where the repository is read.
const REPOSITORY: &str = "https://github.com/wsguard/wsguard/blob/main/";

/// Reads what mdBook says (its context and the book) and answers with the book.
///
/// # Errors
/// When standard input is not that.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut said = String::new();
    std::io::stdin().read_to_string(&mut said).map_err(|error| format!("read the book: {error}"))?;
    let said: Value = serde_json::from_str(&said).map_err(|error| format!("read the book: {error}"))?;
    let mut book = said.get(1).cloned().ok_or("read the book: its shape is not the expected one")?;
    // `sections` until mdBook 0.4, `items` from 0.5 on.
    let name = if book.get("items").is_some() { "items" } else { "sections" };
    let items = book.get_mut(name).and_then(Value::as_array_mut);
    chapters(root, items.ok_or("read the book: its shape is not the expected one")?);
    println!("{book}");
    Ok(())
}

fn chapters(root: &Path, items: &mut [Value]) {
    for item in items {
        let Some(chapter) = item.get_mut("Chapter") else {
            continue;
        };
        let path = chapter.get("path").and_then(Value::as_str).map(str::to_owned);
        if let (Some(path), Some(content)) = (path, chapter.get_mut("content")) {
            let text = content.as_str().unwrap_or_default();
            *content = Value::String(rewritten(root, Path::new(&path), text));
        }
        if let Some(below) = chapter.get_mut("sub_items").and_then(Value::as_array_mut) {
            chapters(root, below);
        }
    }
}

/// The text of the page at `path` with its links out of the book made absolute.
fn rewritten(root: &Path, path: &Path, text: &str) -> String {
    let depth = path.components().count();
    let mut changes = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event else {
            continue;
        };
        let written = format!("]({dest_url}");
        let Some(place) = text.get(range.clone()).and_then(|link| link.rfind(&written)) else {
            continue;
        };
        let start = range.start.saturating_add(place).saturating_add(2);
        let up = dest_url.split('/').take_while(|part| *part == "..").count();
        let address = if up >= depth {
            let rest: Vec<&str> = dest_url.split('/').skip(depth).collect();
            let beyond = root.join(rest.join("/"));
            let kind = if beyond.is_dir() { REPOSITORY.replace("/blob/", "/tree/") } else { REPOSITORY.to_owned() };
            format!("{kind}{}", rest.join("/"))
        } else if !dest_url.contains("://") && dest_url.contains("README.md") {
            // mdBook makes `index.html` of it, and leaves the links as they are.
            dest_url.replace("README.md", "index.md")
        } else {
            continue;
        };
        changes.push((start..start.saturating_add(dest_url.len()), address));
    }
    let mut out = text.to_owned();
    for (range, address) in changes.into_iter().rev() {
        out.replace_range(range, &address);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_book_lead_to_the_repository() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (path, text, want) in [
            ("a.md", "[x](b.md) [y](https://z.example/)", "[x](b.md) [y](https://z.example/)"),
            ("a.md", "[x](../README.md#start)", "[x](https://github.com/wsguard/wsguard/blob/main/README.md#start)"),
            ("a.md", "[`x`](../vectors) b", "[`x`](https://github.com/wsguard/wsguard/tree/main/vectors) b"),
            ("checks/a.md", "[x](../audit.md)", "[x](../audit.md)"),
            ("a.md", "[x](checks/README.md#a)", "[x](checks/index.md#a)"),
            ("checks/a.md", "[x](../../README.md)", "[x](https://github.com/wsguard/wsguard/blob/main/README.md)"),
            ("a.md", "`[x](../README.md)`", "`[x](../README.md)`"),
        ] {
            assert_eq!(rewritten(&root, Path::new(path), text), want, "{path}: {text}");
        }
    }
}
