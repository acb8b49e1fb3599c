//! A Cargo package with axum: the guarded route in it, and a client as an example.

use super::server::Settings;
use super::{Install, Parts, PlanError, Planner, Trial, VERSION, Words, audit_job, unit};
use crate::setup::detect::{Axum, Ci};
use crate::setup::edit::{cargo, rust};
use crate::setup::template::{self, AXUM_SCHEMAS, fill};

/// What stands above the configuration: which of its keys an application has no use for.
const HEAD: &str = "\
# This file is read by src/ws.rs. There, server.* and admin.* have no effect and tls.* is refused: the application has the
# listener. Tokens, limits, schemas and all else count as for `wsguard serve`.
#
";

pub(super) fn plan(planner: &mut Planner<'_>, project: &Axum, ci: Ci) -> Result<Parts, PlanError> {
    let origin = format!("http://localhost:{}", project.port);
    let settings =
        Settings { base: "wsguard/", origins: &[origin.clone(), format!("http://127.0.0.1:{}", project.port)] };
    let (key, port) = (settings.key(), project.port.to_string());
    planner.create("wsguard.toml", settings.config(HEAD)?)?;
    for (name, text) in AXUM_SCHEMAS {
        planner.create(format!("wsguard/schemas/{name}"), text.to_owned())?;
    }
    planner.key(&key)?;
    let route = project.main.with_file_name("ws.rs");
    let values = [("schemas", "wsguard/schemas"), ("key", key.as_str()), ("port", port.as_str())];
    planner.create_source(route, fill(template::AXUM_ROUTE, &values))?;
    planner.create_source("examples/ws_client.rs", fill(template::AXUM_CLIENT, &values))?;
    planner.edit("Cargo.toml", |original| {
        cargo::add(
            original,
            &[
                ("serde", "1", &["derive"]),
                ("serde_json", "1", &[]),
                ("tokio", "1", &["macros", "net", "rt-multi-thread", "sync"]),
                ("wsguard", VERSION, &[]),
                ("wsguard-server", VERSION, &[]),
            ],
            &[("wsguard-client", VERSION, &[])],
        )
    })?;
    let main = project.main.display().to_string();
    planner.edit(project.main.clone(), |original| rust::wire(original, &main))?;
    let words = Words {
        name: &project.package,
        description: &format!("{} with its guarded WebSocket", project.package),
        binary: &format!("target/release/{}", project.program),
        files: "wsguard.toml wsguard",
        unit: &format!("wsguard/{}.service", project.package),
        key: &key,
        is_server: false,
        port: project.port,
        origin: &origin,
    };
    planner.create(words.unit, unit(&words))?;
    audit_job(planner, ci, &words)?;
    let mut ignored = vec!["/target".to_owned()];
    ignored.extend(settings.ignored());
    planner.ignore(&ignored)?;
    let install = (!planner.is_unchanged()).then_some(Install::Cargo);
    let next = [
        "Start it with `WSGUARD_DEV=1 cargo run`, and talk to it: `cargo run --example ws_client`.".to_owned(),
        format!(
            "Say in src/ws.rs what your messages do; each type has a schema in wsguard/schemas. Sign tokens with `wsguard \
             token --key {key} --sub NAME` or in your own login, and put your names into host.allow and origin.allow."
        ),
        format!("Install {} behind a proxy that ends TLS, and commit all this: the key stays out of git.", words.unit),
    ];
    Ok((install, Trial::Application { program: project.program.clone() }, next))
}
