//! A page without an origin.

use super::csrf_01::foreign;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-02",
    title: "Origin null refused",
    category: Category::Csrf,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[346], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6454#section-7.1" },
    what: "Repeats the good handshake with `Origin: null`.",
    why: "Every page can put itself into a sandboxed frame, whose Origin is `null`. A server that takes `null` for \
          \"no Origin\", or has it on its list, lets every page in.",
    remedy: "Treat `null` as any other foreign Origin: refuse it.",
    traps: "Sandboxed or native clients that the server means to serve send `null` too: with a credential that script \
            must add the outcome is `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    foreign(probe, "null").await
}
