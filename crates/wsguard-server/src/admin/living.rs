//! `/api/revocations` and `/api/sessions`: who is there, and who shall not be.
//!
//! Attacks: a page that makes the visitor's browser post to an admin interface on its own machine (CWE-352), an operator
//! whose change nobody can trace (CWE-778). So every change needs the key, also on loopback, and leaves an entry in the
//! log whose `ref` is in the answer.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use wsguard::core::control::revocation::Target;
use wsguard::core::control::session::SessionId;
use wsguard::core::time::UnixMs;
use wsguard::{RevocationInfo, RevokeError};

use super::{Admin, error};
use crate::app::unix_ms;
use crate::journal::{Entry, Outcome};
use crate::rfc3339::time_from_rfc3339;

/// Entries of a page without `limit`, and with the largest.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Longest body of a change in bytes.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

impl Page {
    fn read<T: std::str::FromStr>(page: Result<Query<Self>, QueryRejection>) -> Option<(Option<T>, usize)> {
        page.ok()?.0.parse()
    }

    /// The place after which the page begins, and its size; `None` where they make no sense.
    pub(super) fn parse<T: std::str::FromStr>(self) -> Option<(Option<T>, usize)> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        let after = self.after.map(|after| after.parse::<T>()).transpose().ok()?;
        (1..=PAGE_MAX).contains(&limit).then_some((after, limit))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Asked {
    jti: Option<String>,
    session: Option<String>,
    subject: Option<String>,
    issued_before: Option<Moment>,
    reason: Option<String>,
}

/// Milliseconds since 1970, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Millis(u64),
    Text(String),
}

impl Asked {
    fn target(&self) -> Option<Target> {
        let before = match &self.issued_before {
            None => None,
            Some(Moment::Millis(ms)) => Some(UnixMs(*ms)),
            Some(Moment::Text(text)) => Some(time_from_rfc3339(text)?),
        };
        let named = |text: &str| (!text.is_empty()).then(|| text.into());
        match (self.jti.as_deref(), self.session.as_deref(), self.subject.as_deref(), before) {
            (Some(id), None, None, None) => named(id).map(Target::Token),
            (None, Some(id), None, None) => id.parse().ok().map(Target::Session),
            (None, None, Some(subject), None) => named(subject).map(Target::Subject),
            (None, None, Some(subject), Some(before)) => {
                named(subject).map(|subject| Target::IssuedBefore { subject, before })
            }
            _ => None,
        }
    }
}

/// `POST /api/revocations`
pub(super) async fn revoke(State(admin): State<Admin>, asked: Result<Json<Asked>, JsonRejection>) -> Response {
    if let Some(refused) = refuse_change(&admin) {
        return refused;
    }
    let Ok(Json(asked)) = asked else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let Some(target) = asked.target() else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let done = admin.guard.handle().revoke(target.clone(), asked.reason.as_deref()).await;
    let reason = asked.reason.as_deref().map(|reason| format!(", reason: {reason}")).unwrap_or_default();
    let said = match &done {
        Ok(done) => {
            format!("by admin: {} (id {}, {} sessions reached){reason}", words(&target), done.id, done.sessions)
        }
        Err(fault) => format!("by admin: {}: {fault}{reason}", words(&target)),
    };
    let reference = log(&admin, "revocation_added", done.is_ok(), &target, said);
    match done {
        Ok(done) => Json(json!({
            "id": done.id,
            "ref": reference,
            "sessions": done.sessions,
            "tokenRevoked": done.with_token || matches!(target, Target::Token(_)),
            "cutOff": done.cut_off.map(|cut_off| cut_off.0),
        }))
        .into_response(),
        Err(RevokeError::Full) => failed(StatusCode::INSUFFICIENT_STORAGE, "store_full", &reference),
        Err(RevokeError::NotKept(_)) => failed(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", &reference),
        Err(_) => failed(StatusCode::BAD_REQUEST, "invalid_message", &reference),
    }
}

/// `GET /api/revocations`
pub(super) async fn revocations(State(admin): State<Admin>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let Some((after, limit)) = Page::read::<u64>(page) else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let Ok(all) = admin.guard.handle().revocations().await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "internal");
    };
    let rest: Vec<&RevocationInfo> = all.iter().filter(|one| after.is_none_or(|after| one.id > after)).collect();
    let shown: Vec<Value> = rest.iter().take(limit).map(|one| shown(one)).collect();
    let next = if rest.len() > limit { rest.get(limit.saturating_sub(1)).map(|one| one.id) } else { None };
    let cut_off = admin.guard.context().revocations().cut_off();
    Json(json!({
        "revocations": shown,
        "next": next,
        "total": all.len(),
        "cutOff": (cut_off.0 > 0).then_some(cut_off.0),
    }))
    .into_response()
}

/// `DELETE /api/revocations/{id}`
pub(super) async fn lift(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    if let Some(refused) = refuse_change(&admin) {
        return refused;
    }
    let Ok(id) = id.parse::<u64>() else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let handle = admin.guard.handle();
    let known = handle.revocations().await.ok().and_then(|all| all.into_iter().find(|one| one.id == id));
    let Some(known) = known else {
        return error(StatusCode::NOT_FOUND, "not_found");
    };
    let lifted = handle.lift(id).await;
    let said = format!("by admin: {} (id {id})", words(&known.target));
    let reference = log(&admin, "revocation_lifted", lifted.is_ok(), &known.target, said);
    match lifted {
        Ok(_) => Json(json!({"id": id, "ref": reference})).into_response(),
        Err(_) => failed(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", &reference),
    }
}

/// `GET /api/sessions`
pub(super) async fn sessions(State(admin): State<Admin>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let Some((after, limit)) = Page::read::<SessionId>(page) else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    let now = unix_ms();
    let mut open = admin.guard.handle().sessions(after, limit.saturating_add(1));
    let more = open.len() > limit;
    open.truncate(limit);
    let next = if more { open.last().map(|last| last.session.to_string()) } else { None };
    let sessions: Vec<Value> = open
        .iter()
        .map(|one| {
            json!({
                "session": one.session.to_string(),
                "subject": one.subject,
                "prefix": prefix(one.client),
                "openedAt": one.opened_at.0,
                "ageMs": now.saturating_sub(one.opened_at.0),
                "authExpiresAt": one.auth_expires_at.0,
                "jti": one.token_id,
            })
        })
        .collect();
    Json(json!({"sessions": sessions, "next": next})).into_response()
}

/// `DELETE /api/sessions/{id}`
pub(super) async fn disconnect(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    if let Some(refused) = refuse_change(&admin) {
        return refused;
    }
    let Ok(session) = id.parse::<SessionId>() else {
        return error(StatusCode::BAD_REQUEST, "invalid_message");
    };
    if !admin.guard.handle().disconnect(session) {
        return error(StatusCode::NOT_FOUND, "not_found");
    }
    let said = "by admin: the session alone; its token is still good".to_owned();
    let reference = log(&admin, "session_disconnected", true, &Target::Session(session), said);
    Json(json!({"session": session.to_string(), "ref": reference})).into_response()
}

/// Changes need the key, also where reading does not.
pub(super) fn refuse_change(admin: &Admin) -> Option<Response> {
    admin.key.is_none().then(|| error(StatusCode::FORBIDDEN, "admin_key_not_set"))
}

pub(super) fn failed(status: StatusCode, code: &'static str, reference: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "ref": reference}}))).into_response()
}

fn log(admin: &Admin, action: &'static str, is_done: bool, target: &Target, detail: String) -> String {
    let reference = admin.guard.context().reference().to_string();
    let outcome = if is_done { Outcome::Success } else { Outcome::Failure };
    let mut entry = Entry::new(unix_ms(), action, outcome);
    entry.reference = Some(reference.clone());
    entry.detail = Some(detail);
    match target {
        Target::Token(_) => {}
        Target::Session(id) => entry.session = Some(id.to_string()),
        Target::Subject(subject) | Target::IssuedBefore { subject, .. } => entry.subject = Some(subject.to_string()),
    }
    admin.journal.record(entry);
    reference
}

fn words(target: &Target) -> String {
    match target {
        Target::Token(id) => format!("token with jti {id}"),
        Target::Session(_) => "session and its token".to_owned(),
        Target::Subject(_) => "subject".to_owned(),
        Target::IssuedBefore { before, .. } => format!("tokens of the subject issued before {}", before.0),
    }
}

fn shown(one: &RevocationInfo) -> Value {
    let mut shown = json!({"id": one.id, "at": one.at.0, "endsAt": one.ends_at.map(|end| end.0), "reason": one.reason});
    let (name, value, before) = match &one.target {
        Target::Token(id) => ("jti", id.to_string(), None),
        Target::Session(id) => ("session", id.to_string(), None),
        Target::Subject(subject) => ("subject", subject.to_string(), None),
        Target::IssuedBefore { subject, before } => ("subject", subject.to_string(), Some(before.0)),
    };
    if let Value::Object(members) = &mut shown {
        members.insert(name.to_owned(), json!(value));
        if let Some(before) = before {
            members.insert("issuedBefore".to_owned(), json!(before));
        }
    }
    shown
}

/// The narrow prefix under which limits count an address.
pub(super) fn prefix(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_thing_is_revoked() {
        let id = "000102030405060708090a0b0c0d0e0f";
        for (body, want) in [
            (r#"{"jti":"j"}"#.to_owned(), true),
            (format!(r#"{{"session":"{id}"}}"#), true),
            (r#"{"subject":"ann","reason":"left"}"#.to_owned(), true),
            (r#"{"subject":"ann","issuedBefore":5}"#.to_owned(), true),
            (r#"{"subject":"ann","issuedBefore":"2026-11-25T03:10:52Z"}"#.to_owned(), true),
            (r#"{"subject":"ann","issuedBefore":"yesterday"}"#.to_owned(), false),
            (r#"{"subject":""}"#.to_owned(), false),
            (r#"{"session":"ann"}"#.to_owned(), false),
            (r#"{"subject":"ann","jti":"j"}"#.to_owned(), false),
            (r#"{"jti":"j","issuedBefore":5}"#.to_owned(), false),
            (r#"{"issuedBefore":5}"#.to_owned(), false),
            (r#"{"reason":"all of them"}"#.to_owned(), false),
            (r#"{"subject":"ann","subjects":["bob"]}"#.to_owned(), false),
            ("{}".to_owned(), false),
        ] {
            let target = serde_json::from_str::<Asked>(&body).ok().and_then(|asked| asked.target());
            assert_eq!(target.is_some(), want, "{body}");
        }
    }

    #[test]
    fn addresses_are_shown_as_limits_count_them() {
        for (address, want) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(prefix(address.parse().unwrap()), want);
        }
    }
}
