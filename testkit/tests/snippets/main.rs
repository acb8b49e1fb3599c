//! What stands in the documents is true: every fenced block is run, compiled or parsed, or says right above it that it is
//! not and why; every command, target, metric and test that they name exists.
//!
//! A document's shell blocks run one after the other in one empty folder, with its TOML blocks as `wsguard.toml` there.
//! `wsguard serve` is started in the background on free ports, which take the place of 3000 and 3001 in what follows;
//! `wsguard audit` and `wsguard health` look at a server that the test has started.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod foreign;
mod session;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use regex::Regex;
use session::Session;
use testkit::world::{Scratch, World, run, wsguard};
use wsguard::HANDSHAKE_STATUS;
use wsguard::protocol::frames::{CLIENT_FRAMES, SERVER_FRAMES};
use wsguard::protocol::{CloseCode, ErrorCode};

/// Documents beside those of the book.
const OTHERS: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/axum/README.md",
    "examples/rooms/README.md",
    "examples/node/README.md",
    "examples/python/README.md",
];

/// What stands above a block that is not run.
const EXCUSE: &str = "*Not run by the tests: ";

/// What stands above a block that is a part of a file.
const ORIGIN: (&str, &str) = ("<!-- from ", " -->");

/// Languages that are looked at here; `rust` is compiled by `cargo test --doc`, `text` is drawings and output.
const LANGUAGES: [&str; 10] = ["sh", "console", "toml", "json", "ts", "tsx", "js", "python", "rust", "text"];

/// Blocks that may be excused: a benchmark, and an installation.
const EXCUSED_MAX: usize = 2;

struct Block {
    document: String,
    line: usize,
    language: String,
    text: String,
    excuse: Option<String>,
    origin: Option<String>,
}

impl Block {
    fn place(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents: those of the book, which its table of contents names, and a few more. The pages of the checks are made
/// from the catalogue, and decisions are not changed any more.
fn documents() -> Vec<String> {
    let link = Regex::new(r"\]\(([a-z-]+\.md)\)").unwrap();
    let summary = read("docs/SUMMARY.md");
    let pages = link.captures_iter(&summary).map(|found| format!("docs/{}", &found[1]));
    let all: Vec<String> = OTHERS.iter().map(|&other| other.to_owned()).chain(pages).collect();
    assert!(all.len() > 15, "{all:?}");
    all
}

fn blocks_of(document: &str) -> Vec<Block> {
    let text = read(document);
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let line = text[..range.start].matches('\n').count();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',']).next().unwrap_or_default().to_owned(),
                    CodeBlockKind::Indented => String::new(),
                };
                let above =
                    lines[..line].iter().rev().find(|line| !line.trim().is_empty()).copied().unwrap_or_default();
                let excuse = above.strip_prefix(EXCUSE).and_then(|rest| rest.strip_suffix('*')).map(str::to_owned);
                let origin = above.strip_prefix(ORIGIN.0).and_then(|rest| rest.strip_suffix(ORIGIN.1));
                blocks.push(Block {
                    document: document.to_owned(),
                    line: line + 1,
                    language,
                    text: String::new(),
                    excuse,
                    origin: origin.map(str::to_owned),
                });
                inside = true;
            }
            Event::Text(part) if inside => blocks.last_mut().unwrap().text.push_str(&part),
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    blocks
}

/// The blocks of a language that are not excused.
fn blocks(languages: &[&str]) -> Vec<Block> {
    let all = documents().iter().flat_map(|document| blocks_of(document)).collect::<Vec<_>>();
    all.into_iter().filter(|block| block.excuse.is_none() && languages.contains(&block.language.as_str())).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The files that configurations name.
fn fixtures(folder: &Path) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("admin.key"), "k".repeat(40)).unwrap();
    fs::create_dir(folder.join("schemas")).unwrap();
    fs::write(folder.join("schemas/chat.json"), r#"{"type": "object"}"#).unwrap();
}

#[test]
fn every_block_is_looked_at_or_says_why_not() {
    let mut faults = String::new();
    let compiled = read("testkit/src/documents.rs");
    let (mut count, mut excused) = (0, Vec::new());
    for document in documents() {
        for block in blocks_of(&document) {
            count += 1;
            let place = block.place();
            if let Some(excuse) = &block.excuse {
                assert!(excuse.len() > 10, "{place}: {excuse:?} is no reason");
                excused.push(format!("{place}: {} is not run: {excuse}", block.language));
            } else if !LANGUAGES.iter().chain(&foreign::LANGUAGES).any(|known| *known == block.language) {
                writeln!(faults, "{place}: {:?} is no language that is looked at here", block.language).unwrap();
            } else if block.language == "rust"
                && block.origin.is_none()
                && !compiled.contains(&format!("\"{document}\""))
            {
                writeln!(faults, "{place}: {document} is not in testkit/src/documents.rs").unwrap();
            }
        }
    }
    println!("{count} blocks, {} excused:\n{}", excused.len(), excused.join("\n"));
    assert!(faults.is_empty(), "{faults}");
    assert!(excused.len() <= EXCUSED_MAX, "too many blocks are excused");
}

#[test]
fn what_is_quoted_from_a_file_stands_there() {
    let quoted: Vec<Block> =
        documents().iter().flat_map(|document| blocks_of(document)).filter(|block| block.origin.is_some()).collect();
    assert!(!quoted.is_empty());
    for block in quoted {
        let origin = block.origin.as_deref().unwrap();
        assert!(read(origin).contains(block.text.trim_end()), "{}: not as in {origin}", block.place());
    }
}

#[test]
fn every_shell_block_runs() {
    // setup.sh installs these; alone, this test needs them once.
    for (place, script) in [
        ("examples/node/vendor/wsguard-client.tgz", "examples/node/install.sh"),
        (".cache/peers/websockets", "testkit/peers/install.sh"),
    ] {
        if !root().join(place).exists() {
            assert!(Command::new("bash").arg(root().join(script)).status().unwrap().success(), "{script} failed");
        }
    }
    let target = Mutex::new(World::dev(&[]));
    let run = |document: &str| {
        let mut ran = 0;
        let mut session = Session::new(document, &target);
        for block in blocks_of(document).iter().filter(|block| block.excuse.is_none()) {
            match block.language.as_str() {
                "sh" => {
                    session.run(block);
                    ran += 1;
                }
                "toml" if is_configuration(&block.text) => {
                    fs::write(session.path().join("wsguard.toml"), &block.text).unwrap();
                }
                _ => {}
            }
        }
        ran
    };
    // Most of it is waiting for others.
    let all = documents();
    let ran: usize = std::thread::scope(|scope| {
        let quarters = all.chunks(all.len().div_ceil(4));
        let running: Vec<_> =
            quarters.map(|part| scope.spawn(|| part.iter().map(|document| run(document)).sum::<usize>())).collect();
        running.into_iter().map(|part| part.join().unwrap()).sum()
    });
    assert!(ran > 20, "only {ran} blocks");
    session::consoles(&blocks(&["console"]));
}

fn is_configuration(text: &str) -> bool {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let manifest = ["package", "dependencies", "workspace", "patch"].iter().any(|name| table.contains_key(*name));
    !manifest
}

#[test]
fn every_configuration_is_accepted() {
    let scratch = Scratch::new();
    fixtures(scratch.path());
    assert!(run(scratch.path(), &["keygen", "--out", "issuer.key"], &[]).status.success());
    let all = blocks(&["toml"]);
    assert!(!all.is_empty());
    for block in all {
        if is_configuration(&block.text) {
            fs::write(scratch.path().join("wsguard.toml"), &block.text).unwrap();
            let checked = run(scratch.path(), &["check-config", "--config", "wsguard.toml"], &[]);
            assert!(checked.status.success(), "{}: {}", block.place(), said(&checked));
        }
    }
}

#[test]
fn every_json_block_is_json() {
    for block in blocks(&["json"]) {
        let value: Result<serde_json::Value, _> = serde_json::from_str(&block.text);
        assert!(value.is_ok(), "{}: {value:?}", block.place());
    }
}

#[test]
fn every_script_compiles() {
    // Where the packed client, React and the compiler are installed, as their users install them.
    let example = root().join("examples/react");
    if !example.join("node_modules/@wsguard/client").exists() {
        let installed = Command::new("bash").arg(example.join("install.sh")).status().unwrap();
        assert!(installed.success(), "examples/react/install.sh failed");
    }
    let folder = example.join(format!("node_modules/.snippets-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut names = Vec::new();
    for (number, block) in blocks(&["ts", "tsx"]).iter().enumerate() {
        let name = format!("{}-{}-{number}.{}", block.document.replace('/', "-"), block.line, block.language);
        // A block without imports is a module all the same: two may use the same names.
        fs::write(folder.join(&name), format!("{}\nexport {{}};\n", block.text)).unwrap();
        names.push(name);
    }
    assert!(!names.is_empty());
    let compiled = Command::new(example.join("node_modules/.bin/tsc"))
        .args(["--noEmit", "--strict", "--target", "es2022", "--lib", "es2023,dom,dom.iterable", "--module", "esnext"])
        .args(["--moduleResolution", "bundler", "--jsx", "react-jsx", "--skipLibCheck"])
        .args(&names)
        .current_dir(&folder)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(compiled.status.success(), "{}", said(&compiled));

    let scratch = Scratch::new();
    for block in blocks(&["js"]) {
        let path = scratch.path().join("snippet.mjs");
        fs::write(&path, &block.text).unwrap();
        let checked = Command::new("node").arg("--check").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}: {}", block.place(), said(&checked));
    }
    for block in blocks(&["python"]).iter().filter(|block| block.origin.is_none()) {
        let path = scratch.path().join("snippet.py");
        fs::write(&path, &block.text).unwrap();
        let checked = Command::new("python3").args(["-m", "py_compile"]).arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}: {}", block.place(), said(&checked));
    }
}

/// Every word of the documents that `pattern` finds, by its first group, with the document.
fn words(pattern: &str) -> BTreeSet<(String, String)> {
    let pattern = Regex::new(pattern).unwrap();
    let all = documents();
    all.iter()
        .flat_map(|document| {
            let text = read(document);
            pattern.captures_iter(&text).map(|found| (found[1].to_owned(), document.clone())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn commands_targets_and_metrics_that_are_named_exist() {
    let scratch = Scratch::new();
    let mut known = BTreeSet::new();
    for (command, document) in words(r"(?m)(?:`|^\$ )wsguard ([a-z]+(?:-[a-z]+)?(?: (?:list|verify)\b)?)") {
        if known.insert(command.clone()) {
            let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
            let help = wsguard(scratch.path()).args(arguments).output().unwrap();
            assert!(help.status.success(), "{document}: `wsguard {command}` does not exist");
        }
    }
    assert!(known.contains("serve") && known.contains("log verify"), "{known:?}");

    let makefile = read("Makefile");
    for (target, document) in words(r"(?m)(?:^|`)make ([a-z][a-z0-9-]*)") {
        assert!(makefile.contains(&format!("\n{target}:")), "{document}: `make {target}` does not exist");
    }

    let world = World::dev(&[]);
    // Those of an issuer's keys are there where it has one.
    let metrics = world.ask_admin("/metrics").body + "# TYPE wsguard_jwks_fetches \n# TYPE wsguard_jwks_keys \n";
    for (name, document) in words(r"`?\b(wsguard_[a-z_]+)(?:[{`>\[ ]|$)") {
        // Names of crates look the same.
        if [
            "wsguard_client",
            "wsguard_core",
            "wsguard_server",
            "wsguard_protocol",
            "wsguard_audit",
            "wsguard_simulation",
        ]
        .contains(&name.as_str())
        {
            continue;
        }
        let family = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(metrics.contains(&format!("# TYPE {family} ")), "{document}: {name} is no metric");
    }
}

#[test]
fn the_page_of_the_protocol_has_every_word_of_it() {
    let page = read("docs/protocol.md");
    let codes = ErrorCode::ALL.iter().map(|code| format!("`{code}`"));
    let frames = SERVER_FRAMES.iter().chain(CLIENT_FRAMES).map(|frame| format!("| `{}` |", frame.kind));
    let statuses = HANDSHAKE_STATUS.iter().map(ToString::to_string);
    let closes = CloseCode::ALL.iter().map(|code| code.number().to_string());
    for word in codes.chain(frames).chain(statuses).chain(closes) {
        assert!(page.contains(&word), "docs/protocol.md does not say {word}");
    }
}

/// Requirements of each section of ASVS 5.0, in the chapters that apply.
#[rustfmt::skip]
const ASVS: [((u32, u32), u32); 59] = [
    ((1, 1), 2), ((1, 2), 10), ((1, 3), 12), ((1, 4), 3), ((1, 5), 3), ((2, 1), 3), ((2, 2), 3), ((2, 3), 5),
    ((2, 4), 2), ((3, 1), 1), ((3, 2), 3), ((3, 3), 5), ((3, 4), 8), ((3, 5), 8), ((3, 6), 1), ((3, 7), 5), ((4, 1), 5),
    ((4, 2), 5), ((4, 3), 2), ((4, 4), 4), ((7, 1), 3), ((7, 2), 4), ((7, 3), 2), ((7, 4), 5), ((7, 5), 3), ((7, 6), 2),
    ((8, 1), 4), ((8, 2), 4), ((8, 3), 3), ((8, 4), 2), ((9, 1), 3), ((9, 2), 4), ((10, 3), 5), ((11, 1), 4), ((11, 2), 5),
    ((11, 3), 5), ((11, 4), 4), ((11, 5), 2), ((11, 6), 2), ((11, 7), 2), ((12, 1), 5), ((12, 2), 2), ((12, 3), 5),
    ((13, 1), 4), ((13, 2), 6), ((13, 3), 4), ((13, 4), 7), ((14, 1), 2), ((14, 2), 8), ((14, 3), 3), ((15, 1), 5),
    ((15, 2), 5), ((15, 3), 7), ((15, 4), 4), ((16, 1), 1), ((16, 2), 5), ((16, 3), 4), ((16, 4), 3),
    ((16, 5), 4),
];

#[test]
fn no_requirement_of_asvs_is_left_out() {
    type Id = (u32, u32, u32);
    let all: Vec<Id> = ASVS.iter().flat_map(|&((a, b), count)| (1..=count).map(move |c| (a, b, c))).collect();
    let id = |text: &str| -> Option<Id> {
        let mut parts = text.trim().trim_matches('*').split('.').map(str::parse);
        let id = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        parts.next().is_none().then_some(id)
    };
    let mut said = BTreeSet::new();
    for row in read("docs/asvs.md").lines() {
        let column = row.strip_prefix("| ").and_then(|row| row.split(['|', '(']).next()).unwrap_or_default();
        for part in column.split(',') {
            let (first, last) = part.split_once(" to ").unwrap_or((part, part));
            if let (Some(first), Some(last)) = (id(first), id(last)) {
                for id in all.iter().filter(|id| (first..=last).contains(id)) {
                    assert!(said.insert(*id), "docs/asvs.md says {id:?} twice");
                }
            }
        }
    }
    let missing: Vec<_> = all.iter().filter(|id| !said.contains(id)).collect();
    assert!(missing.is_empty(), "docs/asvs.md leaves out {missing:?}");
}

#[test]
fn tests_that_are_named_exist() {
    let output = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let sources = String::from_utf8(output.stdout).unwrap();
    let mut named = 0;
    for (test, document) in words(r"`([a-z_]+::[a-z_0-9]+)`") {
        let (file, name) = test.split_once("::").unwrap();
        // What begins with a crate is code, and `file::test` says how tests are named.
        if file.starts_with("wsguard") || test == "file::test" {
            continue;
        }
        named += 1;
        let found = sources.lines().filter(|path| Path::new(path).file_stem().is_some_and(|stem| stem == file));
        let exists = found.into_iter().any(|path| read(path).contains(&format!("fn {name}(")));
        assert!(exists, "{document}: there is no test {test}");
    }
    assert!(named > 40, "only {named} tests are named");
}
