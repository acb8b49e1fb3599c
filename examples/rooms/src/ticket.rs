//! `POST /ws/ticket`: exchanges a token for a ticket, which stands for it in the address of one handshake, within 30 s.
//! `wsguard serve` has this route; an application adds it where its pages use tickets.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use wsguard::core::control::credential::bearer_of;
use wsguard::core::handshake::{HandshakeRefusal, Header, gate};
use wsguard::core::verdict::{ControlId, Refusal};
use wsguard::protocol::ErrorCode;
use wsguard::upgrade::{Asked, refuse};
use wsguard::{Guard, TicketError};

/// A ticket for the bearer of a token, bound to the page that asks.
pub(crate) async fn issue(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let (client, now, policy) = (peer.ip(), wsguard::now(), guard.policy());
    let answer = |refused: &HandshakeRefusal| {
        refuse(&guard, Asked::of(client, &head.uri, &head.headers), refused).map(Body::new)
    };
    // Rate, Host, Origin and bans come before any signature is checked, as in a handshake.
    let (host, origin) = (header(&head.headers, &HOST), header(&head.headers, &ORIGIN));
    if let Err(refused) = gate(guard.context(), &policy, now, client, host, origin) {
        return answer(&refused);
    }
    let unauthenticated = |reason| {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason);
        guard.context().charge_prefix(&policy, now, client, &refusal);
        answer(&HandshakeRefusal { status: 401, refusal })
    };
    let Header::One(value) = header(&head.headers, &AUTHORIZATION) else {
        return unauthenticated("credential_missing");
    };
    let Some(token) = bearer_of(value) else { return unauthenticated("authorization_malformed") };
    let page = if let Header::One(origin) = origin { Some(origin) } else { None };
    match guard.issue_ticket(token, page, None).await {
        Ok(ticket) => {
            ([(CACHE_CONTROL, "no-store")], Json(json!({"ticket": ticket, "expiresInMs": 30_000}))).into_response()
        }
        Err(TicketError::Token(reason)) => unauthenticated(reason),
        Err(TicketError::Store(_)) => {
            let refusal = Refusal::new(ControlId::Credential, ErrorCode::Internal, "ticket_store_full");
            answer(&HandshakeRefusal { status: 503, refusal })
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Header<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Header::Absent,
        (Some(value), None) => value.to_str().map_or(Header::Invalid, Header::One),
        _ => Header::Invalid,
    }
}
