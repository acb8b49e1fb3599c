//! `wsguard.toml`, made from the file that has every key as a comment.

/// Puts `values` (`section.key`, and the value as TOML) in the place of their commented defaults.
///
/// # Errors
/// A key that the file does not have: the template and this program do not fit together.
pub(crate) fn set(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut missing: Vec<&str> = values.iter().map(|(key, _)| *key).collect();
    let mut section = "";
    let mut out = String::with_capacity(template.len());
    for line in template.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
        let value =
            key.and_then(|key| values.iter().find(|(wanted, _)| wanted.split_once('.') == Some((section, key))));
        match value {
            Some((wanted, value)) => {
                missing.retain(|key| key != wanted);
                let name = key.unwrap_or_default();
                out.extend([name, " = ", value]);
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    if missing.is_empty() { Ok(out) } else { Err(format!("set {}: no such key in the template", missing.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "# head\n[a]\n# What it is.\n#k = 1\n#other = [\"x\"]\n\n[b]\n#k = 2\n";

    #[test]
    fn a_key_takes_the_place_of_its_comment() {
        let text = set(TEMPLATE, &[("b.k", "9")]).unwrap();
        assert_eq!(text, "# head\n[a]\n# What it is.\n#k = 1\n#other = [\"x\"]\n\n[b]\nk = 9\n");
        assert!(set(TEMPLATE, &[("b.other", "9"), ("a.k", "3")]).unwrap_err().contains("b.other"));
    }
}
