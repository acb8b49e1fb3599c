//! The side doors.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::discover::dialect::Dialect;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::request::Request;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-12",
    title: "Other transports ask as well",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[288], asvs: &["4.4.3"], url: "https://socket.io/docs/v4/how-it-works/" },
    what: "Where the language has other transports (HTTP long-polling of Socket.IO, `xhr` of SockJS), opens a session \
           there without a credential, as the WebSocket refuses to.",
    why: "What is asked for in the upgrade is forgotten where there is no upgrade.",
    remedy: "Authenticate sessions rather than transports; switch off the transports that nobody uses.",
    traps: "A transport that is absent (404, 400) is none. An open session that the language then refuses to connect \
            (`44`) is a refusal.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    match probe.way().dialect {
        Dialect::SocketIo(version) => polling(probe, version).await,
        Dialect::SockJs => xhr(probe).await,
        other => Outcome::skipped(format!("{} has no other transport", other.name())),
    }
}

async fn polling(probe: &Probe, version: u8) -> Outcome {
    let path = probe.way().path.replace("{token}", "").replace("transport=websocket", "transport=polling");
    let opened = match probe.fetch(&ask(probe, "GET", &path)).await {
        Ok(response) if response.is_limit() => {
            return Outcome::unknown(format!("the target limits the audit: {response}"));
        }
        Ok(response) => response,
        Err(why) => return Outcome::unknown(why.to_string()),
    };
    let text = opened.text();
    let Some(sid) = text.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return Outcome::pass(format!("long-polling without a credential: {opened}"));
    };
    let path = format!("{path}&sid={sid}");
    let body = if version >= 4 { "40" } else { "2:40" };
    let mut connect = ask(probe, "POST", &path).header("Content-Type", "text/plain;charset=UTF-8");
    connect = connect.header("Content-Length", &body.len().to_string());
    connect.tail = body.as_bytes().to_vec();
    if let Err(why) = probe.fetch(&connect).await {
        return Outcome::unknown(format!("long-polling: {why}"));
    }
    match probe.fetch(&ask(probe, "GET", &path)).await {
        Ok(response) => {
            let text = response.text();
            let seen = format!("long-polling without a credential: {response} {}", crate::probe::shortened(&text));
            if text.contains("40{\"sid\"") || (version < 4 && text.contains("40") && !text.contains("44")) {
                Outcome::fail(seen)
            } else if text.contains("44") || !(200..300).contains(&response.status) {
                Outcome::pass(seen)
            } else {
                Outcome::unknown(seen)
            }
        }
        Err(why) => Outcome::unknown(format!("long-polling: {why}")),
    }
}

async fn xhr(probe: &Probe) -> Outcome {
    let path = probe.way().path.replace("{token}", "");
    let base = path.split('?').next().unwrap_or_default().trim_end_matches("/websocket");
    // Behind `/SERVER/SESSION/websocket` the session's own name must be another one.
    let parts: Vec<&str> = base.rsplitn(3, '/').collect();
    let base = match parts.as_slice() {
        [_, server, rest] if server.len() == 3 => (*rest).to_owned(),
        _ => base.to_owned(),
    };
    let session = crate::probe::marker();
    let request = ask(probe, "POST", &format!("{base}/000/{session}/xhr")).header("Content-Length", "0");
    match probe.fetch(&request).await {
        Ok(response) if response.is_limit() => Outcome::unknown(format!("the target limits the audit: {response}")),
        Ok(response) => {
            let seen = format!("xhr without a credential: {response} {:?}", crate::probe::shortened(&response.text()));
            if response.status == 200 && response.text().contains("o\n") {
                // As far as the WebSocket goes before it refuses, if it refuses by a message.
                if probe.way().placement.is_in_handshake() { Outcome::fail(seen) } else { Outcome::unknown(seen) }
            } else {
                Outcome::pass(seen)
            }
        }
        Err(why) => Outcome::unknown(why.to_string()),
    }
}

fn ask(probe: &Probe, method: &str, path: &str) -> Request {
    let request =
        Request::new(method, path, &probe.target().authority()).header("Connection", "close").header("Accept", "*/*");
    match &probe.way().origin {
        Some(origin) => request.header("Origin", origin),
        None => request,
    }
}
