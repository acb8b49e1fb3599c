//! A front end of Vite and React: the client and a chat in it, and the server beside it.

use std::path::Path;

use super::server::{Settings, files};
use super::{Install, Parts, PlanError, Planner, Source, Trial};
use crate::setup::detect::{Ci, Manager, React};
use crate::setup::edit::{package, page};
use crate::setup::template::{REACT_CSS, REACT_JS, REACT_TS, fill};

pub(super) fn plan(planner: &mut Planner<'_>, project: &React, ci: Ci, source: &Source) -> Result<Parts, PlanError> {
    // Vite's own ports, of `dev` and of `preview`, and the server's.
    let origins: Vec<String> = [5173, 4173, 3000]
        .iter()
        .flat_map(|port| ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{port}")))
        .collect();
    let settings = Settings { base: "wsguard/", origins: &origins };
    files(planner, ci, &settings)?;
    let made = if project.typescript { REACT_TS } else { REACT_JS };
    let (schemas, key) = (settings.schemas(), settings.key());
    let (client, chat, plugin) = (made.client, made.chat, made.plugin);
    let folder = project.entry.with_file_name("wsguard");
    planner.create_source(folder.join(client.0), fill(client.1, &[("schemas", &schemas), ("key", &key)]))?;
    planner.create_source(folder.join(chat.0), chat.1.to_owned())?;
    planner.create(folder.join("chat.css"), REACT_CSS.to_owned())?;
    planner.create_source(plugin.0, plugin.1.to_owned())?;
    planner.edit("package.json", |original| {
        package::add(original, &[("@wsguard/client", source.client())], &[("wsguard", "wsguard serve --dev")])
    })?;
    let (entry, config) = (project.entry.display().to_string(), project.config.display().to_string());
    // TypeScript for a page leaves the ending away; that of Vite's configuration asks for it where it runs as in Node. In
    // JavaScript it stands.
    let chat = if project.typescript { stem(chat.0) } else { chat.0 };
    let plugin = if project.typescript && !project.ts_endings { stem(plugin.0) } else { plugin.0 };
    planner.edit(project.entry.clone(), |text| page::entry(text, &entry, &format!("./wsguard/{chat}")))?;
    planner.edit(project.config.clone(), |text| page::vite(text, &config, &format!("./{plugin}")))?;
    let mut ignored = vec!["node_modules".to_owned()];
    ignored.extend(settings.ignored());
    planner.ignore(&ignored)?;
    let is_installed = planner.root.join(Path::new("node_modules/@wsguard/client")).exists();
    let install = (!is_installed || !planner.is_unchanged())
        .then(|| Install::Node { manager: project.manager, folder: "".into() });
    let run = if project.manager == Manager::Npm { "npm run" } else { project.manager.program() };
    let next = [
        format!(
            "Start the server with `{run} wsguard` and the page with `{run} dev`, and open it twice: the chat is there."
        ),
        format!(
            "Ask your own login in {}: it signs tokens with {key}. Put the names of your server and your page into \
             host.allow and origin.allow of wsguard.toml; then `wsguard check-config`.",
            folder.join(client.0).display()
        ),
        "Install wsguard/wsguard.service behind the proxy that serves the page and ends TLS, and commit all this: the key \
         stays out of git."
            .to_owned(),
    ];
    Ok((install, Trial::Server, next))
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
