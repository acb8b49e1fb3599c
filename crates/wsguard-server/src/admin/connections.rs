//! `/api/connections`: how the open connections stand.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wsguard::core::control::session::SessionId;
use wsguard::core::guard::Ladder;
use wsguard::{ConnectionInfo, ConnectionState};

use super::living::{Page, prefix};
use super::{Admin, error};
use crate::app::unix_ms;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    after: Option<String>,
    limit: Option<usize>,
    subject: Option<String>,
}

/// `GET /api/connections`
pub(super) async fn connections(State(admin): State<Admin>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Some((page, subject)) = asked.ok().and_then(|Query(asked)| {
        let page = Page { after: asked.after, limit: asked.limit };
        Some((page.parse::<SessionId>()?, asked.subject))
    }) else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let (after, limit) = page;
    let handle = admin.guard.handle();
    let page = handle.connections(after, limit, subject.as_deref()).await;
    let now = unix_ms();
    let connections: Vec<Value> = page.connections.iter().map(|one| shown(one, now)).collect();
    Json(json!({
        "connections": connections,
        "next": page.next.map(|next| next.to_string()),
        "open": handle.stats().connections_open(),
    }))
    .into_response()
}

fn shown(one: &ConnectionInfo, now: u64) -> Value {
    let session = &one.session;
    json!({
        "session": session.session.to_string(),
        "subject": session.subject,
        "prefix": prefix(session.client),
        "openedAt": session.opened_at.0,
        "ageMs": now.saturating_sub(session.opened_at.0),
        "state": one.state.as_ref().map(state),
    })
}

fn state(state: &ConnectionState) -> Value {
    let refusals: Map<String, Value> =
        state.refusals.iter().map(|(control, count)| (control.as_str().to_owned(), json!(count))).collect();
    let snapshot = &state.snapshot;
    json!({
        "rttMs": state.round_trip.map(|time| time.0),
        "messages": state.messages,
        "bytes": state.bytes,
        "refusals": refusals,
        "ladder": ladder(&snapshot.ladder),
        "anomaly": snapshot.anomaly,
        "authExpiresAt": snapshot.auth_expires_at.0,
        "framesSent": snapshot.seq,
        "framesKept": snapshot.kept_frames,
    })
}

fn ladder(ladder: &Ladder) -> Value {
    let [slow, drop, close] = ladder.begins_at;
    json!({
        "rung": ladder.rung,
        "weight": ladder.weight,
        "slowAt": slow,
        "dropAt": drop,
        "closeAt": close,
        "offences": ladder.offences,
    })
}
