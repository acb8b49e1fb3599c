//! `.gitignore`.

use super::{Edit, like};

/// Adds those of `lines` that the file does not have, under a comment.
pub(crate) fn add(original: &str, lines: &[String]) -> Edit {
    let has = |line: &str| original.lines().any(|known| known.trim() == line);
    let new: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !has(line)).collect();
    if new.is_empty() {
        return Edit::Same;
    }
    let mut text = original.to_owned();
    if !text.is_empty() {
        text.push_str(&like(original, if text.ends_with('\n') { "\n" } else { "\n\n" }));
    }
    let block = format!("# wsguard: signing keys, the store of revocations, reports\n{}\n", new.join("\n"));
    text.push_str(&like(original, &block));
    Edit::Changed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_added_again() {
        let lines = ["/keys/*".to_owned(), "!/keys/*.pub".to_owned()];
        let head = "# wsguard: signing keys, the store of revocations, reports\n";
        for (name, original, want) in [
            ("no file", "", Some(format!("{head}/keys/*\n!/keys/*.pub\n"))),
            ("some", "/target\n/keys/*\n", Some(format!("/target\n/keys/*\n\n{head}!/keys/*.pub\n"))),
            ("no end of line", "a", Some(format!("a\n\n{head}/keys/*\n!/keys/*.pub\n"))),
            ("all", "/keys/*\n!/keys/*.pub", None),
            (
                "of another system",
                "a\r\n",
                Some(format!("a\r\n\r\n{head}/keys/*\n!/keys/*.pub\n").replace('\n', "\r\n").replace("\r\r", "\r")),
            ),
        ] {
            let want = want.map_or(Edit::Same, Edit::Changed);
            assert_eq!(add(original, &lines), want, "{name}");
        }
    }
}
