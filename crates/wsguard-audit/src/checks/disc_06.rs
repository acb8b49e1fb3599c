//! Pages of strangers that may read, and schemas that tell themselves.

use super::csrf_01::FOREIGN;
use crate::check::{Category, Meta, Refs, Severity, Turn};
use crate::discover::dialect::{Dialect, Template};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::session::{Answer, Message};

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-06",
    title: "No CORS for everybody, no introspection",
    category: Category::Disclosure,
    severity: Severity::Medium,
    needs: &[],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[942], asvs: &["3.4.2"], url: "https://fetch.spec.whatwg.org/#http-cors-protocol" },
    what: "Fetches `/`, `/health` and the plain endpoints of the language (long-polling of Socket.IO, `info` of SockJS) with a \
           foreign Origin, and reads who may read the answer. Where GraphQL is spoken, asks for the schema.",
    why: "An answer that lets every Origin read it with credentials is one that any page reads as the visitor; behind \
          long-polling that is the whole conversation. A schema lists what there is to try.",
    remedy: "Send `Access-Control-Allow-Credentials` to origins of a list alone. Switch introspection off in production.",
    traps: "`*` is not sent with credentials by browsers, and harmless here. A schema that is public anyway: `warn` is all \
            there is.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut seen = Vec::new();
    let mut answered = false;
    for path in paths(probe) {
        let response = match probe.fetch(&probe.get(&path).header("Origin", FOREIGN)).await {
            Ok(response) if response.is_limit() => {
                return Err(Outcome::unknown(format!("the target limits the audit: {response}"))
                    .settled_by("another run, later"));
            }
            Ok(response) => response,
            Err(why) => {
                seen.push(format!("GET {path}: {why}"));
                continue;
            }
        };
        answered = true;
        let allowed = response.value("Access-Control-Allow-Origin").unwrap_or_default();
        let credentials = response.value("Access-Control-Allow-Credentials").unwrap_or_default();
        let line = format!(
            "GET {path} from {FOREIGN}: {response}, Access-Control-Allow-Origin: {allowed:?}, with credentials: {credentials:?}"
        );
        if allowed == FOREIGN && credentials == "true" {
            return Ok(Outcome::fail(line).and_all(seen));
        }
        seen.push(line);
    }
    if let Some(line) = introspection(probe).await? {
        return Ok(Outcome::warn(line).and_all(seen));
    }
    let first = seen.first().cloned().unwrap_or_default();
    Ok(if answered { Outcome::pass(first) } else { Outcome::unknown(first) }.and_all(seen.into_iter().skip(1)))
}

fn paths(probe: &Probe) -> Vec<String> {
    let own = probe.way().path.replace("{token}", "");
    let base = own.split('?').next().unwrap_or_default();
    let endpoint = match probe.way().dialect {
        Dialect::SocketIo(_) | Dialect::EngineIo(_) => Some(own.replace("transport=websocket", "transport=polling")),
        Dialect::SockJs => {
            let base = base.trim_end_matches("/websocket");
            // Behind `/BASE/SERVER/SESSION/websocket` the base is two names up.
            let parts: Vec<&str> = base.rsplitn(3, '/').collect();
            let base = match parts.as_slice() {
                [_, server, rest] if server.len() == 3 => rest,
                _ => base,
            };
            Some(format!("{base}/info"))
        }
        _ => None,
    };
    endpoint.into_iter().chain(["/".to_owned(), "/health".to_owned()]).collect()
}

/// How the schema was told, if it was.
async fn introspection(probe: &Probe) -> Result<Option<String>, Outcome> {
    let kind = match probe.way().dialect {
        Dialect::GraphqlTransportWs => "subscribe",
        Dialect::GraphqlWs => "start",
        _ => return Ok(None),
    };
    if probe.way().baseline.is_none() {
        return Err(Outcome::unknown("no good handshake to ask for the schema on").settled_by("--token"));
    }
    let mut session = probe.session().await?;
    let (id, marker) = (session.fresh_id(), crate::probe::marker());
    let text =
        format!(r#"{{"id":"{id}","type":"{kind}","payload":{{"query":"{{ __schema {{ queryType {{ name }} }} }}"}}}}"#);
    let template = Template::new(&text, r#""queryType"\s*:\s*\{"#);
    let message = Message { text: text.clone(), id, marker, template };
    Ok(match session.ask_with(&text, &message).await {
        Answer::Served(reply) => Some(format!("introspection: {}", crate::probe::shortened(&reply))),
        Answer::Limited(_) | Answer::Spent(_) => return Err(Outcome::unknown("the schema could not be asked for")),
        _ => None,
    })
}
