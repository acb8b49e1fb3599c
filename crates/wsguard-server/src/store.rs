//! What outlives the process: revocations and bans, in one `redb` file.
//!
//! Attack: a restart as a way in (CWE-613): whoever can make the server crash, or waits for a deployment, must not find
//! that it has forgotten what was revoked. So a change is on the disk before it is confirmed, everything is read before the
//! first connection is accepted, and a file that cannot be read whole stops the start. The file holds names of subjects as
//! they stand, as the security log does, and is made with mode 0600: a keyed print beside its key would hide nothing.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use wsguard::{Change, Ledger, LedgerError, Row, Shelf};

/// The version of what is in the tables.
const FORMAT: u64 = 1;

const META: TableDefinition<&str, u64> = TableDefinition::new("wsguard");
const FORMAT_KEY: &str = "format";

/// Memory that the database may use to cache pages. A megabyte holds ten thousand revocations, and reads are rare.
const CACHE_BYTES: usize = 1_048_576;

/// A ledger in a file. The process that has it open has it alone.
#[derive(Debug)]
pub struct FileLedger {
    database: Database,
    path: PathBuf,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It, or its directory, cannot be opened or made.
    #[error("open store.path {}: {error}", path.display())]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("open store.path {}: another process has it open", .0.display())]
    InUse(PathBuf),
    /// What is in it cannot be read: nobody knows what was revoked.
    #[error(
        "read store.path {}: {fault}; without it what was revoked would be good again, so nothing is served: put back a \
         copy, or move the file away and revoke anew",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

impl StoreError {
    /// Whether starting again would find the same.
    pub const fn is_lasting(&self) -> bool {
        !matches!(self, Self::InUse(_))
    }
}

impl FileLedger {
    /// Opens the store at `path`, or makes it where there is none (mode 0600; its directory must exist). Says whether it was
    /// made.
    ///
    /// # Errors
    /// A file that cannot be opened, or that is not a whole store of this version.
    pub fn open(path: &Path) -> Result<(Self, bool), StoreError> {
        let made = make(path)?;
        // A damaged file can also make the database panic.
        let database =
            catch_unwind(|| Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path))
                .map_err(|_| unreadable(path, "it is damaged"))?
                .map_err(|error| of(path, error))?;
        let ledger = Self { database, path: path.to_owned() };
        match guarded(|| ledger.format()) {
            Ok(FORMAT) => {}
            Ok(other) => {
                let fault = format!("it is of version {other}, and this server knows version {FORMAT}");
                return Err(unreadable(path, &fault));
            }
            Err(fault) => return Err(unreadable(path, &fault)),
        }
        // Every page is looked at once, while nobody waits.
        if let Err(LedgerError(fault)) = ledger.load() {
            return Err(unreadable(path, &fault));
        }
        Ok((ledger, made))
    }

    fn format(&self) -> Result<u64, redb::Error> {
        let table = self.database.begin_read()?.open_table(META)?;
        Ok(table.get(FORMAT_KEY)?.map_or(0, |format| format.value()))
    }

    fn rows(&self) -> Result<Vec<Row>, redb::Error> {
        let read = self.database.begin_read()?;
        let mut rows = Vec::new();
        for shelf in SHELVES {
            for row in read.open_table(table(shelf))?.iter()? {
                let (key, value) = row?;
                rows.push(Row { shelf, key: key.value().into(), value: value.value().into() });
            }
        }
        Ok(rows)
    }

    fn commit(&self, change: &Change) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        for (shelf, key) in &change.remove {
            write.open_table(table(*shelf))?.remove(&**key)?;
        }
        for Row { shelf, key, value } in &change.put {
            write.open_table(table(*shelf))?.insert(&**key, &**value)?;
        }
        // Durable when it returns: the database syncs the file.
        Ok(write.commit()?)
    }
}

/// What a damaged file makes the database do, a panic too, as words.
fn guarded<T>(act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| "it is damaged".to_owned())?.map_err(|error| error.to_string())
}

impl Ledger for FileLedger {
    fn load(&self) -> Result<Vec<Row>, LedgerError> {
        guarded(|| self.rows()).map_err(LedgerError)
    }

    fn write(&self, change: &Change) -> Result<(), LedgerError> {
        let fault = |fault| LedgerError(format!("write {}: {fault}", self.path.display()));
        guarded(|| self.commit(change)).map_err(fault)
    }
}

const SHELVES: [Shelf; 3] = [Shelf::Revocation, Shelf::CutOff, Shelf::Ban];

fn table(shelf: Shelf) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match shelf {
        Shelf::Revocation => "revocations",
        Shelf::CutOff => "cut_off",
        Shelf::Ban => "bans",
    })
}

fn unreadable(path: &Path, fault: &str) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), fault: fault.to_owned() }
}

fn of(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(error)) => {
            // What is too short, or does not begin as a database does, comes as one of these.
            if matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) {
                unreadable(path, "it is no store, or damaged")
            } else {
                StoreError::Unreachable { path: path.to_owned(), error }
            }
        }
        DatabaseError::UpgradeRequired(version) => {
            unreadable(path, &format!("its file format is version {version}, older than this server reads"))
        }
        other => unreadable(path, &other.to_string()),
    }
}

/// Makes an empty store where there is none. It is written under another name and then renamed, so that a file with the
/// right name is always whole: an empty one is damage, not a beginning.
fn make(path: &Path) -> Result<bool, StoreError> {
    let unreachable = |error| StoreError::Unreachable { path: path.to_owned(), error };
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(unreachable(std::io::Error::other("it is not a file")));
        }
        Ok(metadata) if metadata.len() == 0 => return Err(unreadable(path, "it is empty")),
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreachable(error)),
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new);
    let file = file.map_err(unreachable)?;
    let begun = catch_unwind(AssertUnwindSafe(|| begin(file)));
    begun
        .map_err(|_| unreachable(std::io::Error::other("the database panicked")))?
        .map_err(|error| unreachable(std::io::Error::other(error.to_string())))?;
    fs::rename(&new, path).map_err(unreachable)?;
    // The name must survive a crash as well as the content.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(unreachable)?;
    Ok(true)
}

fn begin(file: File) -> Result<(), redb::Error> {
    let backend = FileBackend::new(file)?;
    let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
    let write = database.begin_write()?;
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    for shelf in SHELVES {
        let _ = write.open_table(table(shelf))?;
    }
    Ok(write.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wsguard-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("wsguard.redb")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn row(shelf: Shelf, key: &str, value: &str) -> Row {
        Row { shelf, key: key.as_bytes().into(), value: value.as_bytes().into() }
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let scratch = Scratch::new("again");
        let rows = [row(Shelf::Revocation, "1", "a"), row(Shelf::CutOff, "c", "5"), row(Shelf::Ban, "1", "b")];
        {
            let (ledger, made) = FileLedger::open(&scratch.file()).unwrap();
            assert!(made);
            assert_eq!(fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(ledger.load(), Ok(Vec::new()));
            ledger.write(&Change { put: rows.to_vec(), remove: Vec::new() }).unwrap();
            assert!(matches!(FileLedger::open(&scratch.file()), Err(StoreError::InUse(_))));
        }
        let (ledger, made) = FileLedger::open(&scratch.file()).unwrap();
        assert!(!made);
        assert_eq!(ledger.load(), Ok(rows.to_vec()));
        let change = Change {
            put: vec![row(Shelf::Ban, "1", "c")],
            remove: vec![(Shelf::Revocation, b"1"[..].into()), (Shelf::Revocation, b"never"[..].into())],
        };
        ledger.write(&change).unwrap();
        assert_eq!(ledger.load(), Ok(vec![row(Shelf::CutOff, "c", "5"), row(Shelf::Ban, "1", "c")]));
    }

    #[test]
    fn a_file_that_is_not_a_whole_store_is_refused() {
        let scratch = Scratch::new("damaged");
        let (ledger, _) = FileLedger::open(&scratch.file()).unwrap();
        let many = (0..2_000).map(|number| row(Shelf::Revocation, &number.to_string(), &"x".repeat(50))).collect();
        ledger.write(&Change { put: many, remove: Vec::new() }).unwrap();
        drop(ledger);
        let good = fs::read(scratch.file()).unwrap();
        let flipped = |from: usize, to: usize| {
            let mut bytes = good.clone();
            for byte in bytes.get_mut(from..to).unwrap() {
                *byte ^= 0x5a;
            }
            bytes
        };
        for (name, bytes) in [
            ("empty", Vec::new()),
            ("text", b"revocations = none\n".to_vec()),
            ("cut short", good.get(..good.len() / 3).unwrap().to_vec()),
            ("a head that is no database", flipped(0, 16)),
            ("damaged pages", flipped(4_096, good.len() / 2)),
        ] {
            fs::write(scratch.file(), bytes).unwrap();
            let error = FileLedger::open(&scratch.file()).map(|_| ()).unwrap_err();
            assert!(matches!(error, StoreError::Unreadable { .. }) && error.is_lasting(), "{name}: {error:?}");
            assert!(error.to_string().contains("wsguard.redb"), "{name}: {error}");
        }
        fs::write(scratch.file(), &good).unwrap();
        assert_eq!(FileLedger::open(&scratch.file()).unwrap().0.load().unwrap().len(), 2_000);
    }

    #[test]
    fn another_version_and_another_program_are_told_apart_from_damage() {
        let scratch = Scratch::new("version");
        drop(FileLedger::open(&scratch.file()).unwrap());
        let database = Database::open(scratch.file()).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert(FORMAT_KEY, 9).unwrap();
        write.commit().unwrap();
        drop(database);
        let said = FileLedger::open(&scratch.file()).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("version 9"), "{said}");

        let foreign = scratch.0.join("foreign.redb");
        drop(Database::create(&foreign).unwrap());
        assert!(matches!(FileLedger::open(&foreign), Err(StoreError::Unreadable { .. })));
        assert!(matches!(FileLedger::open(&scratch.0), Err(StoreError::Unreachable { .. })), "a directory");
        let nowhere = scratch.0.join("no/such/directory");
        assert!(matches!(FileLedger::open(&nowhere), Err(StoreError::Unreachable { .. })));
    }
}
