//! `/api/events`: the last security events, filtered.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use crate::journal::{self, Entry, RECENT_ENTRIES_MAX};

/// Events of an answer without `limit`.
const EVENTS_DEFAULT: usize = 100;

/// What is asked for; every part that is given must fit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    action: Option<String>,
    outcome: Option<String>,
    control: Option<String>,
    code: Option<String>,
    reason: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    subject: Option<String>,
    session: Option<String>,
    source: Option<String>,
    /// Milliseconds since 1970.
    since: Option<u64>,
    limit: Option<usize>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let source = entry.source.map(|source| source.to_string());
        [
            (&self.action, Some(entry.action)),
            (&self.outcome, Some(entry.outcome.as_str())),
            (&self.control, entry.control),
            (&self.code, entry.code),
            (&self.reason, entry.reason),
            (&self.reference, entry.reference.as_deref()),
            (&self.subject, entry.subject.as_deref()),
            (&self.session, entry.session.as_deref()),
            (&self.source, source.as_deref()),
        ]
        .into_iter()
        .all(|(wanted, value)| wanted.as_deref().is_none_or(|wanted| value == Some(wanted)))
            && self.since.is_none_or(|since| entry.unix_ms >= since)
    }
}

/// Newest first, as they stand in the log without the members of its chain.
pub(super) async fn events(State(admin): State<Admin>, filter: Result<Query<Filter>, QueryRejection>) -> Response {
    let Query(filter) = match filter {
        Ok(filter) => filter,
        Err(rejection) => {
            let error = json!({"error": {"code": "invalid_message", "message": rejection.body_text()}});
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
    };
    let limit = filter.limit.unwrap_or(EVENTS_DEFAULT).min(RECENT_ENTRIES_MAX);
    let mut body = String::from("{\"events\":[");
    for (index, entry) in admin.journal.recent(limit, |entry| filter.takes(entry)).iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        journal::json(entry, &mut body);
    }
    body.push_str("]}");
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Outcome;

    #[test]
    fn every_part_of_a_filter_must_fit() {
        let entry = Entry {
            control: Some("csrf"),
            reason: Some("csrf_wrong"),
            reference: Some("R".to_owned()),
            subject: Some("ann".to_owned()),
            source: "203.0.113.9".parse().ok(),
            ..Entry::new(1_000, "message_refused", Outcome::Failure)
        };
        for (query, want) in [
            ("", true),
            ("action=message_refused&control=csrf&outcome=failure", true),
            ("reason=csrf_wrong&ref=R&subject=ann&source=203.0.113.9", true),
            ("since=1000", true),
            ("since=1001", false),
            ("action=message", false),
            ("control=csrf&subject=bob", false),
            ("session=", false),
            ("code=csrf_invalid", false),
        ] {
            let uri = format!("/api/events?{query}").parse().unwrap();
            let Query(filter) = Query::<Filter>::try_from_uri(&uri).unwrap();
            assert_eq!(filter.takes(&entry), want, "{query}");
        }
        for wrong in ["nonsense=1", "limit=-1", "since=yesterday", "action=a&action=b"] {
            let uri = format!("/api/events?{wrong}").parse().unwrap();
            assert!(Query::<Filter>::try_from_uri(&uri).is_err(), "{wrong}");
        }
    }
}
