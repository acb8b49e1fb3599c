//! Follows the links of the documents: in the sources, as a reader of the repository does, and in the book that was built.
//!
//! Addresses of other servers are looked at, not visited: a check that needs the network fails for other reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use regex::Regex;

/// What may stand before an address that is not a file's.
const ELSEWHERE: [&str; 4] = ["https://", "mailto:", "http://localhost:", "http://127.0.0.1:"];

/// A document: where it can be pointed at, and what it points to.
#[derive(Default)]
struct Document {
    anchors: BTreeSet<String>,
    /// The line, and the address as written.
    links: Vec<(usize, String)>,
}

/// Every link of a tracked Markdown file that leads nowhere.
///
/// # Errors
/// When git cannot be asked, or a file cannot be read.
pub(crate) fn in_sources(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("run git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut documents = BTreeMap::new();
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        let path = root.join(name);
        // One that was removed and not yet committed.
        if path.is_file() {
            documents.insert(PathBuf::from(name), markdown(&read(&path)?));
        }
    }
    if documents.is_empty() {
        return Err("git ls-files: no document".into());
    }
    let mut broken = Vec::new();
    for (name, document) in &documents {
        for (line, address) in &document.links {
            if let Some(fault) = fault(root, name, address, &documents) {
                broken.push(format!("{}:{line}: {address}: {fault}", name.display()));
            }
        }
    }
    Ok(broken)
}

/// Every link of the book in `folder` that leads nowhere.
///
/// # Errors
/// When there is no book, or a page cannot be read.
pub(crate) fn in_book(folder: &Path) -> Result<Vec<String>, String> {
    let (id, address) = (pattern(r#"\sid="([^"]+)""#)?, pattern(r#"\s(?:href|src)="([^"]+)""#)?);
    let mut pages = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(directory) = open.pop() {
        let entries =
            std::fs::read_dir(&directory).map_err(|error| format!("read {}: {error}", directory.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("read {}: {error}", directory.display()))?.path();
            let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html") && !is_apart(&name) {
                pages.insert(name, html(&read(&path)?, &id, &address));
            }
        }
    }
    if pages.is_empty() {
        return Err(format!("read {}: there is no book", folder.display()));
    }
    let mut broken = BTreeSet::new();
    for (name, page) in &pages {
        for (_, address) in &page.links {
            if let Some(fault) = fault(folder, name, address, &pages) {
                broken.insert(format!("{}: {address}: {fault}", name.display()));
            }
        }
    }
    Ok(broken.into_iter().collect())
}

/// Pages whose addresses are relative to another place: the one for addresses that do not exist, and the frame of the
/// table of contents.
fn is_apart(name: &Path) -> bool {
    ["404.html", "toc.html", "print.html"].iter().any(|apart| name == Path::new(apart))
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("compile {text}: {error}"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))
}

fn html(text: &str, id: &Regex, address: &Regex) -> Document {
    let all = |pattern: &Regex| -> Vec<String> {
        pattern.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str().replace("&amp;", "&"))).collect()
    };
    Document {
        anchors: all(id).into_iter().collect(),
        links: all(address).into_iter().map(|address| (0, address)).collect(),
    }
}

/// Reads Markdown as GitHub and mdBook do.
fn markdown(text: &str) -> Document {
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES).into_offset_iter();
    for (event, range) in parser {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let numbered = (1..).map(|number| format!("{slug}-{number}"));
                let free = std::iter::once(slug.clone()).chain(numbered).find(|name| !document.anchors.contains(name));
                document.anchors.extend(free);
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                let before = text.get(..range.start).unwrap_or_default();
                document.links.push((before.matches('\n').count().saturating_add(1), dest_url.into_string()));
            }
            // A picture for light and dark is written as HTML.
            Event::Html(html) | Event::InlineHtml(html) => {
                let before = text.get(..range.start).unwrap_or_default();
                let line = before.matches('\n').count().saturating_add(1);
                for attribute in ["src=\"", "srcset=\"", "href=\""] {
                    let addresses = html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
                    document.links.extend(addresses.map(|address| (line, address.to_owned())));
                }
            }
            _ => {}
        }
    }
    document
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter))
        .collect::<String>();
    kept.trim().replace(' ', "-")
}

/// What is wrong with `address`, as `from` writes it.
fn fault(root: &Path, from: &Path, address: &str, documents: &BTreeMap<PathBuf, Document>) -> Option<String> {
    if ELSEWHERE.iter().any(|beginning| address.starts_with(beginning)) {
        return None;
    }
    if address.split('/').next().is_some_and(|first| first.contains(':')) || address.starts_with('/') {
        return Some("neither a path nor https".into());
    }
    let (path, anchor) = address.split_once('#').unwrap_or((address, ""));
    let path = path.split('?').next().unwrap_or_default();
    let target = if path.is_empty() { from.to_owned() } else { resolve(from, path)? };
    if !root.join(&target).exists() {
        return Some("no such file".into());
    }
    let known = documents.get(&target);
    (!anchor.is_empty() && known.is_some_and(|document| !document.anchors.contains(anchor)))
        .then(|| format!("{} has no heading of that name", target.display()))
}

/// The path that `path` means in `from`, from the root. One that leads out of it is left as it is, and not found.
fn resolve(from: &Path, path: &str) -> Option<PathBuf> {
    let mut resolved = from.parent()?.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if resolved.pop() => {}
            Component::ParentDir => return Some(PathBuf::from("outside of the repository")),
            Component::Normal(name) => resolved.push(name),
            _ => {}
        }
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = "# A `b`, c!\n\n## Same\n\n## Same\n\n[x](#a-b-c) [y](#same-1)\n";
        let documents = BTreeMap::from([(PathBuf::from("docs/protocol.md"), markdown(text))]);
        for (address, want) in [
            ("#a-b-c", true),
            ("#same-1", true),
            ("#same-2", false),
            ("protocol.md#same", true),
            ("protocol.md#other", false),
            ("../README.md", true),
            ("../READMY.md", false),
            ("../../../etc/passwd", false),
            ("/etc/passwd", false),
            ("https://www.rfc-editor.org/rfc/rfc6455", true),
            ("http://www.rfc-editor.org/rfc/rfc6455", false),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(fault(&root, Path::new("docs/protocol.md"), address, &documents).is_none(), want, "{address}");
        }
        let found = markdown("a\n\nb [x](y.md)\n").links;
        assert_eq!(found, [(3, "y.md".to_owned())]);
    }

    #[test]
    fn a_page_of_the_book_is_read() {
        let (id, address) = (pattern(r#"\sid="([^"]+)""#).unwrap(), pattern(r#"\s(?:href|src)="([^"]+)""#).unwrap());
        let page = html(r#"<h1 id="top"><a class="header" href="a.html?x&amp;y">"#, &id, &address);
        assert!(page.anchors.contains("top"));
        assert_eq!(page.links, [(0, "a.html?x&y".to_owned())]);
    }
}
