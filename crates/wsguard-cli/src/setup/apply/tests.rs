use std::collections::BTreeMap;

use super::*;
use crate::setup::detect::tests::Folder;

/// Every file below a folder, with its text and mode.
fn everything(root: &Path) -> BTreeMap<PathBuf, (String, u32)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
            let text = if path.is_dir() { String::new() } else { fs::read_to_string(&path).unwrap() };
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (text, mode));
        }
    }
    found
}

fn text(path: &str, old: Option<&str>, new: &str, keeps_old: bool) -> Change {
    Change { path: path.into(), old: old.map(str::to_owned), new: Content::Text(new.to_owned()), keeps_old }
}

fn changes() -> Vec<Change> {
    vec![
        text("a/b/new.txt", None, "new", false),
        text("run.sh", Some("old"), "edited", false),
        text("mine.txt", Some("mine"), "ours", true),
        Change { path: "keys/issuer.pem".into(), old: None, new: Content::KeyPair, keeps_old: false },
    ]
}

fn project() -> Folder {
    let folder =
        Folder::with(&[("run.sh", "old"), ("mine.txt", "mine"), ("node_modules/x/index.js", "1"), ("lock", "1")]);
    fs::set_permissions(folder.0.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What a package manager does, well or badly.
fn install(transaction: &mut Transaction, root: &Path) {
    for path in ["lock", "other.lock", "node_modules"] {
        transaction.protect(Path::new(path)).unwrap();
    }
    assert!(!root.join("node_modules").exists(), "put aside");
    fs::write(root.join("lock"), "2").unwrap();
    fs::write(root.join("other.lock"), "2").unwrap();
    fs::create_dir_all(root.join("node_modules/y")).unwrap();
    fs::write(root.join("node_modules/y/index.js"), "2").unwrap();
}

#[test]
fn what_is_committed_stays() {
    let folder = project();
    assert!(!Transaction::recover(&folder.0).unwrap());
    let mut transaction = Transaction::begin(&folder.0).unwrap();
    transaction.apply(&changes(), |_| {}).unwrap();
    install(&mut transaction, &folder.0);
    transaction.commit().unwrap();
    let found = everything(&folder.0);
    let at = |path: &str| found.get(&folder.0.join(path)).map(|(text, mode)| (text.as_str(), *mode));
    assert_eq!(at("a/b/new.txt").unwrap().0, "new");
    assert_eq!(at("run.sh"), Some(("edited", 0o755)), "the mode is the file's own");
    assert_eq!((at("mine.txt").unwrap().0, at("mine.txt.bak").unwrap().0), ("ours", "mine"));
    assert_eq!(at("keys").unwrap().1, 0o700);
    let (private, mode) = at("keys/issuer.pem").unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----") && mode == 0o600, "{mode:o}");
    assert!(at("keys/issuer.pem.pub").unwrap().0.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert!(at("node_modules/x/index.js").is_none() && at("node_modules/y/index.js").is_some());
    assert!(at(STAGE).is_none());
}

#[test]
fn what_fails_leaves_the_project_as_it_was() {
    let folder = project();
    let before = everything(&folder.0);
    for way in ["rolled back", "dropped", "killed"] {
        let mut transaction = Transaction::begin(&folder.0).unwrap();
        transaction.apply(&changes(), |_| {}).unwrap();
        install(&mut transaction, &folder.0);
        match way {
            "rolled back" => transaction.roll_back().unwrap(),
            "dropped" => drop(transaction),
            _ => {
                // As after SIGKILL: nobody takes anything back, and the lock is gone.
                transaction.committed = true;
                drop(transaction);
                assert!(folder.0.join(STAGE).exists());
                assert!(Transaction::recover(&folder.0).unwrap());
            }
        }
        assert_eq!(everything(&folder.0), before, "{way}");
    }
}

#[test]
fn every_single_failure_is_taken_back() {
    // A folder where a file is to be: the change after it never comes.
    for (name, bad) in [
        ("changed meanwhile", text("run.sh", Some("something else"), "x", false)),
        ("gone meanwhile", text("gone.txt", Some("x"), "y", false)),
        ("made meanwhile", text("lock", None, "y", false)),
        ("below a file", text("lock/x", None, "y", false)),
    ] {
        let folder = project();
        let before = everything(&folder.0);
        let mut transaction = Transaction::begin(&folder.0).unwrap();
        let mut list = changes();
        list.push(bad);
        assert!(transaction.apply(&list, |_| {}).is_err(), "{name}");
        transaction.roll_back().unwrap();
        assert_eq!(everything(&folder.0), before, "{name}");
    }
}

#[test]
fn a_folder_that_was_not_there_is_gone_again() {
    let folder = Folder::with(&[]);
    let root = folder.0.join("a/b");
    let mut transaction = Transaction::begin(&root).unwrap();
    transaction.apply(&[text("x", None, "y", false)], |_| {}).unwrap();
    transaction.roll_back().unwrap();
    assert!(everything(&folder.0).is_empty());
}

#[test]
fn two_at_once_do_not_meet() {
    let folder = project();
    let transaction = Transaction::begin(&folder.0).unwrap();
    assert!(matches!(Transaction::begin(&folder.0), Err(ApplyError::Busy(_))));
    assert!(matches!(Transaction::recover(&folder.0), Err(ApplyError::Busy(_))));
    transaction.roll_back().unwrap();
}

#[test]
fn old_copies_are_not_overwritten() {
    let folder = Folder::with(&[("a", "2"), ("a.bak", "1")]);
    let mut transaction = Transaction::begin(&folder.0).unwrap();
    transaction.apply(&[text("a", Some("2"), "3", true)], |_| {}).unwrap();
    transaction.commit().unwrap();
    let read = |name: &str| fs::read_to_string(folder.0.join(name)).unwrap();
    assert_eq!((read("a"), read("a.bak"), read("a.bak2")), ("3".into(), "1".into(), "2".into()));
}

#[test]
fn a_journal_that_a_repository_brings_is_not_believed() {
    let victim = Folder::with(&[("precious", "1")]);
    for (name, mode, path) in [
        ("laid out by git", 0o755, "run.sh".to_owned()),
        ("a way out", 0o700, format!("../{}/precious", victim.0.file_name().unwrap().display())),
        ("from the root", 0o700, victim.0.join("precious").display().to_string()),
        ("through a link", 0o700, "link/precious".to_owned()),
    ] {
        let folder = project();
        std::os::unix::fs::symlink(&victim.0, folder.0.join("link")).unwrap();
        let stage = folder.0.join(STAGE);
        fs::create_dir(&stage).unwrap();
        fs::set_permissions(&stage, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(stage.join("journal"), format!("n 0 {path}\0")).unwrap();
        assert!(matches!(Transaction::recover(&folder.0), Err(ApplyError::Foreign(_))), "{name}");
        assert!(victim.0.join("precious").exists() && folder.0.join("run.sh").exists(), "{name}");
    }
}

#[test]
fn journals_are_read_back_as_they_were_written() {
    let steps = [Undo::Remove("a b".into()), Undo::RemoveFolder("c\nd".into()), Undo::Restore("e".into(), 7)];
    let mut text: Vec<u8> = steps.iter().flat_map(line).collect();
    assert_eq!(parse(&text), steps);
    text.extend(b"n 0 tor");
    assert_eq!(parse(&text), steps, "a torn line is a step that was not taken");
    assert!(parse(b"").is_empty() && parse(b"x 0 a\0o y b\0").is_empty());
}
