//! Cargo projects.

use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

use super::{Foreign, Project, read};

/// The port that is assumed where the sources do not name one.
const PORT: u16 = 3000;

/// A Cargo package that serves with axum.
#[derive(Debug)]
pub(crate) struct Axum {
    /// Its name.
    pub(crate) package: String,
    /// The name of its program.
    pub(crate) program: String,
    /// Where `main` is, relative to the project.
    pub(crate) main: PathBuf,
    /// The port that the program seems to listen on.
    pub(crate) port: u16,
}

/// Frameworks that are named when they are met.
const FRAMEWORKS: [&str; 7] = ["actix-web", "rocket", "warp", "poem", "salvo", "tide", "hyper"];

pub(super) fn detect(root: &Path, manifest: &str) -> io::Result<Project> {
    let document: DocumentMut = manifest
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("read Cargo.toml: {error}")))?;
    let Some(package) = document.get("package").and_then(|package| package.get("name")).and_then(Item::as_str) else {
        return Ok(workspace());
    };
    let dependencies = document.get("dependencies");
    let dependency = |name: &str| dependencies.and_then(|all| all.get(name));
    let Some(axum) = dependency("axum") else {
        let name = FRAMEWORKS.into_iter().find(|name| dependency(name).is_some());
        return Ok(without_axum(name));
    };
    let version = axum.as_str().or_else(|| axum.get("version").and_then(Item::as_str));
    if let Some(version) = version.filter(|version| !is_current(version)) {
        return Ok(foreign(
            format!("a Cargo package with axum {version}"),
            ["Update to axum 0.8, which the guard's extractor is made for, and run wsguard setup again.".to_owned()],
        ));
    }
    let (program, main) = main_of(&document, package);
    let Some(text) = read(&root.join(&main))? else {
        return Ok(foreign(
            format!("a Cargo package with axum, but without {}", main.display()),
            [
                "Run wsguard setup in the package that has the program, where axum::serve is called.".to_owned(),
                "In a library: cargo add wsguard wsguard-server, and serve wsguard_server::embed::Embedded as its \
                 documentation shows."
                    .to_owned(),
            ],
        ));
    };
    Ok(Project::Axum(Axum { package: package.to_owned(), program, main, port: port_of(&text) }))
}

/// Whether a requirement can be met by axum 0.8. One that cannot be read is left to cargo.
fn is_current(requirement: &str) -> bool {
    let digits = requirement.trim_start_matches(['=', '^', '~', '>', '<', ' ']);
    let mut parts = digits.split(['.', ',', ' ']);
    match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => minor.parse::<u32>().map_or(true, |minor| minor >= 8),
        _ => true,
    }
}

/// The program's name and source: the first `[[bin]]`, else what cargo assumes.
fn main_of(document: &DocumentMut, package: &str) -> (String, PathBuf) {
    let bin = document.get("bin").and_then(Item::as_array_of_tables).and_then(|all| all.iter().next());
    let named = |key: &str| bin.and_then(|bin| bin.get(key)).and_then(Item::as_str);
    (named("name").unwrap_or(package).to_owned(), PathBuf::from(named("path").unwrap_or("src/main.rs")))
}

/// The first `:PORT"` of the source.
fn port_of(text: &str) -> u16 {
    text.split(':')
        .skip(1)
        .filter_map(|rest| rest.split_once('"')?.0.parse().ok())
        .find(|port| *port != 0)
        .unwrap_or(PORT)
}

fn foreign<const N: usize>(name: String, by_hand: [String; N]) -> Project {
    Project::Foreign(Foreign { name, by_hand: by_hand.into() })
}

fn workspace() -> Project {
    foreign(
        "a Cargo workspace".to_owned(),
        ["Run wsguard setup in the member that serves with axum: wsguard setup crates/NAME.".to_owned()],
    )
}

fn without_axum(framework: Option<&str>) -> Project {
    let name = match framework {
        Some(framework) => format!("a Cargo package with {framework}"),
        None => "a Cargo package without axum".to_owned(),
    };
    foreign(
        name,
        [
            "On hyper or tower: cargo add wsguard, then judge the upgrade request with wsguard::upgrade::handshake, or \
             put wsguard::layer around the service."
                .to_owned(),
            "Elsewhere: run the server of its own (wsguard setup in an empty folder) beside the application, and speak \
             with it through wsguard-client."
                .to_owned(),
            "Judge what is there now: wsguard audit --url ws://HOST:PORT/PATH --token TOKEN.".to_owned(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_of_axum_are_read() {
        for (text, want) in [
            ("0.8", true),
            ("0.8.9", true),
            ("^0.8", true),
            ("=0.8.1", true),
            (">=0.8, <0.10", true),
            ("0.9", true),
            ("1", true),
            ("*", true),
            ("0.7", false),
            ("~0.6.20", false),
        ] {
            assert_eq!(is_current(text), want, "{text}");
        }
    }

    #[test]
    fn ports_are_found() {
        for (text, want) in [
            (r#"bind("0.0.0.0:8080")"#, 8080),
            (r#"let a: u8 = 1; bind("[::1]:4000")"#, 4000),
            (r#"bind("127.0.0.1:0")"#, PORT),
            (r#"format!("{host}:{port}")"#, PORT),
            ("", PORT),
        ] {
            assert_eq!(port_of(text), want, "{text}");
        }
    }

    #[test]
    fn programs_are_where_the_manifest_says() {
        for (text, want) in [
            ("", ("a", "src/main.rs")),
            ("[[bin]]\nname = \"b\"\npath = \"b.rs\"", ("b", "b.rs")),
            ("[[bin]]\nname = \"b\"", ("b", "src/main.rs")),
        ] {
            let (name, main) = main_of(&text.parse().unwrap(), "a");
            assert_eq!((name.as_str(), main.to_str().unwrap()), want, "{text}");
        }
    }
}
