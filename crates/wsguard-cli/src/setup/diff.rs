//! A plan as a diff that `git apply` and `patch -p1` take.

use std::fmt::Write as _;

use similar::TextDiff;

use super::plan::{Change, Content};

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// The files of a plan. Keys are made when the plan is carried out; they are not part of it.
pub(crate) fn unified(changes: &[Change]) -> String {
    let mut out = String::new();
    for Change { path, old, new, .. } in changes {
        let Content::Text(new) = new else { continue };
        let path = path.display();
        // Writing to a String does not fail.
        let _ = writeln!(out, "diff --git a/{path} b/{path}");
        let before = if old.is_some() {
            format!("a/{path}")
        } else {
            out.push_str(
                "new file mode 100644
",
            );
            "/dev/null".to_owned()
        };
        let old = old.as_deref().unwrap_or_default();
        let diff = TextDiff::from_lines(old, new.as_str());
        let _ = write!(out, "{}", diff.unified_diff().context_radius(CONTEXT).header(&before, &format!("b/{path}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, old: Option<&str>, new: &str) -> Change {
        let old = old.map(str::to_owned);
        Change { path: path.into(), old, new: Content::Text(new.to_owned()), keeps_old: false }
    }

    #[test]
    fn files_are_new_or_changed() {
        let key = Change { path: "keys/a.pem".into(), old: None, new: Content::KeyPair, keeps_old: false };
        let text = unified(&[change("a/b", None, "x\n"), key, change("c", Some("1\n2\n"), "1\n3")]);
        let want = "diff --git a/a/b b/a/b\nnew file mode 100644\n--- /dev/null\n+++ b/a/b\n@@ -0,0 +1 @@\n+x\n\
                    diff --git a/c b/c\n--- a/c\n+++ b/c\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n\\ No newline at end of file\n";
        assert_eq!(text, want);
    }
}
