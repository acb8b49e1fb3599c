//! The entry of a React application and Vite's configuration: changed where they have the form that Vite's own
//! templates give them, else left alone.

use std::fmt::Write as _;

use super::{Edit, like};

/// Shows `<Chat />` beside `<App />`.
pub(crate) fn entry(original: &str, path: &str, module: &str) -> Edit {
    let by_hand = || {
        Edit::ByHand(format!(
            "{path}: show the chat where you want it:\n    import {{ Chat }} from '{module}'\n    <Chat />"
        ))
    };
    if original.contains(&format!("'{module}'")) || original.contains(&format!("\"{module}\"")) {
        return Edit::Same;
    }
    let lines: Vec<&str> = original.lines().collect();
    let apps: Vec<usize> =
        (0..lines.len()).filter(|at| lines.get(*at).is_some_and(|line| line.trim() == "<App />")).collect();
    // One element alone may not get a neighbour: only a parent that is seen takes two.
    let [app] = apps.as_slice() else { return by_hand() };
    let parent = app.checked_sub(1).and_then(|at| lines.get(at)).map(|line| line.trim());
    if !parent
        .is_some_and(|line| line.ends_with("<StrictMode>") || line.ends_with("<React.StrictMode>") || line == "<>")
    {
        return by_hand();
    }
    let Some((import, line)) = lines.iter().enumerate().rfind(|(_, line)| is_app_import(line)) else {
        return by_hand();
    };
    let quote = if line.contains('"') { '"' } else { '\'' };
    let end = if line.trim_end().ends_with(';') { ";" } else { "" };
    let mut out = String::with_capacity(original.len().saturating_add(64));
    for (at, line) in lines.iter().enumerate() {
        out.push_str(line);
        out.push('\n');
        // Writing to a String does not fail.
        if at == import {
            let _ = writeln!(out, "import {{ Chat }} from {quote}{module}{quote}{end}");
        }
        if at == *app {
            let indent = line.strip_suffix("<App />").unwrap_or_default();
            let _ = writeln!(out, "{indent}<Chat />");
        }
    }
    Edit::Changed(whole(original, out))
}

fn is_app_import(line: &&str) -> bool {
    line.starts_with("import App from ") || line.starts_with("import { App } from ")
}

/// Adds the plugin that hands `/ws` on to Vite's list.
pub(crate) fn vite(original: &str, path: &str, module: &str) -> Edit {
    let by_hand = || {
        Edit::ByHand(format!(
            "{path}: add the plugin that hands /ws on:\n    import {{ wsguard }} from '{module}'\n    plugins: [react(), wsguard()]"
        ))
    };
    // With or without the ending.
    if original.contains(module.trim_end_matches(".ts")) {
        return Edit::Same;
    }
    let mut places = original.match_indices("plugins: [");
    let (Some((start, open)), None) = (places.next(), places.next()) else { return by_hand() };
    let Some(inside) = original.get(start.saturating_add(open.len())..) else { return by_hand() };
    let Some(length) = closing(inside) else { return by_hand() };
    let Some(list) = inside.get(..length) else { return by_hand() };
    let Some((import, line)) = original.lines().enumerate().filter(|(_, line)| line.starts_with("import ")).last()
    else {
        return by_hand();
    };
    let quote = if line.contains('"') { '"' } else { '\'' };
    let end = if line.trim_end().ends_with(';') { ";" } else { "" };
    let filled = list.trim_end();
    let blank = list.get(filled.len()..).unwrap_or_default();
    let separator = match filled.trim_start() {
        "" => "",
        // A list of lines: the new one is a line too.
        _ if filled.starts_with(['\n', '\r']) => {
            let indent = filled.lines().last().map(|line| line.len().saturating_sub(line.trim_start().len()));
            return lined(original, list, indent.unwrap_or(4), (import, module, quote, end));
        }
        text if text.ends_with(',') => " ",
        _ => ", ",
    };
    let text = original.replacen(&format!("{open}{list}]"), &format!("{open}{filled}{separator}wsguard(){blank}]"), 1);
    Edit::Changed(imported(original, &text, (import, module, quote, end)))
}

/// The same for a list of which every entry is a line.
fn lined(original: &str, list: &str, indent: usize, import: (usize, &str, char, &str)) -> Edit {
    let filled = list.trim_end();
    let blank = list.get(filled.len()..).unwrap_or_default();
    let comma = if filled.ends_with(',') { "" } else { "," };
    let entry = like(original, &format!("\n{:indent$}wsguard(),", ""));
    let text = original.replacen(&format!("[{list}]"), &format!("[{filled}{comma}{entry}{blank}]"), 1);
    Edit::Changed(imported(original, &text, import))
}

fn imported(original: &str, text: &str, (at, module, quote, end): (usize, &str, char, &str)) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(64));
    for (number, line) in text.lines().enumerate() {
        out.push_str(line);
        out.push('\n');
        if number == at {
            let _ = writeln!(out, "import {{ wsguard }} from {quote}{module}{quote}{end}");
        }
    }
    whole(original, out)
}

/// How far it is to the bracket that closes the list; `None` where strings or comments could hide one.
fn closing(inside: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, letter) in inside.char_indices() {
        match letter {
            '[' | '(' | '{' => depth = depth.checked_add(1)?,
            ']' if depth == 0 => return Some(at),
            ']' | ')' | '}' => depth = depth.checked_sub(1)?,
            '/' | '`' => return None,
            _ => {}
        }
    }
    None
}

/// `text`, of lines that end in `\n`, with the line ends of the original.
fn whole(original: &str, text: String) -> String {
    let text = if original.ends_with('\n') { text } else { text.trim_end_matches('\n').to_owned() };
    like(original, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "import { StrictMode } from 'react'\nimport { createRoot } from 'react-dom/client'\nimport './index.css'\nimport App from './App.tsx'\n\ncreateRoot(document.getElementById('root')!).render(\n  <StrictMode>\n    <App />\n  </StrictMode>,\n)\n";
    const VITE: &str = "import { defineConfig } from 'vite'\nimport react from '@vitejs/plugin-react'\n\n// https://vite.dev/config/\nexport default defineConfig({\n  plugins: [react()],\n})\n";

    #[test]
    fn the_chat_stands_beside_the_application() {
        let want = MAIN
            .replace("App.tsx'\n", "App.tsx'\nimport { Chat } from './wsguard/Chat'\n")
            .replace("    <App />\n", "    <App />\n    <Chat />\n");
        assert_eq!(entry(MAIN, "src/main.tsx", "./wsguard/Chat"), Edit::Changed(want.clone()));
        assert_eq!(entry(&want, "src/main.tsx", "./wsguard/Chat"), Edit::Same);
        let double = MAIN.replace('\'', "\"").replace("App.tsx\"", "App.tsx\";");
        let Edit::Changed(text) = entry(&double, "src/main.tsx", "./wsguard/Chat") else { panic!("unchanged") };
        assert!(text.contains("import { Chat } from \"./wsguard/Chat\";\n"), "{text}");
        for (name, original) in [
            ("alone", MAIN.replace("  <StrictMode>\n", "").replace("  </StrictMode>,\n", "")),
            ("in a router", MAIN.replace("StrictMode>", "Router>")),
            ("with properties", MAIN.replace("<App />", "<App a />")),
            ("twice", MAIN.replace("    <App />\n", "    <App />\n    <App />\n")),
        ] {
            assert!(matches!(entry(&original, "a", "./wsguard/Chat"), Edit::ByHand(_)), "{name}");
        }
    }

    #[test]
    fn the_plugin_joins_the_others() {
        let import = "plugin-react'\nimport { wsguard } from './wsguard.vite'\n";
        let with = |list: &str| VITE.replace("[react()]", list);
        for (name, list, want) in [
            ("one", "[react()]", "[react(), wsguard()]"),
            ("none", "[]", "[wsguard()]"),
            ("with options", "[react({ babel: { a: [1] } }), a()]", "[react({ babel: { a: [1] } }), a(), wsguard()]"),
            ("lines", "[\n    react(),\n    a(),\n  ]", "[\n    react(),\n    a(),\n    wsguard(),\n  ]"),
            ("lines without the last comma", "[\n    react()\n  ]", "[\n    react(),\n    wsguard(),\n  ]"),
        ] {
            let want = with(want).replace("plugin-react'\n", import);
            assert_eq!(vite(&with(list), "vite.config.ts", "./wsguard.vite"), Edit::Changed(want.clone()), "{name}");
            for module in ["./wsguard.vite", "./wsguard.vite.ts"] {
                assert_eq!(vite(&want, "vite.config.ts", module), Edit::Same, "{name}");
            }
        }
        for (name, original) in [
            ("a function", "export default () => ({})".to_owned()),
            ("a comment inside", with("[react() /* ] */]")),
            ("twice", with("[react()],\n  worker: { plugins: [a()] }")),
        ] {
            assert!(matches!(vite(&original, "a", "./wsguard.vite"), Edit::ByHand(_)), "{name}");
        }
    }
}
