//! The configuration: no text makes it panic, and each mistake says where it stands.
//!
//! Input: the text of `wsguard.toml`. A path that begins with `/` is not tried: the machine's own files are not the subject.

use std::fs;
use std::path::PathBuf;

use wsguard_server::config::{Config, Overrides, Place};

/// Gone with the thread.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    static FOLDER: Folder = {
        let name = format!("wsguard-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    };
}

/// Panics where a promise of the configuration does not hold for `data`.
pub fn run(data: &[u8]) {
    let names_files = data.windows(2).any(|pair| matches!(pair, [b'"' | b'\'', b'/']));
    if names_files || data.windows(2).any(|pair| pair == b"..") || data.contains(&b'\\') {
        return;
    }
    FOLDER.with(|folder| {
        let path = folder.0.join("wsguard.toml");
        fs::write(&path, data).expect("write the file");
        for dev in [false, true] {
            judge(data, Config::load(Some(&path), std::iter::empty(), &Overrides { dev, ..Overrides::default() }));
        }
    });
}

fn judge(data: &[u8], outcome: Result<wsguard_server::config::Loaded, wsguard_server::config::ConfigErrors>) {
    let good = std::str::from_utf8(data).ok().and_then(|text| text.parse::<toml::Table>().ok());
    match outcome {
        Ok(loaded) => {
            assert!(good.is_some(), "a file that is no TOML was accepted");
            assert!(!loaded.config.limits_table().is_empty(), "no limits in force");
        }
        Err(errors) => {
            assert!(!errors.all().is_empty(), "no mistake named");
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            let mut placed = false;
            for error in errors.all() {
                let shown = error.to_string();
                assert!(!error.message.is_empty() && !shown.contains(char::is_control), "{shown:?}");
                match &error.place {
                    Place::File { line, column, .. } => {
                        placed = true;
                        assert!((1..=lines).contains(line) && *column >= 1, "line {line} of {lines}: {shown}");
                    }
                    Place::Whole => assert!(!error.key.is_empty(), "no place and no key: {shown}"),
                    other => panic!("{other:?} was not given: {shown}"),
                }
            }
            assert!(good.is_some() || placed, "bad TOML without a line: {errors}");
        }
    }
}
