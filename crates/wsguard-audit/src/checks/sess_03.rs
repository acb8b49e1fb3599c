//! A logout that reaches the socket.

use super::farewell::farewell;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-03",
    title: "Logout closes open connections",
    category: Category::Session,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::Token, Need::LogoutUrl],
    turn: Turn::Ending,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[613], asvs: &["7.4.1"], url: "https://cwe.mitre.org/data/definitions/613.html" },
    what: "Opens a good connection with `--logout-token` (or, at the very end, with `--token`), requests `--logout-url` \
           with it, and goes on sending the good message for 60 s (with `--full` 15 min).",
    why: "Who logs out, or is thrown out, believes that it is over. A socket that nobody tells goes on for hours, also for \
          the thief who made the logout necessary.",
    remedy: "Keep a table of open connections by session, and close them with 4401 or 4403 when it ends.",
    traps: "The credential is ended for good: use one of a test account. A server that asks a cache may take minutes: \
            after 60 s the failure is `probable`, after 15 min confirmed. Without `--logout-token` less than 60 s are \
            left: then `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    farewell(probe).await.0
}
