//! Gives settings their types and notes every value that has none.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use wsguard_core::time::Millis;

use super::error::{ConfigError, Place, quoted};
use super::limit::{Limit, LimitRow, Unit};
use super::source::{LIST_ENTRIES_MAX, Raw, Setting, Settings, is_secret};
use super::value::quantity;

/// What a secret holds that stands where its path belongs; such a value is not repeated.
const SECRET_MARKS: &[&str] = &["-----BEGIN", "wsguard-hs256:", "\n"];

/// Reads settings by key. A wrong one is noted and its default takes its place, so that reading goes on to the next.
pub(super) struct Reader {
    settings: Settings,
    /// Keys that were set, also wrongly: a check for what is missing must not repeat the complaint.
    given: BTreeSet<&'static str>,
    /// The directory of the file; its relative paths start there, those of other sources in the working directory.
    base: PathBuf,
    pub(super) limits: Vec<LimitRow>,
}

impl Reader {
    pub(super) fn new(settings: Settings, file: Option<&Path>) -> Self {
        let given = settings.by_key.keys().copied().collect();
        let base = file.and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        Self { settings, given, base, limits: Vec::new() }
    }

    /// Ends the reading; the mistakes are in the order of their places.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.settings.errors;
        errors.sort_by_key(|error| match &error.place {
            Place::File { line, column, .. } => (2, *line, *column),
            Place::Flag(_) => (0, 0, 0),
            Place::Environment(_) => (1, 0, 0),
            Place::Whole => (3, 0, 0),
        });
        errors
    }

    /// Every key that was set, with its value as text.
    pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
        self.settings.by_key.iter().map(|(key, setting)| (*key, setting.text())).collect()
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains(key)
    }

    /// Whether a mistake was noted for `key`.
    pub(super) fn has_error(&self, key: &str) -> bool {
        self.settings.errors.iter().any(|error| error.key == key)
    }

    /// Where `key` was set.
    pub(super) fn place(&self, key: &str) -> Place {
        self.settings.by_key.get(key).map_or(Place::Whole, |setting| setting.place.clone())
    }

    /// Notes a mistake at a place that is known already.
    pub(super) fn wrong_at(&mut self, place: Place, key: &str, message: String) {
        self.settings.errors.push(ConfigError { place, key: key.to_owned(), message });
    }

    fn wrong(&mut self, key: &str, setting: &Setting, expected: &str) {
        let message = if is_secret(key) {
            format!("expected {expected}")
        } else {
            format!("expected {expected}, got {}", setting.shown())
        };
        self.wrong_at(setting.place.clone(), key, message);
    }

    fn setting(&self, key: &str) -> Option<Setting> {
        self.settings.by_key.get(key).cloned()
    }

    /// Reads a string through `parse`.
    pub(super) fn text<T>(&mut self, key: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let setting = self.setting(key)?;
        let value = match &setting.raw {
            Raw::Text(text) => parse(text),
            _ => None,
        };
        if value.is_none() {
            self.wrong(key, &setting, expected);
        }
        value
    }

    /// Reads a list of strings through `parse`; `None` when the key is not set. `hint` adds to the complaint about an entry.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
        hint: impl Fn(&str) -> Option<String>,
    ) -> Option<Vec<T>> {
        let entries = self.entries(key, expected, parse, hint)?;
        Some(entries.into_iter().map(|(value, _)| value).collect())
    }

    fn entries<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
        hint: impl Fn(&str) -> Option<String>,
    ) -> Option<Vec<(T, Place)>> {
        let setting = self.setting(key)?;
        let Raw::List(items) = &setting.raw else {
            self.wrong(key, &setting, &format!("a list, each entry {expected}"));
            return None;
        };
        if items.len() > LIST_ENTRIES_MAX {
            self.wrong(key, &setting, &format!("at most {LIST_ENTRIES_MAX} entries"));
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let text = if let Raw::Text(text) = &item.raw { Some(text.as_str()) } else { None };
            match text.and_then(&parse) {
                Some(value) => values.push((value, item.place.clone())),
                None => match text.and_then(&hint) {
                    Some(hint) => self.wrong(key, item, &format!("{expected} ({hint})")),
                    None => self.wrong(key, item, expected),
                },
            }
        }
        Some(values)
    }

    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        let Some(setting) = self.setting(key) else {
            return default;
        };
        match &setting.raw {
            Raw::Boolean(value) => return *value,
            Raw::Text(text) if setting.is_untyped() && text == "true" => return true,
            Raw::Text(text) if setting.is_untyped() && text == "false" => return false,
            _ => self.wrong(key, &setting, "true or false"),
        }
        default
    }

    fn number(&mut self, limit: &Limit, key: &str, setting: &Setting) -> Option<u64> {
        let value = match &setting.raw {
            Raw::Integer(number) if limit.unit != Unit::Time => u64::try_from(*number).ok(),
            Raw::Text(text) if limit.unit != Unit::Count || setting.is_untyped() => quantity(limit.unit, text),
            _ => None,
        };
        let value = value.filter(|value| (limit.min..=limit.max).contains(value));
        if value.is_none() {
            self.wrong(key, setting, &limit.expected());
        }
        value
    }

    /// Reads a limit and adds it to the table.
    pub(super) fn limit(&mut self, limit: &Limit) -> u64 {
        let value = self.setting(limit.key).and_then(|setting| self.number(limit, limit.key, &setting));
        let value = value.unwrap_or(limit.default);
        self.limits.push(limit.row(value));
        value
    }

    /// Reads a count. Its range fits in 32 bits.
    pub(super) fn count(&mut self, limit: &Limit) -> u32 {
        debug_assert!(u32::try_from(limit.max).is_ok(), "the range of {} fits", limit.key);
        u32::try_from(self.limit(limit)).unwrap_or(u32::MAX)
    }

    pub(super) fn bytes(&mut self, limit: &Limit) -> usize {
        usize::try_from(self.limit(limit)).unwrap_or(usize::MAX)
    }

    pub(super) fn time(&mut self, limit: &Limit) -> Millis {
        Millis(self.limit(limit))
    }

    /// Reads a table of counts; `name` says which names are good.
    pub(super) fn counts(
        &mut self,
        limit: &Limit,
        is_name: impl Fn(&str) -> bool,
        names: &str,
    ) -> Vec<(Box<str>, u32)> {
        let Some(setting) = self.setting(limit.key) else {
            return Vec::new();
        };
        let Raw::Table(members) = &setting.raw else {
            self.wrong(limit.key, &setting, "a table");
            return Vec::new();
        };
        if members.len() > LIST_ENTRIES_MAX {
            self.wrong(limit.key, &setting, &format!("at most {LIST_ENTRIES_MAX} entries"));
            return Vec::new();
        }
        let mut counts = Vec::with_capacity(members.len());
        for (name, member) in members {
            if !is_name(name) {
                let message = format!("expected {names}, got {}", quoted(name));
                self.wrong_at(member.place.clone(), limit.key, message);
                continue;
            }
            if let Some(count) = self.number(limit, &format!("{}.{name}", limit.key), member) {
                counts.push((name.as_str().into(), u32::try_from(count).unwrap_or(u32::MAX)));
            }
        }
        counts
    }

    /// Reads a path, relative to the file where the file says it.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.text(key, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?;
        Some(self.resolve(path, &self.place(key)))
    }

    /// Reads the path of a file that can be opened.
    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path(key)?;
        self.readable(key, self.place(key), path)
    }

    /// Reads a list of files that can be opened.
    pub(super) fn files(&mut self, key: &str) -> Vec<PathBuf> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let paths = self.entries(key, "a path", path, |_| None).unwrap_or_default();
        paths
            .into_iter()
            .filter_map(|(path, place)| {
                let path = self.resolve(path, &place);
                self.readable(key, place, path)
            })
            .collect()
    }

    /// Reads the path of a directory that can be listed.
    pub(super) fn directory(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path(key)?;
        if let Err(error) = std::fs::read_dir(&path) {
            let message = format!("expected a readable directory, got {} ({error})", quoted(&path.to_string_lossy()));
            self.wrong_at(self.place(key), key, message);
            return None;
        }
        Some(path)
    }

    /// The path of `name` beside the file; in the working directory where there is none.
    pub(super) fn beside_file(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Makes a path relative to the file, where the file says it.
    pub(super) fn resolve(&self, path: PathBuf, place: &Place) -> PathBuf {
        if matches!(place, Place::File { .. }) { self.base.join(path) } else { path }
    }

    fn readable(&mut self, key: &str, place: Place, path: PathBuf) -> Option<PathBuf> {
        let fault = match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => return Some(path),
            Ok(_) => "not a file".to_owned(),
            Err(error) => error.to_string(),
        };
        let text = path.to_string_lossy();
        let message = if is_secret(key) && SECRET_MARKS.iter().any(|mark| text.contains(mark)) {
            "expected the path of a readable file, got what looks like a secret itself".to_owned()
        } else {
            format!("expected a readable file, got {} ({fault})", quoted(&text))
        };
        self.wrong_at(place, key, message);
        None
    }
}
