//! `/api/bans`: who is kept out, and for how long.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use wsguard::core::control::penalty::{Ban, BanKey};
use wsguard::core::time::Millis;

use super::living::{failed, refuse_change};
use super::{Admin, error};
use crate::app::unix_ms;
use crate::journal::{Entry, Outcome};

/// Longest ban in milliseconds: 30 days. Whoever shall never come back is revoked.
const BAN_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// `GET /api/bans`
pub(super) async fn bans(State(admin): State<Admin>) -> Response {
    let now = unix_ms();
    let bans: Vec<Value> = admin.guard.handle().bans().iter().map(|ban| shown(ban, now)).collect();
    Json(json!({"bans": bans})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Asked {
    /// `subject:ann`, `session:HEX`, `prefix:203.0.113.9/32`.
    key: String,
    for_ms: u64,
}

/// `POST /api/bans`
pub(super) async fn ban(State(admin): State<Admin>, asked: Result<Json<Asked>, JsonRejection>) -> Response {
    if let Some(refused) = refuse_change(&admin) {
        return refused;
    }
    let asked = asked.ok().and_then(|Json(asked)| Some((asked.key.parse::<BanKey>().ok()?, asked.for_ms)));
    let Some((key, for_ms)) = asked.filter(|(_, for_ms)| (1..=BAN_MS_MAX).contains(for_ms)) else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    admin.guard.handle().ban(key.clone(), Millis(for_ms), "operator");
    changed(&admin, "ban_made", &key, format!("by admin: {key} for {}", Millis(for_ms))).await
}

/// `DELETE /api/bans/{key}`
pub(super) async fn lift(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    if let Some(refused) = refuse_change(&admin) {
        return refused;
    }
    let Ok(key) = key.parse::<BanKey>() else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    if !admin.guard.handle().lift_ban(&key) {
        return error(StatusCode::NOT_FOUND, "not_found");
    }
    changed(&admin, "ban_removed", &key, format!("by admin: {key}")).await
}

/// Keeps the change, logs it, and answers.
async fn changed(admin: &Admin, action: &'static str, key: &BanKey, said: String) -> Response {
    let kept = admin.guard.handle().write_bans().await;
    let said = kept.as_ref().map_or_else(|fault| format!("{said}; not kept: {fault}"), |()| said.clone());
    let reference = log(admin, action, key, said);
    match kept {
        Ok(()) => Json(json!({"key": key.to_string(), "ref": reference})).into_response(),
        Err(_) => failed(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", &reference),
    }
}

fn log(admin: &Admin, action: &'static str, key: &BanKey, detail: String) -> String {
    let reference = admin.guard.context().reference().to_string();
    let mut entry = Entry::new(unix_ms(), action, Outcome::Success);
    entry.reference = Some(reference.clone());
    entry.detail = Some(detail);
    match key {
        BanKey::Session(id) => entry.session = Some(id.to_string()),
        BanKey::Subject(subject) => entry.subject = Some(subject.to_string()),
        BanKey::Prefix(network) => entry.source = Some(*network),
    }
    admin.journal.record(entry);
    reference
}

fn shown(ban: &Ban, now: u64) -> Value {
    json!({
        "key": ban.key.to_string(),
        "begunAt": ban.begun.0,
        "endsAt": ban.until.0,
        "leftMs": ban.until.0.saturating_sub(now),
        "offences": ban.offences,
        "why": ban.why,
    })
}
