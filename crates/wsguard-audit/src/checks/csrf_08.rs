//! What the browser is told about the session cookie.

use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-08",
    title: "Session cookies flagged",
    category: Category::Csrf,
    severity: Severity::Medium,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs {
        cwe: &[1275, 614, 1004],
        asvs: &["3.3.1", "3.3.2", "3.3.3", "3.3.4"],
        url: "https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis",
    },
    what: "Reads `Set-Cookie` of the handshake and of the page at `/`, and judges those whose name looks like a session.",
    why: "Without `SameSite` a browser sends the cookie from foreign pages; without `Secure` also in clear text; without \
          `HttpOnly` any script reads it.",
    remedy: "`Set-Cookie: __Host-NAME=…; Secure; HttpOnly; SameSite=Strict; Path=/`.",
    traps: "Cookies of load balancers and of statistics are no sessions: only names that say session, sid, auth, token \
            or login count. On loopback and without TLS `Secure` and `__Host-` cannot be had and are not asked for.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut lines: Vec<String> = Vec::new();
    let mut reached = false;
    if let Ok(page) = probe.fetch(&probe.get("/")).await {
        reached = true;
        lines.extend(page.values("Set-Cookie").map(str::to_owned));
    }
    match probe.handshake(&probe.request().anew()).await {
        Handshake::Opened(socket) => {
            reached = true;
            lines.extend(socket.head.values("Set-Cookie").map(str::to_owned));
            socket.close().await;
        }
        Handshake::Refused(response) => {
            reached = true;
            lines.extend(response.values("Set-Cookie").map(str::to_owned));
        }
        _ => {}
    }
    let sessions: Vec<&String> = lines.iter().filter(|line| is_session(line)).collect();
    if sessions.is_empty() {
        return if reached {
            Outcome::skipped("neither the page at / nor the handshake sets a session cookie")
        } else {
            Outcome::unknown("neither the page at / nor the handshake was answered")
        };
    }
    let with_tls = probe.target().tls;
    let mut worst = Outcome::pass("every session cookie is flagged");
    for line in sessions {
        let name = line.split('=').next().unwrap_or_default();
        let (missing, weak) = judge(line, with_tls);
        if !missing.is_empty() {
            return Outcome::fail(format!("cookie {name} lacks {}", missing.join(", ")));
        }
        if !weak.is_empty() {
            worst = Outcome::warn(format!("cookie {name} lacks {}", weak.join(", ")));
        }
    }
    worst
}

pub(super) fn is_session(line: &str) -> bool {
    let name = line.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let is_other = ["csrf", "xsrf", "affinity", "lb", "_ga"].iter().any(|word| name.contains(word));
    !is_other && ["sess", "sid", "auth", "token", "login", "jwt"].iter().any(|word| name.contains(word))
}

/// What a cookie must have and has not, and what it should have.
fn judge(line: &str, with_tls: bool) -> (Vec<&'static str>, Vec<&'static str>) {
    let attributes: Vec<String> = line.split(';').skip(1).map(|part| part.trim().to_ascii_lowercase()).collect();
    let has = |name: &str| attributes.iter().any(|attribute| attribute == name);
    let mut missing = Vec::new();
    let mut weak = Vec::new();
    if !has("httponly") {
        missing.push("HttpOnly");
    }
    if with_tls && !has("secure") {
        missing.push("Secure");
    }
    match attributes.iter().find_map(|attribute| attribute.strip_prefix("samesite=")) {
        Some("strict" | "lax") => {}
        Some(_) => missing.push("SameSite other than None"),
        // Browsers differ in what they assume.
        None => weak.push("SameSite"),
    }
    if with_tls && !line.starts_with("__Host-") {
        weak.push("the prefix __Host-");
    }
    (missing, weak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_judged() {
        for (line, with_tls, missing, weak) in [
            ("__Host-sid=1; Secure; HttpOnly; SameSite=Strict; Path=/", true, 0, 0),
            ("sid=1; Secure; HttpOnly; SameSite=Lax", true, 0, 1),
            ("sid=1; HttpOnly; SameSite=Lax", false, 0, 0),
            ("sid=1", true, 2, 2),
            ("sid=1; Secure; HttpOnly; SameSite=None", true, 1, 1),
        ] {
            let (found_missing, found_weak) = judge(line, with_tls);
            assert_eq!((found_missing.len(), found_weak.len()), (missing, weak), "{line}");
        }
        for (line, want) in [
            ("connect.sid=1", true),
            ("AWSALB=1", false),
            ("csrftoken=1", false),
            ("PHPSESSID=1", true),
            ("lang=en", false),
        ] {
            assert_eq!(is_session(line), want, "{line}");
        }
    }
}
