//! The admin listener against its own description: every operation is called, every answer fits its schema.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use testkit::peer::{Request, Response};
use testkit::world::{Scratch, World};

const KEY: &str = "an-admin-key-of-more-than-32-characters";

/// A server with a key, and its description.
struct Case {
    world: World,
    description: Value,
    /// Operations and statuses that were seen and fit.
    seen: BTreeSet<(String, u16)>,
    _directory: Scratch,
}

impl Case {
    fn new() -> Self {
        let directory = Scratch::new();
        let key = directory.path().join("admin.key");
        fs::write(&key, KEY).unwrap();
        let world = World::dev(&[("WSGUARD_ADMIN__KEY_FILE", key.to_str().unwrap())]);
        let description = ask(&world, "GET", "/api/openapi.json", None, true).json();
        Self { world, description, seen: BTreeSet::new(), _directory: directory }
    }

    /// Calls an operation of the description at `target`, which fits its `path`, and holds the answer against it.
    fn call(&mut self, method: &str, path: &str, target: &str, body: Option<&Value>, with_key: bool) -> Response {
        let response = ask(&self.world, method, target, body, with_key);
        let about = format!("{method} {target}: {} {}", response.status, response.body);
        let responses = &self.description["paths"][path][method.to_lowercase()]["responses"];
        let described = &responses[response.status.to_string()];
        assert!(described.is_object(), "not described: {about}");
        let content = described["content"].as_object().unwrap_or_else(|| panic!("no content: {about}"));
        let (media, content) = content.iter().next().unwrap();
        assert_eq!(response.header("Content-Type"), Some(media.as_str()), "{about}");
        if media == "application/json" {
            // The schemas of components are found through the whole description.
            let mut schema = content["schema"].clone();
            schema["components"] = self.description["components"].clone();
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            let answer = response.json();
            let wrong: Vec<_> =
                validator.iter_errors(&answer).map(|error| format!("{error} at {}", error.instance_path())).collect();
            assert!(wrong.is_empty(), "{about}:\n{}", wrong.join("\n"));
        }
        self.seen.insert((format!("{} {path}", method.to_lowercase()), response.status));
        response
    }
}

fn ask(world: &World, method: &str, target: &str, body: Option<&Value>, with_key: bool) -> Response {
    let mut request = Request::new(world.admin, method, target);
    if with_key {
        request = request.bearer(KEY);
    }
    if let Some(body) = body {
        request = request.header("Content-Type", "application/json").body(&body.to_string());
    }
    request.send()
}

#[test]
fn every_answer_of_the_admin_listener_fits_its_description() {
    let mut case = Case::new();
    let mut ann = case.world.join("ann");
    ann.say("chat", 1, &json!({"message": "hello"}));
    let _ = (ann.expect("chat"), ann.expect("ack"));
    ann.send(&json!({"type": "chat", "csrfToken": "wrong", "payload": {"message": "hi"}}));
    let reference = ann.expect("error")["ref"].as_str().unwrap().to_owned();
    let _ = case.world.logged(&reference);

    for path in ["/health", "/ready", "/metrics"] {
        let _ = case.call("GET", path, path, None, false);
    }
    for path in
        ["/api/stats", "/api/openapi.json", "/api/connections", "/api/events", "/api/sessions", "/api/revocations"]
    {
        let _ = case.call("GET", path, path, None, true);
        assert_eq!(case.call("GET", path, path, None, false).status, 401, "{path}");
    }
    for (path, target) in [
        ("/api/events", "/api/events?sujbect=ann"),
        ("/api/connections", "/api/connections?limit=1001"),
        ("/api/sessions", "/api/sessions?limit=0"),
        ("/api/revocations", "/api/revocations?after=x"),
    ] {
        assert_eq!(case.call("GET", path, target, None, true).status, 400, "{target}");
    }
    assert_eq!(case.call("GET", "/api/events", "/api/events?subject=ann&limit=5", None, true).status, 200);

    let connections = case.call("GET", "/api/connections", "/api/connections?subject=ann", None, true).json();
    assert_eq!(connections["connections"][0]["state"]["refusals"]["csrf"], 1, "{connections}");

    let sessions = case.call("GET", "/api/sessions", "/api/sessions", None, true).json();
    let session = sessions["sessions"][0]["session"].as_str().unwrap().to_owned();
    let one = format!("/api/sessions/{session}");
    assert_eq!(case.call("DELETE", "/api/sessions/{id}", &one, None, true).status, 200);
    assert_eq!(ann.expect_close(), 4403);
    for (target, status) in [(one.as_str(), 404), ("/api/sessions/x", 400)] {
        assert_eq!(case.call("DELETE", "/api/sessions/{id}", target, None, true).status, status, "{target}");
    }

    let path = "/api/revocations";
    let made = case.call("POST", path, path, Some(&json!({"subject": "ann", "reason": "left"})), true).json();
    assert_eq!(case.call("POST", path, path, Some(&json!({"everybody": true})), true).status, 400);
    assert_eq!(case.call("GET", path, path, None, true).json()["total"], 1);
    let one = format!("/api/revocations/{}", made["id"]);
    for (target, status) in [(one.as_str(), 200), (one.as_str(), 404), ("/api/revocations/x", 400)] {
        assert_eq!(case.call("DELETE", "/api/revocations/{id}", target, None, true).status, status, "{target}");
    }

    let path = "/api/bans";
    let key = "prefix:203.0.113.9/32";
    assert_eq!(case.call("POST", path, path, Some(&json!({"key": key, "forMs": 60_000})), true).status, 200);
    assert_eq!(case.call("POST", path, path, Some(&json!({"key": "everybody", "forMs": 1})), true).status, 400);
    let bans = case.call("GET", path, path, None, true).json();
    assert_eq!(bans["bans"][0]["key"], key, "{bans}");
    let one = "/api/bans/prefix:203.0.113.9%2F32";
    for (target, status) in [(one, 200), (one, 404), ("/api/bans/x", 400)] {
        assert_eq!(case.call("DELETE", "/api/bans/{key}", target, None, true).status, status, "{target}");
    }

    // Every operation was seen to work, and each was seen with its own kind of misuse where it has one.
    let paths = case.description["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let name = format!("{method} {path}");
            for status in operation["responses"].as_object().unwrap().keys() {
                let status: u16 = status.parse().unwrap();
                // A full or broken disk and a drain have tests of their own.
                if matches!(status, 200 | 400 | 404) {
                    assert!(case.seen.contains(&(name.clone(), status)), "{name} was not seen with {status}");
                }
            }
        }
    }
}
