//! Tickets of the target: short secrets for one handshake each.

use serde_json::Value;

use crate::discover::{Placement, Way};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

/// Names that a ticket has in the answer that brings it.
const NAMES: [&str; 6] = ["ticket", "token", "wsTicket", "ws_ticket", "key", "nonce"];

/// Asks `--ticket-url` for one.
pub(super) async fn ticket(probe: &Probe) -> Result<String, Outcome> {
    let url = probe.options().ticket_url.clone().unwrap_or_default();
    let (name, value) = probe.credential_header(probe.options().token.as_deref().unwrap_or_default());
    let response = probe
        .fetch_url("POST", &url, Some((name, &value)), None)
        .await
        .map_err(|why| Outcome::unknown(format!("a ticket: {why}")))?;
    let found = (200..300).contains(&response.status).then(|| find(&response.text())).flatten();
    found.ok_or_else(|| Outcome::unknown(format!("no ticket in the answer: {response}")).settled_by("--ticket-url"))
}

fn find(body: &str) -> Option<String> {
    let is_one = |text: &str| (6..=2_048).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match serde_json::from_str::<Value>(body) {
        Ok(value) => {
            let inner = value.get("data").or_else(|| value.get("payload")).unwrap_or(&value);
            NAMES.iter().find_map(|name| inner.get(name)?.as_str()).filter(|text| is_one(text)).map(str::to_owned)
        }
        Err(_) => Some(body.trim()).filter(|text| is_one(text)).map(str::to_owned),
    }
}

/// A handshake with the ticket in this parameter of the query, and without the credential.
pub(super) async fn enter(probe: &Probe, parameter: &str, ticket: &str) -> Entry {
    // What is said behind the handshake must not be a login with the ticket.
    let way = Way { placement: Placement::None, ..probe.way().clone() };
    let request = probe.request_as(None).query(parameter, ticket);
    probe.enter_by(&way, &request, Some(ticket)).await
}

/// Parameters of the query in which tickets are taken.
pub(super) const PARAMETERS: [&str; 3] = ["ticket", "token", "access_token"];

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn tickets_are_found() {
        for (body, want) in [
            (r#"{"ticket":"abcdef123","expiresInMs":1}"#, Some("abcdef123")),
            (r#"{"data":{"wsTicket":"abcdef123"}}"#, Some("abcdef123")),
            ("abcdef123\n", Some("abcdef123")),
            (r#"{"error":"no"}"#, None),
            ("<html> a page", None),
            ("", None),
        ] {
            assert_eq!(find(body).as_deref(), want, "{body}");
        }
    }
}
