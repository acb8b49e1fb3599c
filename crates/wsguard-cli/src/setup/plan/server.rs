//! An empty folder: a server of its own, and a client to try it with.

use std::path::Path;

use super::{Install, Parts, PlanError, Planner, Source, Trial, Words, audit_job, unit};
use crate::setup::detect::{Ci, Manager};
use crate::setup::edit::config;
use crate::setup::template::{self, SCHEMAS, fill};

/// What `wsguard.toml` is to say in a project.
pub(super) struct Settings<'a> {
    /// The folder of schemas and keys: empty, or with a slash at its end.
    pub(super) base: &'a str,
    pub(super) origins: &'a [String],
}

/// Name of the key that signs tokens. Vite, which serves what is in a project, keeps `*.pem` to itself.
const KEY: &str = "keys/issuer.pem";

impl Settings<'_> {
    pub(super) fn key(&self) -> String {
        format!("{}{KEY}", self.base)
    }

    pub(super) fn schemas(&self) -> String {
        format!("{}schemas", self.base)
    }

    /// `wsguard.toml`: every key of the server, with those set without which production does not start.
    pub(super) fn config(&self, head: &str) -> Result<String, PlanError> {
        let origins: Vec<String> = self.origins.iter().map(|origin| format!("{origin:?}")).collect();
        let text = config::set(
            template::CONFIG,
            &[
                ("origin.allow", &format!("[{}]", origins.join(", "))),
                ("host.allow", r#"["localhost", "127.0.0.1"]"#),
                ("auth.keys", &format!("[{:?}]", format!("{}.pub", self.key()))),
                ("messages.dir", &format!("{:?}", self.schemas())),
                ("proxy.trusted", r#"["127.0.0.1", "::1"]"#),
            ],
        )
        .map_err(PlanError::Template)?;
        Ok(format!("{head}{text}"))
    }

    /// What git is not to know.
    pub(super) fn ignored(&self) -> Vec<String> {
        let base = self.base;
        vec![
            format!("/{base}keys/*"),
            format!("!/{base}keys/*.pub"),
            "/wsguard.redb".to_owned(),
            "/reports/websocket-security/".to_owned(),
            "/.wsguard-setup/".to_owned(),
        ]
    }
}

/// The files that a server of its own needs, whoever its clients are.
pub(super) fn files(planner: &mut Planner<'_>, ci: Ci, settings: &Settings<'_>) -> Result<(), PlanError> {
    let base = settings.base;
    planner.create("wsguard.toml", settings.config("")?)?;
    for (name, text) in SCHEMAS {
        planner.create(format!("{base}schemas/{name}"), text.to_owned())?;
    }
    planner.key(&settings.key())?;
    let words = Words {
        name: "wsguard",
        description: "Guarded WebSocket server",
        binary: "\"$(command -v wsguard)\"",
        files: if base.is_empty() { "wsguard.toml schemas" } else { "wsguard.toml wsguard" },
        unit: &format!("{}wsguard.service", if base.is_empty() { "deploy/" } else { base }),
        key: &settings.key(),
        is_server: true,
        port: 3000,
        origin: settings.origins.first().map_or("http://localhost:3000", String::as_str),
    };
    planner.create(words.unit, unit(&words))?;
    audit_job(planner, ci, &words)
}

pub(super) fn standalone(planner: &mut Planner<'_>, ci: Ci, source: &Source) -> Result<Parts, PlanError> {
    let settings =
        Settings { base: "", origins: &["http://localhost:3000".to_owned(), "http://127.0.0.1:3000".to_owned()] };
    files(planner, ci, &settings)?;
    let manifest = fill(template::NODE_PACKAGE, &[("client", &format!("{:?}", source.client()))]);
    planner.create("client/package.json", manifest)?;
    planner.create("client/chat.mjs", template::NODE_CHAT.to_owned())?;
    let mut ignored = vec!["node_modules/".to_owned()];
    ignored.extend(settings.ignored());
    planner.ignore(&ignored)?;
    let is_installed = planner.root.join(Path::new("client/node_modules/@wsguard/client")).exists();
    let install = (!is_installed || !planner.is_unchanged())
        .then(|| Install::Node { manager: Manager::Npm, folder: "client".into() });
    let next = [
        "Start it with `wsguard serve --dev`, and talk to it: `npm start --prefix client`, or http://localhost:3000/ in a \
         browser."
            .to_owned(),
        format!(
            "Put the names of your server and your page into host.allow and origin.allow of wsguard.toml, and sign tokens \
             with `wsguard token --key {} --sub NAME` or in your own login; then `wsguard check-config`.",
            settings.key()
        ),
        "Install deploy/wsguard.service behind a proxy that ends TLS, and commit all this: the key stays out of git."
            .to_owned(),
    ];
    Ok((install, Trial::Server, next))
}
