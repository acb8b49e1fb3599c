//! The JSON Schemas of `messages.dir`: one file a message type, `chat.json` for `chat`.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use wsguard_core::schema::{CompiledSchema, SchemaError};
use wsguard_protocol::limits::TYPE_BYTES_MAX;

/// Longest schema file in bytes.
pub const SCHEMA_BYTES_MAX: u64 = 1_048_576;

/// Most message types.
pub const TYPES_MAX: usize = 1_024;

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
    /// A file is longer than [`SCHEMA_BYTES_MAX`] or is not UTF-8, or its name is no message type.
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
}

/// Compiles every `*.json` of `directory`, in the order of the names. A schema's name is its message type.
///
/// # Errors
/// Every file that cannot be used, so that one edit repairs them all; at least one.
pub fn load(directory: &Path) -> Result<Vec<CompiledSchema>, Vec<SchemasError>> {
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
        let expected = "1 to 1,024 files TYPE.json";
        return Err(vec![SchemasError::Unfit { path: directory.to_owned(), expected }]);
    }
    let mut schemas = Vec::with_capacity(paths.len());
    let mut errors = Vec::new();
    for path in &paths {
        match compile(path) {
            Ok(schema) => schemas.push(schema),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(schemas) } else { Err(errors) }
}

fn compile(path: &Path) -> Result<CompiledSchema, SchemasError> {
    let unfit = |expected| SchemasError::Unfit { path: path.to_owned(), expected };
    let unreadable = |error| SchemasError::Unreadable { path: path.to_owned(), error };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !(1..=TYPE_BYTES_MAX).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unfit("a name of 1 to 64 visible ASCII characters before .json"));
    }
    let mut source = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(SCHEMA_BYTES_MAX.saturating_add(1)).read_to_end(&mut source).map_err(unreadable)?;
    if u64::try_from(source.len()).is_ok_and(|length| length > SCHEMA_BYTES_MAX) {
        return Err(unfit("at most 1,048,576 bytes"));
    }
    let source = String::from_utf8(source).map_err(|_| unfit("UTF-8 text"))?;
    CompiledSchema::compile(name, &source).map_err(|error| SchemasError::Schema { path: path.to_owned(), error })
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
            ("empty", vec![], Err(vec![": expected 1 to 1,024 files TYPE.json"])),
            (
                "two bad ones",
                vec![good, ("a.json", "{\n\"type\": \"objekt\"}"), ("b.json", "[")],
                Err(vec!["/a.json:2: ", "/b.json:1: "]),
            ),
            ("bad name", vec![(&*format!("{long}.json"), "{}")], Err(vec!["expected a name of 1 to 64"])),
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
                    assert_eq!(schemas.iter().map(CompiledSchema::name).collect::<Vec<_>>(), names, "{name}");
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
