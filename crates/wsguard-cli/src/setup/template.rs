//! The files that setup makes, as they stand in `templates/`, and how their blanks are filled.

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path))
    };
}

/// Every key of the configuration, commented: the repository's `wsguard.example.toml`.
pub(crate) const CONFIG: &str = template!("wsguard.toml");
pub(crate) const UNIT: &str = template!("wsguard.service");
pub(crate) const GITHUB: &str = template!("ci/github.yml");
pub(crate) const GITLAB: &str = template!("ci/gitlab.yml");

/// The message types of the application that `wsguard serve` has built in.
pub(crate) const SCHEMAS: [(&str, &str); 4] = [
    ("chat.json", template!("schemas/chat.json")),
    ("echo.json", template!("schemas/echo.json")),
    ("join.json", template!("schemas/join.json")),
    ("leave.json", template!("schemas/leave.json")),
];

/// Those of the route in an axum application.
pub(crate) const AXUM_SCHEMAS: [(&str, &str); 2] =
    [("chat.json", template!("axum/chat.json")), ("echo.json", template!("schemas/echo.json"))];
pub(crate) const AXUM_ROUTE: &str = template!("axum/ws.rs");
pub(crate) const AXUM_CLIENT: &str = template!("axum/ws_client.rs");

pub(crate) const NODE_PACKAGE: &str = template!("standalone/client/package.json");
pub(crate) const NODE_CHAT: &str = template!("standalone/client/chat.mjs");

pub(crate) const REACT_CSS: &str = template!("react/chat.css");

/// The same component in TypeScript and in JavaScript.
pub(crate) struct React {
    pub(crate) client: (&'static str, &'static str),
    pub(crate) chat: (&'static str, &'static str),
    pub(crate) plugin: (&'static str, &'static str),
}

pub(crate) const REACT_TS: React = React {
    client: ("client.ts", template!("react/ts/client.ts")),
    chat: ("Chat.tsx", template!("react/ts/Chat.tsx")),
    plugin: ("wsguard.vite.ts", template!("react/ts/wsguard.vite.ts")),
};

pub(crate) const REACT_JS: React = React {
    client: ("client.js", template!("react/js/client.js")),
    chat: ("Chat.jsx", template!("react/js/Chat.jsx")),
    plugin: ("wsguard.vite.js", template!("react/js/wsguard.vite.js")),
};

/// Puts values into the blanks `{{name}}` of `text`.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

/// A blank that nobody filled: a mistake of ours, found by the tests of each plan.
#[cfg(test)]
pub(crate) fn blank(text: &str) -> Option<&str> {
    text.lines().find(|line| line.contains("{{") && line.contains("}}") && !line.contains("${{"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled_wherever_they_stand() {
        assert_eq!(fill("{{a}} {{b}} {{a}} ${{ c }}", &[("a", "1"), ("b", "2")]), "1 2 1 ${{ c }}");
        assert_eq!(blank("x\n{{a}}"), Some("{{a}}"));
        assert_eq!(blank("${{ github.ref }}"), None);
    }
}
