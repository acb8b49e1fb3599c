//! The message types: the JSON Schemas of `messages.dir`, one file a type, `chat.json` for `chat`, and their rates.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use wsguard_core::control::authorization::TYPES_MAX;
use wsguard_core::control::rate::Quota;
use wsguard_core::policy::{MessageType, MessageTypeError, built_in_messages};
use wsguard_core::schema::{CompiledSchema, SchemaError};

use crate::config::Config;

/// Longest schema file in bytes.
pub const SCHEMA_BYTES_MAX: u64 = 1_048_576;

/// Why a schema, or the directory, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemasError {
    /// The directory or a file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is longer than [`SCHEMA_BYTES_MAX`] or is not UTF-8, or there are none, or too many.
    #[error("{}: expected {expected}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// A file is no good schema.
    #[error("{}:{}: {error}", path.display(), error.line())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The mistake, with line and column.
        error: SchemaError,
    },
    /// A file's name is no message type.
    #[error("{}: {error}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What a message type is called.
        error: MessageTypeError,
    },
    /// A built-in message type cannot be.
    #[error(transparent)]
    BuiltIn(#[from] MessageTypeError),
    /// A rate of a type that does not exist would limit nothing, in silence.
    #[error("rate.types.{name}: expected one of the message types {known}")]
    NoType {
        /// The name.
        name: String,
        /// Those that exist.
        known: String,
    },
}

impl SchemasError {
    /// The key that it is about.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::NoType { .. } => "rate.types",
            _ => "messages.dir",
        }
    }
}

/// The message types that `config` describes: those of `messages.dir`, which the built-in application answers as far as it
/// knows them, or the built-in ones; each with its rate of `rate.types`.
///
/// # Errors
/// Everything that cannot be used; at least one.
pub fn message_types(config: &Config) -> Result<Vec<MessageType>, Vec<SchemasError>> {
    let messages = match &config.messages_dir {
        None => built_in_messages().map_err(|error| vec![error.into()])?,
        Some(directory) => load(directory)?,
    };
    let rates = &config.rate.types;
    let known = || messages.iter().map(MessageType::name);
    let unknown: Vec<_> = rates
        .iter()
        .filter(|(name, _)| known().all(|known| *known != **name))
        .map(|(name, _)| SchemasError::NoType { name: name.to_string(), known: known().collect::<Vec<_>>().join(", ") })
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let limited = messages.into_iter().map(|message| match rates.iter().find(|(name, _)| **name == *message.name()) {
        Some((_, per_second)) => message.quota(Quota::new(*per_second, *per_second)),
        None => message,
    });
    Ok(limited.collect())
}

/// Compiles every `*.json` of `directory`, in the order of the names. A schema's name is its message type.
///
/// # Errors
/// Every file that cannot be used, so that one edit repairs them all; at least one.
pub fn load(directory: &Path) -> Result<Vec<MessageType>, Vec<SchemasError>> {
    let unreadable = |error| vec![SchemasError::Unreadable { path: directory.to_owned(), error }];
    let entries: Result<Vec<_>, _> = fs::read_dir(directory).map_err(unreadable)?.collect();
    let mut paths: Vec<PathBuf> = entries
        .map_err(unreadable)?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    if paths.is_empty() || paths.len() > TYPES_MAX {
        let expected = "1 to 128 files TYPE.json";
        return Err(vec![SchemasError::Unfit { path: directory.to_owned(), expected }]);
    }
    let mut messages = Vec::with_capacity(paths.len());
    let mut errors = Vec::new();
    for path in &paths {
        match compile(path) {
            Ok(message) => messages.push(message),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(messages) } else { Err(errors) }
}

fn compile(path: &Path) -> Result<MessageType, SchemasError> {
    let unfit = |expected| SchemasError::Unfit { path: path.to_owned(), expected };
    let unreadable = |error| SchemasError::Unreadable { path: path.to_owned(), error };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let mut source = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SCHEMA_BYTES_MAX.saturating_add(1)).read_to_end(&mut source).map_err(unreadable)?;
    if u64::try_from(source.len()).is_ok_and(|length| length > SCHEMA_BYTES_MAX) {
        return Err(unfit("at most 1,048,576 bytes"));
    }
    let source = String::from_utf8(source).map_err(|_| unfit("UTF-8 text"))?;
    let schema = CompiledSchema::compile(name, &source);
    let schema = schema.map_err(|error| SchemasError::Schema { path: path.to_owned(), error })?;
    MessageType::compiled(schema).map_err(|error| SchemasError::Name { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_schema_is_named_at_once() {
        let long = "x".repeat(65);
        let good = ("chat.json", r#"{"type":"object"}"#);
        for (index, (name, files, want)) in [
            ("good", vec![good, ("README.md", "no schema")], Ok(vec!["chat"])),
            ("empty", vec![], Err(vec![": expected 1 to 128 files TYPE.json"])),
            (
                "two bad ones",
                vec![good, ("a.json", "{\n\"type\": \"objekt\"}"), ("b.json", "[")],
                Err(vec!["/a.json:2: ", "/b.json:1: "]),
            ),
            (
                "bad names",
                vec![(&*format!("{long}.json"), "{}"), ("a b.json", "{}"), ("ping.json", "{}")],
                Err(vec!["/a b.json: message type", "/ping.json: message type", "expected 1 to 64 letters"]),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let directory = std::env::temp_dir().join(format!("wsguard-schemas-{index}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            for (file, text) in files {
                fs::write(directory.join(file), text).unwrap();
            }
            let found = load(&directory);
            fs::remove_dir_all(&directory).unwrap();
            match (found, want) {
                (Ok(schemas), Ok(names)) => {
                    assert_eq!(schemas.iter().map(MessageType::name).collect::<Vec<_>>(), names, "{name}");
                }
                (Err(errors), Err(parts)) => {
                    assert_eq!(errors.len(), parts.len(), "{name}: {errors:?}");
                    for (error, part) in errors.iter().zip(parts) {
                        assert!(error.to_string().contains(part), "{name}: {error}");
                    }
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
