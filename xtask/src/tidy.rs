//! Who may depend on whom, held against what `cargo metadata` says.
//!
//! The rules are architecture, not taste: a core that can reach a clock or a socket cannot be simulated, and an audit
//! that sees the guard's code would share its mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Lines after which a file should be cut.
pub(crate) const LINES_MAX: usize = 800;

/// What the core must not reach, not even through another crate: runtimes and sockets.
const NEVER_BELOW_CORE: [&str; 7] = ["tokio", "mio", "async-std", "smol", "hyper", "socket2", "redis"];

/// What the core must not name itself: sources of randomness, time and logs. A library below it may use `rand` to make
/// keys at build time, which does no harm.
const NEVER_IN_CORE: [&str; 7] = ["rand", "getrandom", "fastrand", "time", "chrono", "tracing", "log"];

/// The crates of the workspace that each crate may name, tests aside. Crates without a row may name any.
const WORKSPACE_EDGES: [(&str, &[&str]); 6] = [
    ("wsguard-protocol", &[]),
    ("wsguard-core", &["wsguard-protocol"]),
    ("wsguard", &["wsguard-core", "wsguard-protocol"]),
    ("wsguard-server", &["wsguard", "wsguard-core", "wsguard-protocol"]),
    ("wsguard-client", &["wsguard-protocol"]),
    ("wsguard-audit", &["wsguard-protocol"]),
];

/// The only published crate that may parse arguments.
const COMMAND_LINE: &str = "wsguard-cli";

/// A package of the dependency graph.
#[derive(Default)]
struct Package {
    /// Part of this workspace.
    member: bool,
    /// May be published.
    published: bool,
    /// Names it asks for in `[dependencies]` and `[build-dependencies]`.
    direct: BTreeSet<String>,
    /// Names it asks for in `[dev-dependencies]`.
    dev: BTreeSet<String>,
    /// Identities of the packages it was resolved to, tests aside.
    resolved: BTreeSet<String>,
    name: String,
}

/// The dependency graph of the workspace, by package identity.
#[derive(Default)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
}

impl Graph {
    /// Asks cargo, which on a new machine fetches what is of other platforms.
    ///
    /// # Errors
    /// When cargo cannot be run, fails, or answers in an unexpected shape.
    pub(crate) fn of_workspace(root: &Path) -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("run cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("read cargo metadata: {error}"))?;
        Self::from_metadata(&metadata)
            .ok_or_else(|| "read cargo metadata: its shape is not the expected one".to_owned())
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let mut graph = Self::default();
        let members: BTreeSet<&str> = array(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        for package in array(metadata, "packages")? {
            let id = package.get("id")?.as_str()?;
            let mut entry = Package {
                member: members.contains(id),
                // `publish = false` is an empty list of registries.
                published: package
                    .get("publish")
                    .is_none_or(|publish| publish.as_array().is_none_or(|list| !list.is_empty())),
                name: package.get("name")?.as_str()?.to_owned(),
                ..Package::default()
            };
            for dependency in array(package, "dependencies")? {
                let name = dependency.get("name")?.as_str()?.to_owned();
                let is_dev = dependency.get("kind").and_then(Value::as_str) == Some("dev");
                if is_dev {
                    entry.dev.insert(name)
                } else {
                    entry.direct.insert(name)
                };
            }
            graph.packages.insert(id.to_owned(), entry);
        }
        for node in array(metadata.get("resolve")?, "nodes")? {
            let entry = graph.packages.get_mut(node.get("id")?.as_str()?)?;
            for dependency in array(node, "deps")? {
                let normal =
                    array(dependency, "dep_kinds")?.iter().any(|kind| kind.get("kind").is_none_or(Value::is_null));
                if normal {
                    entry.resolved.insert(dependency.get("pkg")?.as_str()?.to_owned());
                }
            }
        }
        Some(graph)
    }

    /// Names of everything that is compiled into `package`.
    fn below<'a>(&'a self, package: &'a Package) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = package.resolved.iter().collect();
        while let Some(id) = open.pop() {
            if let Some(found) = self.packages.get(id)
                && seen.insert(id)
            {
                names.insert(found.name.as_str());
                open.extend(&found.resolved);
            }
        }
        names
    }
}

fn array<'a>(value: &'a Value, key: &str) -> Option<&'a Vec<Value>> {
    value.get(key)?.as_array()
}

/// Every edge that the architecture forbids, as a sentence each.
pub(crate) fn forbidden_edges(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    let members: BTreeSet<&str> =
        graph.packages.values().filter(|package| package.member).map(|package| package.name.as_str()).collect();
    for package in graph.packages.values().filter(|package| package.member) {
        let name = package.name.as_str();
        let below = graph.below(package);
        let mut forbid = |other: &str, why: &str| findings.push(format!("{name} -> {other}: {why}"));

        if let Some((_, allowed)) = WORKSPACE_EDGES.iter().find(|(crate_name, _)| *crate_name == name) {
            for other in package.direct.iter().map(String::as_str) {
                if members.contains(other) && !allowed.contains(&other) {
                    forbid(other, "not an edge of the architecture");
                }
            }
        }
        if name == "wsguard-protocol" {
            for other in package.direct.iter().filter(|other| *other != "serde") {
                forbid(other, "the protocol is words and depends on serde alone");
            }
        }
        if name == "wsguard-core" {
            for other in NEVER_BELOW_CORE.into_iter().filter(|other| below.contains(other)) {
                forbid(other, "the core has no runtime and no socket");
            }
            for other in NEVER_IN_CORE.into_iter().filter(|other| package.direct.contains(*other)) {
                forbid(other, "the core has no clock, no randomness and no log");
            }
        }
        if package.published && name != COMMAND_LINE && (package.direct.contains("clap") || below.contains("clap")) {
            forbid("clap", "only the command line parses arguments");
        }
        if package.published && (package.direct.contains("testkit") || package.dev.contains("testkit")) {
            forbid("testkit", "cargo would build two copies of the core for its tests");
        }
    }
    findings
}

/// Source files of more than [`LINES_MAX`] lines, with their length.
///
/// # Errors
/// When a folder or a file cannot be read.
pub(crate) fn long_files(root: &Path) -> Result<Vec<(String, usize)>, String> {
    let mut found = Vec::new();
    let mut open: Vec<_> = ["crates", "testkit", "xtask", "packages", "benches", "examples", "fuzz"]
        .iter()
        .map(|folder| root.join(folder))
        .filter(|folder| folder.is_dir())
        .collect();
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("read {}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("read {}: {error}", folder.display()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !matches!(name, "node_modules" | "target" | "dist") && !name.starts_with('.') {
                    open.push(path);
                }
            } else if matches!(
                path.extension().and_then(|extension| extension.to_str()),
                Some("rs" | "ts" | "tsx" | "js" | "mjs")
            ) {
                let text = std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
                let lines = text.split(|byte| *byte == b'\n').count().saturating_sub(1);
                if lines > LINES_MAX {
                    let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    found.push((shown, lines));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Metadata of a workspace; `edges` are (from, to, kind), and a name outside `members` is a foreign crate.
    fn graph(members: &[(&str, bool)], edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let mut names: BTreeSet<&str> = members.iter().map(|member| member.0).collect();
        names.extend(edges.iter().flat_map(|edge| [edge.0, edge.1]));
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let published = members.iter().find(|member| member.0 == *name).is_none_or(|member| member.1);
                let dependencies: Vec<Value> = edges
                    .iter()
                    .filter(|edge| edge.0 == *name)
                    .map(|edge| json!({"name": edge.1, "kind": edge.2}))
                    .collect();
                let publish = if published { Value::Null } else { json!([]) };
                json!({"id": name, "name": name, "publish": publish, "dependencies": dependencies})
            })
            .collect();
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                let deps: Vec<Value> = edges
                    .iter()
                    .filter(|edge| edge.0 == *name)
                    .map(|edge| json!({"pkg": edge.1, "dep_kinds": [{"kind": edge.2}]}))
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        let members: Vec<&str> = members.iter().map(|member| member.0).collect();
        let metadata = json!({"workspace_members": members, "packages": packages, "resolve": {"nodes": nodes}});
        Graph::from_metadata(&metadata).unwrap()
    }

    #[test]
    fn edges_are_judged() {
        const MEMBERS: &[(&str, bool)] = &[
            ("wsguard-protocol", true),
            ("wsguard-core", true),
            ("wsguard", true),
            ("wsguard-server", true),
            ("wsguard-client", true),
            ("wsguard-audit", true),
            ("wsguard-cli", true),
            ("testkit", false),
        ];
        type Edge = (&'static str, &'static str, Option<&'static str>);
        let cases: &[(&str, &[Edge], &[&str])] = &[
            (
                "the architecture",
                &[
                    ("wsguard-protocol", "serde", None),
                    ("wsguard-protocol", "serde_json", Some("dev")),
                    ("wsguard-core", "wsguard-protocol", None),
                    ("wsguard", "wsguard-core", None),
                    ("wsguard", "tokio", None),
                    ("wsguard-server", "wsguard", None),
                    ("wsguard-cli", "wsguard-server", None),
                    ("wsguard-cli", "clap", None),
                    ("testkit", "wsguard-core", None),
                    ("testkit", "clap", None),
                ],
                &[],
            ),
            ("protocol on more", &[("wsguard-protocol", "serde_json", None)], &["wsguard-protocol -> serde_json"]),
            ("core on tokio", &[("wsguard-core", "tokio", None)], &["wsguard-core -> tokio"]),
            (
                "core on tokio through another crate",
                &[("wsguard-core", "innocent", None), ("innocent", "tokio", None)],
                &["wsguard-core -> tokio"],
            ),
            ("core tests may use a runtime", &[("wsguard-core", "tokio", Some("dev"))], &[]),
            ("core on rand", &[("wsguard-core", "rand", None)], &["wsguard-core -> rand"]),
            ("rand below a crate of the core", &[("wsguard-core", "phf", None), ("phf", "rand", None)], &[]),
            ("core on wsguard", &[("wsguard-core", "wsguard", None)], &["wsguard-core -> wsguard"]),
            ("audit on core", &[("wsguard-audit", "wsguard-core", None)], &["wsguard-audit -> wsguard-core"]),
            ("client on core", &[("wsguard-client", "wsguard-core", None)], &["wsguard-client -> wsguard-core"]),
            ("library on clap", &[("wsguard", "clap", None)], &["wsguard -> clap"]),
            (
                "published on testkit, in tests too",
                &[("wsguard-client", "testkit", Some("dev"))],
                &["wsguard-client -> testkit"],
            ),
        ];
        for (name, edges, want) in cases {
            let findings = forbidden_edges(&graph(MEMBERS, edges));
            let found: Vec<&str> = findings.iter().filter_map(|finding| finding.split(": ").next()).collect();
            assert_eq!(&found, want, "{name}");
        }
    }

    #[test]
    fn a_shape_that_is_not_metadata_is_an_error_and_not_a_pass() {
        assert!(Graph::from_metadata(&json!({"packages": []})).is_none());
    }
}
