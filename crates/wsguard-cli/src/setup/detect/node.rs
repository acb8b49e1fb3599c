//! Projects with a `package.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Foreign, Project};

/// Who installs the packages of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Npm,
    Pnpm,
    Yarn,
}

impl Manager {
    /// The program.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        }
    }
}

/// A front end of Vite and React.
#[derive(Debug)]
pub(crate) struct React {
    pub(crate) manager: Manager,
    pub(crate) typescript: bool,
    /// Whether TypeScript reads `.ts` at the end of an import in Vite's configuration. Where it does, it may ask for it.
    pub(crate) ts_endings: bool,
    /// The module that renders the application, relative to the project.
    pub(crate) entry: PathBuf,
    /// Vite's configuration.
    pub(crate) config: PathBuf,
}

pub(super) fn detect(root: &Path, manifest: &str) -> io::Result<Project> {
    let manifest: Value = serde_json::from_str(manifest)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("read package.json: {error}")))?;
    let has = |name: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|list| manifest.get(list).is_some_and(|of| of.get(name).is_some()))
    };
    let first = |names: &[&str]| names.iter().map(PathBuf::from).find(|name| root.join(name).exists());
    if has("next") || !(has("vite") && has("react")) {
        return Ok(other(&has));
    }
    let manager = match manager_of(root, &manifest) {
        Ok(manager) => manager,
        Err(name) => return Ok(by_hand(format!("a Vite and React front end installed by {name}"), &front_end(name))),
    };
    let entry = first(&["src/main.tsx", "src/main.jsx", "src/index.tsx", "src/index.jsx"]);
    let config = first(&["vite.config.ts", "vite.config.js", "vite.config.mts", "vite.config.mjs"]);
    let (Some(entry), Some(config)) = (entry, config) else {
        let name = "a Vite and React front end without src/main.tsx (.jsx) or vite.config.ts (.js)";
        return Ok(by_hand(name.to_owned(), &front_end(manager.program())));
    };
    if let Some(above) = root.ancestors().skip(1).find(|above| is_workspace(above)) {
        let name = format!("a Vite and React front end in the workspace {}", above.display());
        return Ok(by_hand(name, &front_end(manager.program())));
    }
    let typescript = root.join("tsconfig.json").exists();
    // The configuration that Vite's templates have for Vite's configuration, else the one of all.
    let settings = first(&["tsconfig.node.json", "tsconfig.json"]).map(|name| std::fs::read_to_string(root.join(name)));
    let settings: String = settings.transpose()?.unwrap_or_default().split_whitespace().collect();
    let ts_endings = settings.contains("\"allowImportingTsExtensions\":true");
    Ok(Project::React(React { manager, typescript, ts_endings, entry, config }))
}

/// The manager that the field `packageManager` names, else the one whose lock file is here, else npm.
fn manager_of(root: &Path, manifest: &Value) -> Result<Manager, &'static str> {
    let field = manifest.get("packageManager").and_then(Value::as_str).and_then(|field| field.split('@').next());
    match field {
        Some("npm") => return Ok(Manager::Npm),
        Some("pnpm") => return Ok(Manager::Pnpm),
        Some("yarn") => return Ok(Manager::Yarn),
        Some("bun") => return Err("bun"),
        _ => {}
    }
    for (lock, manager) in [
        ("pnpm-lock.yaml", Ok(Manager::Pnpm)),
        ("yarn.lock", Ok(Manager::Yarn)),
        ("package-lock.json", Ok(Manager::Npm)),
        ("bun.lock", Err("bun")),
        ("bun.lockb", Err("bun")),
        ("deno.lock", Err("deno")),
    ] {
        if root.join(lock).exists() {
            return manager;
        }
    }
    Ok(Manager::Npm)
}

/// Whether `folder` shares its packages with folders below it: what is installed below changes files up here.
fn is_workspace(folder: &Path) -> bool {
    folder.join("pnpm-workspace.yaml").exists()
        || std::fs::read_to_string(folder.join("package.json"))
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .is_some_and(|manifest| manifest.get("workspaces").is_some())
}

fn other(has: &dyn Fn(&str) -> bool) -> Project {
    for (package, name) in [
        ("next", "a Next.js application"),
        ("@angular/core", "an Angular front end"),
        ("svelte", "a Svelte front end"),
        ("vue", "a Vue front end"),
        ("solid-js", "a Solid front end"),
        ("react", "a React front end without Vite"),
        ("vite", "a Vite front end without React"),
    ] {
        if has(package) {
            return by_hand(name.to_owned(), &front_end("npm"));
        }
    }
    let server = ["express", "fastify", "@nestjs/core", "koa", "hono", "socket.io", "ws", "uWebSockets.js"];
    let name = match server.into_iter().find(|name| has(name)) {
        Some(server) => format!("a Node server with {server}"),
        None => "a Node project".to_owned(),
    };
    by_hand(
        name,
        &[
            "Run the server of its own beside it: wsguard setup in an empty folder. It takes tokens that your application \
             signs with the key made there, or with keys that your issuer publishes (auth.jwks)."
                .to_owned(),
            "Move what your WebSocket handlers do behind it, or speak with it as a client: npm install @wsguard/client."
                .to_owned(),
            "Judge what is there now: wsguard audit --url ws://HOST:PORT/PATH --token TOKEN.".to_owned(),
        ],
    )
}

fn front_end(manager: &str) -> [String; 3] {
    [
        format!("Add the client: {manager} {} @wsguard/client.", if manager == "npm" { "install" } else { "add" }),
        "Open the socket once the page knows who is there: new SecureWebSocket({ url, authToken, onMessage }); \
         for React there are hooks in @wsguard/client/react."
            .to_owned(),
        "Run the server beside it: wsguard setup in an empty folder, and the page's origin in origin.allow.".to_owned(),
    ]
}

fn by_hand(name: String, steps: &[String]) -> Project {
    Project::Foreign(Foreign { name, by_hand: steps.to_vec() })
}
