//! `package.json`, in the form that it has.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};

use super::Edit;

/// Adds dependencies and scripts that the file does not have. Where the names stand in order, so do the new ones.
pub(crate) fn add(original: &str, dependencies: &[(&str, String)], scripts: &[(&str, &str)]) -> Edit {
    let Ok(root) = CstRootNode::parse(original, &ParseOptions::default()) else {
        return Edit::ByHand("package.json cannot be read".to_owned());
    };
    let Some(object) = root.object_value() else {
        return Edit::ByHand("package.json is no object".to_owned());
    };
    let mut changed = false;
    if scripts.iter().any(|(name, _)| object.object_value("scripts").is_none_or(|all| all.get(name).is_none())) {
        let all = object.object_value_or_set("scripts");
        for (name, command) in scripts {
            if all.get(name).is_none() {
                all.append(name, CstInputValue::String((*command).to_owned()));
                changed = true;
            }
        }
    }
    for (name, version) in dependencies {
        let is_known = |list: &str| object.object_value(list).is_some_and(|all| all.get(name).is_some());
        if !is_known("dependencies") && !is_known("devDependencies") {
            insert(&object.object_value_or_set("dependencies"), name, version);
            changed = true;
        }
    }
    if changed { Edit::Changed(root.to_string()) } else { Edit::Same }
}

fn insert(list: &CstObject, name: &str, version: &str) {
    let names: Vec<String> =
        list.properties().iter().filter_map(jsonc_parser::cst::CstObjectProp::decoded_name).collect();
    let at = if names.is_sorted() { names.partition_point(|known| known.as_str() < name) } else { names.len() };
    list.insert(at, name, CstInputValue::String(version.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(original: &str) -> String {
        match add(original, &[("@wsguard/client", "^0.1.0".to_owned())], &[("wsguard", "wsguard serve --dev")]) {
            Edit::Changed(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_form_of_the_file_stays() {
        let two = "{\n  \"name\": \"a\",\n  \"files\": [\"dist\"],\n  \"scripts\": {\n    \"dev\": \"vite\"\n  },\n  \"dependencies\": {\n    \"react\": \"^19\"\n  }\n}\n";
        let want = "{\n  \"name\": \"a\",\n  \"files\": [\"dist\"],\n  \"scripts\": {\n    \"dev\": \"vite\",\n    \"wsguard\": \"wsguard serve --dev\"\n  },\n  \"dependencies\": {\n    \"@wsguard/client\": \"^0.1.0\",\n    \"react\": \"^19\"\n  }\n}\n";
        assert_eq!(changed(two), want);
        let tabs = two.replace("  ", "\t");
        assert_eq!(changed(&tabs), want.replace("  ", "\t"), "tabs stay tabs");
        assert_eq!(add(want, &[("@wsguard/client", "^9".to_owned())], &[("wsguard", "x")]), Edit::Same);
    }

    #[test]
    fn lists_that_are_missing_are_made() {
        let text = changed("{\n  \"name\": \"a\"\n}\n");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["dependencies"]["@wsguard/client"], "^0.1.0");
        assert_eq!(value["scripts"]["wsguard"], "wsguard serve --dev");
        assert!(matches!(add("[]", &[], &[]), Edit::ByHand(_)));
    }
}
