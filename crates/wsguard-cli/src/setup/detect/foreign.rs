//! Projects of other languages: named, and told what can be done by hand.

use std::path::Path;

use super::{Foreign, Project, read};

/// A manifest, what it says, and words in it that say more.
type Manifest = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const MANIFESTS: [Manifest; 15] = [
    ("go.mod", "a Go module", &[("gorilla/websocket", "gorilla/websocket"), ("coder/websocket", "coder/websocket")]),
    ("pyproject.toml", "a Python project", PYTHON),
    ("requirements.txt", "a Python project", PYTHON),
    ("setup.py", "a Python project", PYTHON),
    ("Pipfile", "a Python project", PYTHON),
    ("pom.xml", "a Java project", &[("spring-boot", "Spring Boot"), ("quarkus", "Quarkus")]),
    ("build.gradle", "a JVM project", &[("spring-boot", "Spring Boot"), ("ktor", "Ktor")]),
    ("build.gradle.kts", "a JVM project", &[("spring-boot", "Spring Boot"), ("ktor", "Ktor")]),
    ("Gemfile", "a Ruby project", &[("rails", "Rails")]),
    ("composer.json", "a PHP project", &[("laravel", "Laravel"), ("symfony", "Symfony")]),
    ("mix.exs", "an Elixir project", &[("phoenix", "Phoenix")]),
    ("pubspec.yaml", "a Dart project", &[("flutter", "Flutter")]),
    ("deno.json", "a Deno project", &[]),
    ("Package.swift", "a Swift package", &[]),
    ("CMakeLists.txt", "a C or C++ project", &[]),
];

const PYTHON: &[(&str, &str)] = &[
    ("fastapi", "FastAPI"),
    ("django", "Django"),
    ("flask", "Flask"),
    ("aiohttp", "aiohttp"),
    ("tornado", "Tornado"),
    ("websockets", "websockets"),
];

pub(super) fn detect(root: &Path) -> Option<Foreign> {
    for (file, name, words) in MANIFESTS {
        // A manifest that cannot be read still says what the project is.
        let Some(text) = read(&root.join(file)).unwrap_or_else(|_| Some(String::new())) else { continue };
        let text = text.to_ascii_lowercase();
        let with = words.iter().find(|(word, _)| text.contains(word));
        return Some(beside(with.map_or_else(|| name.to_owned(), |(_, with)| format!("{name} with {with}"))));
    }
    let entries = std::fs::read_dir(root).ok()?;
    let is_dotnet = |name: &str| [".csproj", ".fsproj", ".sln"].iter().any(|end| name.ends_with(end));
    entries
        .flatten()
        .any(|entry| is_dotnet(&entry.file_name().to_string_lossy()))
        .then(|| beside("a .NET project".to_owned()))
}

fn beside(name: String) -> Foreign {
    Foreign {
        name,
        by_hand: vec![
            "Run the server of its own beside it: wsguard setup in an empty folder. It takes tokens that your application \
             signs with the key made there, or with keys that your issuer publishes (auth.jwks)."
                .to_owned(),
            "Browsers connect with @wsguard/client, programs with any WebSocket client that sends Authorization: Bearer \
             TOKEN."
                .to_owned(),
            "Judge what is there now: wsguard audit --url ws://HOST:PORT/PATH --token TOKEN.".to_owned(),
        ],
    }
}

/// A folder that is neither empty nor a project that we know.
pub(super) fn unknown(names: &[String]) -> Project {
    let shown = names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { ", …" } else { "" };
    Project::Foreign(Foreign {
        name: format!("a folder with {shown}{more}"),
        by_hand: vec![
            "For a server of its own, name a new folder: wsguard setup NAME.".to_owned(),
            "Where a project lies in a folder below, name that one.".to_owned(),
        ],
    })
}
