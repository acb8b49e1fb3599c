//! What is in the folder: which kind of project, and what of it setup needs to know.

mod cargo;
mod foreign;
mod node;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use cargo::Axum;
pub(crate) use node::{Manager, React};

/// Longest file of the project that is read, in bytes: manifests and sources are shorter.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// A kind of project.
#[derive(Debug)]
pub(crate) enum Project {
    /// Nothing that runs yet: a server of its own.
    Standalone,
    /// A Cargo package that serves with axum.
    Axum(Axum),
    /// A front end of Vite and React.
    React(React),
    /// Something else: what it is, and what can be done by hand.
    Foreign(Foreign),
}

/// A project that setup does not change.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// What it is, for a sentence that begins "This is".
    pub(crate) name: String,
    /// What to do, a step each.
    pub(crate) by_hand: Vec<String>,
}

/// Where the project's checks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ci {
    GitHub,
    GitLab,
}

/// What was found in a folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) root: PathBuf,
    pub(crate) project: Project,
    pub(crate) ci: Ci,
}

/// Files that say nothing about a kind of project.
const NEUTRAL: [&str; 12] = [
    ".git",
    ".gitignore",
    ".gitattributes",
    ".editorconfig",
    ".github",
    ".gitlab",
    ".gitlab-ci.yml",
    ".idea",
    ".vscode",
    ".DS_Store",
    ".wsguard-setup",
    "reports",
];

/// What setup makes in a folder of its own server.
const OWN: [&str; 6] = ["wsguard.toml", "wsguard.redb", "schemas", "keys", "deploy", "client"];

/// Looks at `root`.
///
/// # Errors
/// What the system says about a folder or manifest that cannot be read.
pub(crate) fn detect(root: &Path) -> io::Result<Found> {
    let ci = if root.join(".gitlab-ci.yml").exists() { Ci::GitLab } else { Ci::GitHub };
    let found = |project| Ok(Found { root: root.to_owned(), project, ci });
    if let Some(manifest) = read(&root.join("Cargo.toml"))? {
        return found(cargo::detect(root, &manifest)?);
    }
    if let Some(manifest) = read(&root.join("package.json"))? {
        return found(node::detect(root, &manifest)?);
    }
    if let Some(project) = foreign::detect(root) {
        return found(Project::Foreign(project));
    }
    let others = others(root)?;
    let is_ours = root.join("wsguard.toml").exists();
    if others.is_empty() || is_ours { found(Project::Standalone) } else { found(foreign::unknown(&others)) }
}

/// The names in `root` that are neither neutral nor setup's own. A folder that is not there holds nothing.
fn others(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_ours = root.join("wsguard.toml").exists();
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let upper = name.to_ascii_uppercase();
        let is_neutral = NEUTRAL.contains(&name.as_str())
            || upper.starts_with("README")
            || upper.starts_with("LICENSE")
            || (is_ours && OWN.contains(&name.as_str()));
        if !is_neutral {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The text of a file of the project; `None` where there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() <= FILE_BYTES_MAX => fs::read_to_string(path).map(Some),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: expected a file of at most {FILE_BYTES_MAX} bytes", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder of a test, gone at its end.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn with(files: &[(&str, &str)]) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("wsguard-setup-{}-{number}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            let folder = Self(root);
            for (name, text) in files {
                folder.write(name, text);
            }
            folder
        }

        pub(crate) fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn kind(files: &[(&str, &str)]) -> String {
        let folder = Folder::with(files);
        match detect(&folder.0).unwrap().project {
            Project::Standalone => "standalone".to_owned(),
            Project::Axum(axum) => format!("axum {} {} {}", axum.package, axum.main.display(), axum.port),
            Project::React(react) => format!(
                "react {} {} {} {}",
                react.manager.program(),
                if react.typescript { "ts" } else { "js" },
                react.entry.display(),
                react.config.display()
            ),
            Project::Foreign(foreign) => {
                assert!(!foreign.by_hand.is_empty(), "{}", foreign.name);
                foreign.name
            }
        }
    }

    #[test]
    fn projects_are_recognised() {
        let axum = "[package]\nname = \"shop\"\n[dependencies]\naxum = \"0.8\"";
        let vite = r#"{"dependencies":{"react":"19"},"devDependencies":{"vite":"8"}}"#;
        let main = ("src/main.tsx", "");
        for (name, files, want) in [
            ("empty", &[][..], "standalone"),
            ("a fresh repository", &[(".gitignore", ""), ("README.md", ""), ("LICENSE", "")], "standalone"),
            ("a second time", &[("wsguard.toml", ""), ("keys/issuer.pem", ""), ("client/chat.mjs", "")], "standalone"),
            (
                "axum",
                &[("Cargo.toml", axum), ("src/main.rs", "fn main() { bind(\"0.0.0.0:8080\") }")],
                "axum shop src/main.rs 8080",
            ),
            (
                "react",
                &[("package.json", vite), ("tsconfig.json", ""), main, ("vite.config.ts", "")],
                "react npm ts src/main.tsx vite.config.ts",
            ),
            (
                "pnpm, JavaScript",
                &[("package.json", vite), ("pnpm-lock.yaml", ""), ("src/main.jsx", ""), ("vite.config.js", "")],
                "react pnpm js src/main.jsx vite.config.js",
            ),
            (
                "the field decides",
                &[
                    ("package.json", r#"{"packageManager":"yarn@4.1.0","dependencies":{"react":"19","vite":"8"}}"#),
                    ("package-lock.json", ""),
                    main,
                    ("vite.config.ts", ""),
                ],
                "react yarn js src/main.tsx vite.config.ts",
            ),
            (
                "old axum",
                &[("Cargo.toml", "[package]\nname=\"a\"\n[dependencies]\naxum = \"0.7.5\"")],
                "a Cargo package with axum 0.7.5",
            ),
            (
                "a library",
                &[("Cargo.toml", axum), ("src/lib.rs", "")],
                "a Cargo package with axum, but without src/main.rs",
            ),
            (
                "actix",
                &[("Cargo.toml", "[package]\nname=\"a\"\n[dependencies]\nactix-web = \"4\"")],
                "a Cargo package with actix-web",
            ),
            ("a workspace", &[("Cargo.toml", "[workspace]\nmembers = [\"a\"]")], "a Cargo workspace"),
            ("next", &[("package.json", r#"{"dependencies":{"next":"15","react":"19"}}"#)], "a Next.js application"),
            ("vue", &[("package.json", r#"{"devDependencies":{"vite":"8","vue":"3"}}"#)], "a Vue front end"),
            (
                "express",
                &[("package.json", r#"{"dependencies":{"express":"5","ws":"8"}}"#)],
                "a Node server with express",
            ),
            ("bun", &[("package.json", vite), ("bun.lock", "")], "a Vite and React front end installed by bun"),
            ("go", &[("go.mod", "module a")], "a Go module"),
            ("python", &[("pyproject.toml", "[project]\ndependencies=[\"fastapi\"]")], "a Python project with FastAPI"),
            ("papers", &[("thesis.tex", "")], "a folder with thesis.tex"),
        ] {
            assert_eq!(kind(files), want, "{name}");
        }
    }

    #[test]
    fn broken_manifests_are_named_not_guessed() {
        for (file, text) in [("Cargo.toml", "[package"), ("package.json", "{")] {
            let folder = Folder::with(&[(file, text)]);
            let error = detect(&folder.0).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
    }
}
