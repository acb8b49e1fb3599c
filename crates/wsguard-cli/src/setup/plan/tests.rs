use std::collections::BTreeMap;

use super::*;
use crate::setup::detect::detect;
use crate::setup::detect::tests::Folder;
use crate::setup::diff;
use crate::setup::template::blank;

const CARGO: (&str, &str) =
    ("Cargo.toml", "[package]\nname = \"shop\"\nedition = \"2024\"\n\n[dependencies]\naxum = \"0.8\"\n");
const MAIN: (&str, &str) = (
    "src/main.rs",
    "use axum::Router;\n\n#[tokio::main]\nasync fn main() {\n    let listener = bind(\"127.0.0.1:8080\").await;\n    axum::serve(listener, Router::new()).await;\n}\n",
);
const PAGE: [(&str, &str); 4] = [
    (
        "package.json",
        "{\n  \"name\": \"page\",\n  \"dependencies\": {\n    \"react\": \"^19\"\n  },\n  \"devDependencies\": {\n    \"vite\": \"^8\"\n  }\n}\n",
    ),
    ("tsconfig.json", "{}"),
    (
        "src/main.tsx",
        "import { StrictMode } from 'react'\nimport App from './App.tsx'\n\ncreateRoot(root).render(\n  <StrictMode>\n    <App />\n  </StrictMode>,\n)\n",
    ),
    (
        "vite.config.ts",
        "import { defineConfig } from 'vite'\nimport react from '@vitejs/plugin-react'\n\nexport default defineConfig({\n  plugins: [react()],\n})\n",
    ),
];

fn kinds() -> [(&'static str, Vec<(&'static str, &'static str)>); 3] {
    [("standalone", vec![]), ("axum", vec![CARGO, MAIN]), ("react", PAGE.to_vec())]
}

fn planned(folder: &Folder, force: bool) -> Plan {
    plan(&detect(&folder.0).unwrap(), force, &Source::default()).unwrap().unwrap()
}

/// Does what the plan says of files, with keys that are none.
fn carried_out(folder: &Folder, plan: &Plan) {
    for Change { path, new, .. } in &plan.changes {
        match new {
            Content::Text(text) => folder.write(path.to_str().unwrap(), text),
            Content::KeyPair => {
                folder.write(path.to_str().unwrap(), "key");
                folder.write(&format!("{}.pub", path.display()), "key");
            }
        }
    }
}

fn texts(plan: &Plan) -> BTreeMap<String, String> {
    plan.changes
        .iter()
        .filter_map(|change| match &change.new {
            Content::Text(text) => Some((change.path.display().to_string(), text.clone())),
            Content::KeyPair => None,
        })
        .collect()
}

#[test]
fn each_kind_is_whole() {
    let common = [".gitignore", ".github/workflows/websocket-audit.yml", "wsguard.toml"];
    for (kind, files) in kinds() {
        let folder = Folder::with(&files);
        let plan = planned(&folder, false);
        let texts = texts(&plan);
        let own: &[&str] = match kind {
            "standalone" => &[
                "schemas/chat.json",
                "schemas/join.json",
                "deploy/wsguard.service",
                "client/chat.mjs",
                "client/package.json",
            ],
            "axum" => &[
                "wsguard/schemas/chat.json",
                "wsguard/shop.service",
                "src/ws.rs",
                "src/main.rs",
                "Cargo.toml",
                "examples/ws_client.rs",
            ],
            _ => &[
                "wsguard/schemas/chat.json",
                "wsguard/wsguard.service",
                "src/wsguard/Chat.tsx",
                "src/wsguard/client.ts",
                "src/main.tsx",
                "vite.config.ts",
                "package.json",
            ],
        };
        for path in common.iter().chain(own) {
            assert!(texts.contains_key(*path), "{kind}: {path} in {:?}", texts.keys());
        }
        for (path, text) in &texts {
            assert_eq!(blank(text), None, "{kind}: {path}");
            assert!(text.ends_with('\n'), "{kind}: {path}");
        }
        let keys = plan.changes.iter().filter(|change| matches!(change.new, Content::KeyPair)).count();
        assert_eq!(keys, 1, "{kind}");
        assert!(plan.install.is_some() && plan.by_hand.is_empty() && plan.kept.is_empty(), "{kind}: {plan:?}");
    }
}

#[test]
fn a_second_run_finds_nothing_to_change() {
    for (kind, files) in kinds() {
        let folder = Folder::with(&files);
        carried_out(&folder, &planned(&folder, false));
        for force in [false, true] {
            let again = planned(&folder, force);
            assert!(again.changes.is_empty() && again.kept.is_empty() && again.by_hand.is_empty(), "{kind}: {again:?}");
        }
        // What installs is only asked again where it has not left anything.
        folder.write("node_modules/@wsguard/client/package.json", "{}");
        folder.write("client/node_modules/@wsguard/client/package.json", "{}");
        assert!(planned(&folder, false).is_empty(), "{kind}");
    }
}

#[test]
fn vites_configuration_imports_as_its_typescript_asks() {
    let ends = "{\n  \"compilerOptions\": {\n    \"allowImportingTsExtensions\" : true\n  }\n}\n";
    for (name, settings, want) in
        [("without", "{}", "from './wsguard.vite'\n"), ("with", ends, "from './wsguard.vite.ts'\n")]
    {
        let folder = Folder::with(&[&PAGE[..], &[("tsconfig.node.json", settings)]].concat());
        let plan = planned(&folder, false);
        let config = plan.changes.iter().find(|change| change.path.ends_with("vite.config.ts")).unwrap();
        assert!(matches!(&config.new, Content::Text(text) if text.contains(want)), "{name}: {config:?}");
        carried_out(&folder, &plan);
        assert!(planned(&folder, false).changes.is_empty(), "{name}");
    }
}

#[test]
fn what_somebody_changed_stays_unless_forced() {
    for (kind, files) in kinds() {
        let folder = Folder::with(&files);
        carried_out(&folder, &planned(&folder, false));
        folder.write("wsguard.toml", "[rate]\nburst = 61\n");
        let plan = planned(&folder, false);
        assert_eq!(plan.kept, [PathBuf::from("wsguard.toml")], "{kind}");
        assert!(plan.changes.is_empty(), "{kind}: {plan:?}");
        let forced = planned(&folder, true);
        assert!(
            forced.changes.iter().all(|change| change.keeps_old) && forced.changes.len() == 1,
            "{kind}: {forced:?}"
        );
    }
}

#[test]
fn somebody_elses_source_of_the_same_name_stops_the_plan() {
    let folder = Folder::with(&[CARGO, MAIN, ("src/ws.rs", "pub fn mine() {}")]);
    let found = detect(&folder.0).unwrap();
    let error = plan(&found, false, &Source::default()).unwrap_err();
    assert!(matches!(&error, PlanError::Taken(path) if path.ends_with("ws.rs")), "{error}");
    let forced = planned(&folder, true);
    assert!(forced.changes.iter().any(|change| change.path.ends_with("ws.rs") && change.keeps_old));
}

#[test]
fn keys_are_never_replaced() {
    let folder = Folder::with(&[("wsguard.toml", ""), ("keys/issuer.pem", "mine")]);
    let plan = planned(&folder, true);
    assert!(!plan.changes.iter().any(|change| matches!(change.new, Content::KeyPair)), "{plan:?}");
    let clone = Folder::with(&[("wsguard.toml", ""), ("keys/issuer.pem.pub", "public")]);
    assert!(!planned(&clone, true).changes.iter().any(|change| matches!(change.new, Content::KeyPair)));
}

#[test]
fn links_are_not_followed() {
    let elsewhere = Folder::with(&[("wsguard.toml", "")]);
    let folder = Folder::with(&[]);
    std::os::unix::fs::symlink(elsewhere.0.join("wsguard.toml"), folder.0.join("wsguard.toml")).unwrap();
    let found = detect(&folder.0).unwrap();
    assert!(matches!(plan(&found, true, &Source::default()), Err(PlanError::Link(_))));
}

#[test]
fn the_diff_is_a_patch_of_the_plan() {
    for (kind, files) in kinds() {
        let folder = Folder::with(&files);
        let plan = planned(&folder, false);
        let text = diff::unified(&plan.changes);
        assert!(!text.contains("PRIVATE KEY"), "{kind}");
        for path in texts(&plan).keys() {
            assert!(text.contains(&format!("+++ b/{path}\n")), "{kind}: {path}");
        }
    }
}

#[test]
fn configurations_are_good_and_name_every_key() {
    let every: Vec<&str> = crate::setup::template::CONFIG
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = ").map(|(key, _)| key))
        .filter(|key| !key.contains(' '))
        .collect();
    assert!(every.len() > 60, "{}", every.len());
    for (kind, files) in kinds() {
        let folder = Folder::with(&files);
        let plan = planned(&folder, false);
        carried_out(&folder, &plan);
        let config = std::fs::read_to_string(folder.0.join("wsguard.toml")).unwrap();
        for key in &every {
            assert!(config.contains(&format!("{key} = ")), "{kind}: {key}");
        }
        let key = wsguard_server::keys::generate(wsguard_core::token::Algorithm::EdDsa).unwrap();
        let base = if kind == "standalone" { "" } else { "wsguard/" };
        folder.write(&format!("{base}keys/issuer.pem.pub"), &key.public_pem.unwrap());
        assert_eq!(crate::cmd::check_config::mistakes(&folder.0.join("wsguard.toml")), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn gitlab_gets_its_own_job() {
    let folder = Folder::with(&[(".gitlab-ci.yml", "stages: [test]\n")]);
    let plan = planned(&folder, false);
    assert!(texts(&plan).contains_key(".gitlab/websocket-audit.yml"));
    assert!(plan.by_hand.iter().any(|what| what.contains("local: .gitlab/websocket-audit.yml")), "{plan:?}");
    carried_out(&folder, &plan);
    folder.write(".gitlab-ci.yml", "include:\n  - local: .gitlab/websocket-audit.yml\n");
    assert!(planned(&folder, false).by_hand.is_empty());
}
