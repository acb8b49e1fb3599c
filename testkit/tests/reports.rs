//! The forms of the audit's report: what they look like, and that they are what they claim to be.
//!
//! `WSGUARD_UPDATE=1 cargo test -p testkit --test reports` writes the snapshots anew; look at the difference.

#![expect(clippy::unwrap_used, reason = "for tests: what does not come as expected is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testkit::scripted::{Ask, Greet, Out, Script, TOKEN, answer};
use wsguard_audit::perf::{SOCKETS_MAX, SOCKETS_OWN_MAX};
use wsguard_audit::{Options, Report, report};

fn beside(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots")).join(name)
}

fn sample() -> Report {
    serde_json::from_str(&fs::read_to_string(beside("report.json")).unwrap()).unwrap()
}

/// Holds `found` against the file, or writes it there.
fn assert_snapshot(name: &str, found: &str) {
    let path = beside(name);
    let found = format!("{}\n", found.trim_end());
    let held = fs::read_to_string(&path).unwrap_or_default();
    // Another test may be reading what has not changed.
    if held != found && std::env::var_os("WSGUARD_UPDATE").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    let first = held.lines().zip(found.lines()).position(|(held, found)| held != found);
    assert!(held == found, "{name} differs, first in line {first:?}; WSGUARD_UPDATE=1 writes it anew");
}

fn complaints(schema: &Value, value: &Value) -> Vec<String> {
    jsonschema::validator_for(schema).unwrap().iter_errors(value).map(|error| error.to_string()).collect()
}

fn report_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/audit-report.schema.json")).unwrap()
}

fn suite(name: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/suites")).join(name);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// The schema of SARIF 2.1.0 as its editors publish it, but for a bracket too many in its patterns of languages, which not
/// every engine of regular expressions takes.
fn sarif_schema() -> Value {
    let text = fs::read_to_string(suite("sarif.json")).unwrap();
    serde_json::from_str(&text.replace("{2}]?$", "{2}$")).unwrap()
}

#[test]
fn forms_look_as_they_did() {
    let sample = sample();
    assert_snapshot("report.json", &sample.json().unwrap());
    assert_snapshot("report.md", &report::markdown(&sample));
    assert_snapshot("report.html", &report::html(&sample));
    // What the rules say is the catalogue's, which has a page for each and a test of its own.
    let mut sarif = report::sarif(&sample);
    for rule in sarif["runs"][0]["tool"]["driver"]["rules"].as_array_mut().unwrap() {
        for name in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[name].take()["text"].as_str().unwrap().is_empty(), "{name}");
        }
    }
    assert_snapshot("report.sarif", &serde_json::to_string_pretty(&sarif).unwrap());
}

#[test]
fn what_the_target_said_is_text_in_every_form() {
    let sample = sample();
    let html = report::html(&sample);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let markdown = report::markdown(&sample);
    assert!(!markdown.contains("<script") && markdown.contains("&lt;script&gt;"), "{markdown}");
}

#[test]
fn forms_are_valid_and_a_wrong_one_is_not() {
    let sample = sample();
    let json: Value = serde_json::from_str(&sample.json().unwrap()).unwrap();
    assert_eq!(complaints(&report_schema(), &json), Vec::<String>::new());
    let mut wrong = json.clone();
    wrong["performance"]["ramp"]["steps"][0]["sockets"] = json!(1_000_000);
    assert_eq!(complaints(&report_schema(), &wrong).len(), 1);

    let sarif = report::sarif(&sample);
    assert_eq!(complaints(&sarif_schema(), &sarif), Vec::<String>::new());
    let (rules, results) = (&sarif["runs"][0]["tool"]["driver"]["rules"], &sarif["runs"][0]["results"]);
    for result in results.as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    for (pointer, value) in
        [("/runs/0/results/0/level", json!("terrible")), ("/version", json!("2.2")), ("/runs/0/tool", json!({}))]
    {
        let mut wrong = sarif.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(!complaints(&sarif_schema(), &wrong).is_empty(), "{pointer}");
    }
}

/// Performance of a script, and the report it stands in.
async fn measured(script: Script, own: bool) -> Report {
    let server = script.start().await;
    let change = |options: &mut Options| {
        options.full = true;
        options.own_target = own;
    };
    server.audit(&["perf"], change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn performance_is_measured_within_its_bounds_and_shown_everywhere() {
    let report = measured(Script::good(), false).await;
    let performance = report.performance.as_ref().unwrap();
    let sockets: Vec<u32> = performance.ramp.steps.iter().map(|step| step.sockets).collect();
    assert_eq!(sockets, [1, 2, 4, 8, 16, 32, 64], "{}", performance.ramp.stopped);
    assert!(performance.ramp.stopped.contains("--i-own-this-target"), "{}", performance.ramp.stopped);
    assert!(performance.budget.sockets[0] <= u64::from(SOCKETS_MAX), "{:?}", performance.budget);
    let storm = performance.storm.as_ref().unwrap();
    assert_eq!((storm.sockets, storm.back, storm.limited, storm.failed), (64, 64, 0, 0));
    assert!(storm.served_after.is_some() && performance.alive_after);
    for times in [&performance.handshake, &performance.ping, &performance.message] {
        let times = times.as_ref().unwrap();
        assert!(
            times.count >= 50 && times.lost == 0 && times.p50_ms > 0.0 && times.p99_ms >= times.p50_ms,
            "{times:?}"
        );
    }
    let [small, large] = &performance.throughput[..] else { unreachable!("{:?}", performance.throughput) };
    for load in [small, large] {
        // A busy machine may not come to the end of it in time.
        let is_whole = load.stopped == "all answered" && load.sent == if load.name == "small" { 2_000 } else { 200 };
        assert!(load.answered == load.sent && (is_whole || load.stopped == "the time was up"), "{load:?}");
    }
    assert!(large.message_bytes > 16_000 && large.mebibytes_per_second > small.mebibytes_per_second);

    let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(complaints(&report_schema(), &json), Vec::<String>::new());
    let sarif = report::sarif(&report);
    assert_eq!(complaints(&sarif_schema(), &sarif), Vec::<String>::new());
    assert_eq!(sarif["runs"][0]["properties"]["performance"]["storm"]["sockets"], 64);
    assert!(report::markdown(&report).contains("| Reconnect storm | 64 handshakes at once"));
    let html = report::html(&report);
    assert!(html.contains("Reconnect storm") && html.contains("Round trip of pings by sockets at a time</h3>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_ones_own_gets_more_sockets_and_no_other_does() {
    let report = measured(Script::good(), true).await;
    let performance = report.performance.unwrap();
    assert_eq!(
        performance.ramp.steps.last().map(|step| step.sockets),
        Some(SOCKETS_OWN_MAX),
        "{}",
        performance.ramp.stopped
    );
    assert!(performance.alive_after);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ramp_stops_where_the_target_has_enough() {
    // The eleventh socket of a second is too many.
    let crowd = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&crowd);
    let full = Script::good().on_request(move |ask: &Ask| {
        if ask.bearer() != Some(TOKEN) {
            return Greet::Refuse(401, Vec::new(), String::new());
        }
        // Discovery and the quiet connections come before the ramp.
        let before = 12;
        if count.fetch_add(1, Ordering::SeqCst) < before + 10 {
            Greet::Open
        } else {
            Greet::Refuse(503, vec![("Retry-After".into(), "1".into())], String::new())
        }
    });
    let performance = measured(full, false).await.performance.unwrap();
    assert!(performance.ramp.stopped.contains("503"), "{}", performance.ramp.stopped);
    assert!(performance.ramp.steps.iter().all(|step| step.sockets <= 16), "{:?}", performance.ramp.steps);
    assert!(!performance.alive_after, "the target lets nobody in any more, and that is said");

    let limiting = Script::good().on_text({
        let count = Arc::new(AtomicU32::new(0));
        move |_, text| match count.fetch_add(1, Ordering::SeqCst) {
            0..=99 => answer(text),
            _ => vec![Out::Text(r#"{"error":"too many messages"}"#.to_owned())],
        }
    });
    let performance = measured(limiting, false).await.performance.unwrap();
    let small = &performance.throughput[0];
    assert!(small.stopped.starts_with("limited: ") && small.answered < 100, "{small:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_full_nothing_is_stressed() {
    let server = Script::good().start().await;
    let report = server.audit(&["csrf-01", "perf"], |_| ()).await;
    assert!(report.performance.is_none());
    let measured = &report.measured;
    let times = measured.handshake.as_ref().unwrap();
    assert_eq!(times.count as usize, measured.handshakes.len());
    assert!(measured.handshakes_sent.iter().sum::<u64>() >= u64::from(times.count));
    let html = report::html(&report);
    assert!(html.contains("How long handshakes and answers took</h3>") && html.contains("<circle"));
}

/// What the action of `deploy/ci` runs.
fn ci(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/ci")).join(name)
}

#[test]
fn the_action_and_its_example_are_what_github_takes() {
    for (schema, file) in [("vendor.github-actions", "action.yml"), ("vendor.github-workflows", "example-workflow.yml")]
    {
        let output = Command::new("python3")
            .args(["-m", "check_jsonschema", "--builtin-schema", schema])
            .arg(ci(file))
            .env("PYTHONPATH", suite("python"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}: {said}");
    }
}

#[test]
fn the_action_runs_the_audit_and_hands_on_its_verdict() {
    let world = testkit::world::World::dev(&[]);
    let scratch = testkit::world::Scratch::new();
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let run = |fail_on: &str, more: &str| {
        let outputs = scratch.path().join("outputs");
        let status = Command::new("bash")
            .arg(ci("audit.sh"))
            .current_dir(scratch.path())
            .env("WSGUARD", testkit::world::binary())
            .env("INPUT_URL", &url)
            .env("WSGUARD_AUDIT_TOKEN", testkit::world::TOKEN)
            .env("INPUT_ORIGIN", "")
            .env("INPUT_FAIL_ON", fail_on)
            .env("INPUT_ARGUMENTS", more)
            .env("INPUT_OUT", "reports")
            .env("GITHUB_OUTPUT", &outputs)
            .env("GITHUB_STEP_SUMMARY", scratch.path().join("summary.md"))
            .status()
            .unwrap();
        (status.code(), fs::read_to_string(outputs).unwrap_or_default())
    };
    // Under --dev the development token is a critical finding.
    let (code, outputs) = run("critical", "--only\nAUTH-13");
    assert_eq!(code, Some(1));
    assert!(outputs.contains("sarif=reports/report.sarif") && outputs.contains("grade=F"), "{outputs}");
    assert_eq!(run("never", "--only\nAUTH-13").0, Some(0));
    let sarif = serde_json::from_slice(&fs::read(scratch.path().join("reports/report.sarif")).unwrap()).unwrap();
    assert_eq!(complaints(&sarif_schema(), &sarif), Vec::<String>::new());
    assert!(fs::read_to_string(scratch.path().join("summary.md")).unwrap().contains("# WebSocket audit of"));
    let (code, outputs) = run("high", "--only\nno such check");
    assert_eq!((code, outputs.lines().count()), (Some(2), 4), "what was not made is not handed on: {outputs}");
}
