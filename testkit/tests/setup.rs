//! `wsguard setup` from outside: what it says, what it leaves, and what is left when it fails. A package manager that does
//! what the test tells it stands in for npm; `make e2e` has the real ones.

#![expect(clippy::unwrap_used, reason = "for tests: what cannot be set up is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use testkit::world::{PATIENCE, binary, wsguard};

/// A folder with a project and one with programs.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(name: &str, npm: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wsguard-setup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("project")).unwrap();
        let program = folder.join("bin/npm");
        fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{npm}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder: folder.canonicalize().unwrap() }
    }

    fn project(&self) -> PathBuf {
        self.folder.join("project")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = wsguard(&self.project());
        command.arg("setup").args(arguments).env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Applies what a dry run printed.
    fn patch(&self, planned: &Output) {
        let patch = self.folder.join("plan.diff");
        fs::write(&patch, &planned.stdout).unwrap();
        let git = Command::new("git").arg("apply").arg(&patch).current_dir(self.project()).output().unwrap();
        assert!(git.status.success(), "{}", said(&git));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An npm that installs: as much of it as setup looks for.
const INSTALLS: &str = "mkdir -p node_modules/@wsguard/client && echo '{}' > package-lock.json";

fn everything(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let is_folder = path.is_dir();
            let bytes = if is_folder { Vec::new() } else { fs::read(&path).unwrap() };
            if is_folder {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (bytes, mode));
        }
    }
    found
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_empty_folder_is_set_up_checked_and_then_left_alone() {
    let place = Place::new("empty", INSTALLS);
    let planned = place.run(&["--dry-run"]);
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    assert!(everything(&place.project()).is_empty(), "a dry run changes nothing");

    let output = place.run(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "good  check-config",
        "good  start: ws://",
        "good  health: healthy",
        "good  audit: ",
        "1. Start it",
        "3. Install",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let made = everything(&place.project());
    let mode_of = |path: &str| made.get(Path::new(path)).map(|(_, mode)| *mode);
    assert_eq!((mode_of("keys"), mode_of("keys/issuer.pem")), (Some(0o700), Some(0o600)));
    assert_eq!(mode_of(".wsguard-setup"), None);

    // What was printed as a diff is what was made.
    let other = Place::new("patched", INSTALLS);
    other.patch(&planned);
    for (path, (bytes, _)) in everything(&other.project()) {
        assert_eq!(made.get(&path).map(|(made, _)| made), Some(&bytes), "{}", path.display());
    }

    for arguments in [&[][..], &["--force"], &["--yes", "--verbose"]] {
        let again = place.run(arguments);
        assert_eq!(again.status.code(), Some(0), "{}", said(&again));
        assert!(said(&again).contains("nothing to do"), "{}", said(&again));
        assert_eq!(everything(&place.project()), made, "{arguments:?}");
    }

    place.write("wsguard.toml", "[rate]\nburst = 61\n");
    let kept = place.run(&["--dry-run"]);
    assert!(said(&kept).contains("keep    wsguard.toml") && kept.stdout.is_empty(), "{}", said(&kept));
    let forced = place.run(&["--force"]);
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    let after = everything(&place.project());
    assert_eq!(after[Path::new("wsguard.toml")], made[Path::new("wsguard.toml")]);
    assert_eq!(after[Path::new("wsguard.toml.bak")].0, b"[rate]\nburst = 61\n");
    assert_eq!(after[Path::new("keys/issuer.pem")], made[Path::new("keys/issuer.pem")], "keys are never replaced");
}

#[test]
fn a_failure_half_way_leaves_the_project_as_it_was() {
    for (name, npm, want) in [
        ("installing", "mkdir -p node_modules/half && echo no such package >&2 && exit 7", "no such package"),
        ("checking", &format!("{INSTALLS} && echo '[rate]\nburst = 0' > ../wsguard.toml"), "rate.burst"),
    ] {
        let place = Place::new(name, npm);
        place.write(".gitignore", "/target\n");
        place.write("README.md", "mine");
        let before = everything(&place.project());
        let output = place.run(&["--yes"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains(want) && text.contains("the project is as it was"), "{name}: {text}");
        assert_eq!(everything(&place.project()), before, "{name}");
    }
}

#[test]
fn an_interrupted_run_takes_everything_back_and_ends_what_it_started() {
    let place = Place::new("interrupted", "mkdir -p node_modules; echo $$ > ../../npm.pid; sleep 60");
    let before = everything(&place.project());
    for signal in ["INT", "TERM"] {
        let child = place.command(&["--yes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        let pid = loop {
            if let Ok(text) = fs::read_to_string(place.folder.join("npm.pid"))
                && text.ends_with('\n')
            {
                break text.trim().to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "npm was not started");
            std::thread::sleep(Duration::from_millis(20));
        };
        fs::remove_file(place.folder.join("npm.pid")).unwrap();
        let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("interrupted"), "{}", said(&output));
        assert_eq!(everything(&place.project()), before, "{signal}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "npm goes on");
    }
}

#[test]
fn a_run_that_was_killed_is_taken_back_by_the_next() {
    let place = Place::new("killed", "echo $$ > ../../npm.pid; sleep 60");
    let mut child = place.command(&["--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !place.folder.join("npm.pid").exists() {
        assert!(began.elapsed() < PATIENCE, "npm was not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let npm = fs::read_to_string(place.folder.join("npm.pid")).unwrap();
    let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{}", npm.trim())]).status();
    assert!(place.project().join(".wsguard-setup/journal").exists() && place.project().join("wsguard.toml").exists());
    fs::write(place.folder.join("bin/npm"), format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{INSTALLS}\n"))
        .unwrap();
    let output = place.run(&["--yes"]);
    let text = said(&output);
    assert!(text.contains("what it had done was taken back"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(place.project().join("client/node_modules").exists() && !place.project().join(".wsguard-setup").exists());
}

/// Python with what `testkit/suites/install.sh` has fetched.
fn python(arguments: &[&str]) -> Output {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/suites/python");
    assert!(Path::new(packages).exists(), "{packages} is missing: run `make setup`");
    Command::new("python3").args(arguments).env("PYTHONPATH", packages).output().unwrap()
}

#[test]
fn the_job_for_ci_is_valid_and_its_script_finds_the_server_good() {
    for (name, path, schema, script) in [
        (
            "github",
            ".github/workflows/websocket-audit.yml",
            "vendor.github-workflows",
            "['jobs']['audit']['steps'][3]['run']",
        ),
        ("gitlab", ".gitlab/websocket-audit.yml", "vendor.gitlab-ci", "['websocket-audit']['script'][-1]"),
    ] {
        let place = Place::new(&format!("ci-{name}"), INSTALLS);
        if name == "gitlab" {
            place.write(".gitlab-ci.yml", "stages: [test]\n");
        }
        place.patch(&place.run(&["--dry-run"]));
        let file = place.project().join(path);
        let file = file.to_str().unwrap();
        let valid = python(&["-m", "check_jsonschema", "--builtin-schema", schema, file]);
        assert!(valid.status.success(), "{name}: {}", said(&valid));

        let read = format!(
            "import sys; from ruamel.yaml import YAML; print(YAML(typ='safe').load(open(sys.argv[1])){script})"
        );
        let script = String::from_utf8(python(&["-c", &read, file]).stdout).unwrap();
        assert!(script.contains("wsguard audit "), "{name}: {script}");
        // As it stands, but for the port and how much is audited: the checks that depend on how the server is started.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let narrow = "wsguard audit --only AUTH-01,AUTH-03,AUTH-13,CSRF-01,IN-01 ";
        let script = script.replace("3000", &port).replace("wsguard audit ", narrow);
        let script =
            script.replace("wsguard health ", "wsguard health --wait 0 --count 3 ").replace(" --wait 0 &&", " &&");
        let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let ran = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &script])
            .current_dir(place.project())
            .env("PATH", path)
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(0), "{name}: {}", said(&ran));
        assert!(said(&ran).contains("5 passed, 0 failed"), "{name}: {}", said(&ran));
    }
}

#[test]
fn what_is_not_for_setup_is_named_and_answered() {
    for (name, file, text, want) in [
        ("go", "go.mod", "module a", "This is a Go module."),
        ("next", "package.json", r#"{"dependencies":{"next":"15"}}"#, "This is a Next.js application."),
        ("broken", "package.json", "{", "package.json"),
    ] {
        let place = Place::new(name, "exit 1");
        place.write(file, text);
        let before = everything(&place.project());
        let output = place.run(&["--yes"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(want) && output.stdout.is_empty(), "{}", said(&output));
        assert_eq!(everything(&place.project()), before, "{name}");
    }
}

#[test]
fn without_the_package_manager_nothing_begins() {
    let place = Place::new("missing", "");
    fs::write(place.folder.join("bin/npm"), "#!/bin/sh\nexit 127\n").unwrap();
    let output = place.run(&["--yes"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("find npm") && everything(&place.project()).is_empty(), "{}", said(&output));
}
