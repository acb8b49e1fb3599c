//! Clients that others wrote talk to the server by all four ways that need no cookie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use testkit::world::{TOKEN, World};

const METHODS: [&str; 4] = ["header", "subprotocol", "ticket", "first-message"];

#[test]
fn strangers_are_welcomed_acknowledged_and_heard() {
    let peers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"));
    let installed = Command::new("sh").arg(peers.join("install.sh")).status().unwrap();
    assert!(installed.success(), "testkit/peers/install.sh failed");
    let world = World::dev(&[]);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let origin = world.origin();
    // The two interpreters take their time to start: side by side.
    thread::scope(|scope| {
        for (program, script) in [("node", "connect.mjs"), ("python3", "connect.py")] {
            let (url, origin) = (&url, &origin);
            scope.spawn(move || {
                for method in METHODS {
                    for extra in [&[][..], &["--origin", origin]] {
                        let Output { status, stdout, stderr } = Command::new(program)
                            .arg(peers.join(script))
                            .args(["--url", url, "--token", TOKEN, "--method", method])
                            .args(extra)
                            .output()
                            .unwrap();
                        let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
                        assert_eq!(status.code(), Some(0), "{script} {method} {extra:?}: {said}");
                    }
                }
                let refused = Command::new(program)
                    .arg(peers.join(script))
                    .args(["--url", url, "--token", "bad", "--method", "header"])
                    .output()
                    .unwrap();
                assert_eq!(refused.status.code(), Some(1), "{script}: a bad token is refused");
            });
        }
    });
}
