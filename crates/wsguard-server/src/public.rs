//! The public routes: the endpoint, tickets, the proof of the same origin, health.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, RETRY_AFTER, UPGRADE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use serde::Deserialize;
use serde_json::json;
use wsguard::core::control::{credential, host};
use wsguard::core::handshake::{self, HandshakeRefusal, Header};
use wsguard::core::verdict::{ControlId, Refusal};
use wsguard::protocol::{ENDPOINT_PATH, ErrorCode};
use wsguard::upgrade::{self, Asked, Opening};
use wsguard::{Guard, ResumeRequest, TicketError};

use crate::app::{App, Rooms};
use crate::dev::Dev;
use crate::http::{Reply, boxed, json as json_reply, read_json, single};
use crate::proxy::ProxyPolicy;
use crate::setup::refused;

/// Largest head of a request, in bytes: a token of 8 KiB fits. Larger ones get 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Header fields of a request. More get 431.
const HEADERS_MAX: usize = 64;

/// Time for the body of a request.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// The body of `POST /ws/ticket`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketBody {
    #[serde(rename = "resumeToken")]
    resume_token: Option<String>,
    #[serde(rename = "lastSeq")]
    last_seq: Option<u64>,
}

impl TicketBody {
    /// What the body says about resuming; `None` where it is malformed or does not come.
    async fn read(body: Incoming) -> Option<Option<ResumeRequest>> {
        if body.is_end_stream() {
            return Some(None);
        }
        let body: Self = tokio::time::timeout(BODY_TIME_MAX, read_json(body)).await.ok()??;
        Some(match (body.resume_token, body.last_seq) {
            (Some(token), last_seq) => Some(ResumeRequest::new(&token, last_seq.unwrap_or(0)).ok()?),
            (None, Some(_)) => Some(ResumeRequest::announce()),
            (None, None) => None,
        })
    }
}

/// What every request needs.
pub(crate) struct Public {
    pub(crate) guard: Guard,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) proxies: ProxyPolicy,
    pub(crate) dev: Option<Dev>,
}

impl Public {
    /// Answers one request from `peer`; the connection behind a 101 is put into `opening`.
    pub(crate) async fn answer(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
        opening: &Mutex<Option<Opening<App>>>,
    ) -> Reply {
        let headers = request.headers();
        let mut client = Asked::of(peer.ip(), request.uri(), headers);
        if is_head_too_large(&request) {
            return self.refuse(client, 431, Refusal::new(ControlId::Upgrade, ErrorCode::TooLarge, "head_too_large"));
        }
        client.client = match self.proxies.resolve(peer.ip(), headers) {
            Ok(resolved) => resolved.ip,
            Err(error) => {
                let HandshakeRefusal { status, refusal } = refused(error.status(), "forwarding_headers");
                return self.refuse(client, status, refusal);
            }
        };
        let path = request.uri().path();
        if path != ENDPOINT_PATH && request.headers().contains_key(UPGRADE) {
            return self.not_found(client, "upgrade_elsewhere");
        }
        let methods = self.guard.policy().methods;
        match (request.method(), path) {
            (_, ENDPOINT_PATH) => {
                let client = client.client;
                let (mut parts, _) = request.into_parts();
                match upgrade::handshake(&self.guard, &mut parts, client).await {
                    Ok(upgrade) => {
                        let (response, connection) = upgrade.answer(App::new(Arc::clone(&self.rooms)));
                        *opening.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
                        boxed(response)
                    }
                    Err(response) => boxed(response),
                }
            }
            (&Method::POST, "/ws/ticket") if methods.ticket => {
                let client = client.client;
                let (parts, body) = request.into_parts();
                // Boxed, here and below: handshakes do not carry along what only others need.
                Box::pin(self.ticket(Asked::of(client, &parts.uri, &parts.headers), &parts.headers, body)).await
            }
            (&Method::POST, "/ws/session") if methods.cookie => self.session_proof(client, request.headers()),
            (&Method::GET, "/health") => json_reply(StatusCode::OK, &json!({"status": "ok"})),
            (&Method::POST, "/ws/ticket" | "/ws/session") => self.not_found(client, "method_switched_off"),
            (_, "/ws/ticket" | "/ws/session" | "/health") => self.refuse(
                client,
                405,
                Refusal::new(ControlId::Upgrade, ErrorCode::InvalidMessage, "method_not_allowed"),
            ),
            _ => match &self.dev {
                // The development routes are for the machine's own pages: the Host says so, as for the endpoint.
                Some(dev) if host::inspect(&self.guard.policy().hosts, header(request.headers(), HOST)).is_ok() => {
                    let (client, path) = (client.client, path.to_owned());
                    let origin = request.headers().get(ORIGIN).cloned();
                    Box::pin(dev.answer(&self.guard, request)).await.unwrap_or_else(|| {
                        self.not_found(Asked { client, path: Some(&path), origin: origin.as_ref() }, "path_unknown")
                    })
                }
                _ => self.not_found(client, "path_unknown"),
            },
        }
    }

    /// `POST /ws/ticket`: a ticket for the bearer, or for the cookie of a listed origin. The body, where there is one, says
    /// what is to be resumed.
    async fn ticket(&self, client: Asked<'_>, headers: &HeaderMap, body: Incoming) -> Reply {
        let origin = match self.gate(client, headers) {
            Ok(origin) => origin,
            Err(refused) => return self.refuse(client, refused.status, refused.refusal),
        };
        let unauthenticated = |reason| self.unauthenticated(client, reason);
        let token = match single(headers, AUTHORIZATION) {
            Some(value) => match credential::bearer_of(value) {
                Some(token) => token.to_owned(),
                None => return unauthenticated("authorization_malformed"),
            },
            None if headers.contains_key(AUTHORIZATION) => return unauthenticated("authorization_malformed"),
            None if origin.is_some() => match self.cookie(headers) {
                Some(token) => token,
                None => return unauthenticated("credential_missing"),
            },
            None => return unauthenticated("credential_missing"),
        };
        let Some(resume) = TicketBody::read(body).await else {
            let refusal = Refusal::new(ControlId::Credential, ErrorCode::InvalidMessage, "ticket_body_malformed");
            return self.refuse(client, 400, refusal);
        };
        match self.guard.issue_ticket(&token, origin.as_deref(), resume).await {
            Ok(ticket) => {
                let mut reply = json_reply(StatusCode::OK, &json!({"ticket": ticket, "expiresInMs": 30_000}));
                reply.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
                reply
            }
            Err(TicketError::Token(reason)) => unauthenticated(reason),
            Err(TicketError::Store(_)) => {
                self.refuse(client, 503, Refusal::new(ControlId::Credential, ErrorCode::Internal, "ticket_store_full"))
            }
        }
    }

    /// `POST /ws/session`: the proof that the page which asks is of the same origin as the cookie's application.
    fn session_proof(&self, client: Asked<'_>, headers: &HeaderMap) -> Reply {
        let origin = match self.gate(client, headers) {
            Ok(origin) => origin,
            Err(refused) => return self.refuse(client, refused.status, refused.refusal),
        };
        let foreign = |reason| self.refuse(client, 403, Refusal::new(ControlId::Origin, ErrorCode::Forbidden, reason));
        if origin.is_none() {
            return foreign("origin_missing_with_cookie");
        }
        // A browser that says where the request comes from must say "from here" (W3C Fetch Metadata).
        match single(headers, HeaderName::from_static("sec-fetch-site")) {
            Some("same-origin") => {}
            None if !headers.contains_key("sec-fetch-site") => {}
            _ => return foreign("fetch_site_foreign"),
        }
        let proof = self.cookie(headers).and_then(|token| self.guard.session_proof(&token));
        match proof {
            None => self.unauthenticated(client, "cookie_missing_or_bad"),
            Some(proof) => {
                let mut reply = json_reply(StatusCode::OK, &json!({"csrfToken": proof}));
                reply.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
                reply
            }
        }
    }

    /// What [`handshake::gate`] says before any signature is checked; the listed origin that asks, where one does.
    fn gate(&self, client: Asked<'_>, headers: &HeaderMap) -> Result<Option<String>, HandshakeRefusal> {
        let (host, origin) = (header(headers, HOST), header(headers, ORIGIN));
        let policy = self.guard.policy();
        let gate = handshake::gate(self.guard.context(), &policy, wsguard::now(), client.client, host, origin)?;
        Ok(gate.origin.and_then(|place| policy.origins.get(place)).map(|origin| origin.as_str().to_owned()))
    }

    fn unauthenticated(&self, client: Asked<'_>, reason: &'static str) -> Reply {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason);
        self.guard.context().charge_prefix(&self.guard.policy(), wsguard::now(), client.client, &refusal);
        self.refuse(client, 401, refusal)
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<String> {
        let policy = self.guard.policy();
        credential::cookie(header(headers, COOKIE), &policy.cookie_name).ok().flatten().map(str::to_owned)
    }

    fn not_found(&self, client: Asked<'_>, reason: &'static str) -> Reply {
        self.refuse(client, 404, Refusal::new(ControlId::Upgrade, ErrorCode::InvalidMessage, reason))
    }

    fn refuse(&self, client: Asked<'_>, status: u16, refusal: Refusal) -> Reply {
        let mut reply = boxed(upgrade::refuse(&self.guard, client, &HandshakeRefusal { status, refusal }));
        if status == 503 && !reply.headers().contains_key(RETRY_AFTER) {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        reply
    }
}

fn is_head_too_large(request: &Request<Incoming>) -> bool {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    // Each line holds ": " and ends in CR LF.
    let lines =
        request.headers().iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()).saturating_add(4));
    request.headers().len() > HEADERS_MAX || lines.fold(target, usize::saturating_add) > HEAD_BYTES_MAX
}

fn header(headers: &HeaderMap, name: HeaderName) -> Header<'_> {
    match single(headers, name.clone()) {
        Some(value) => Header::One(value),
        None if headers.contains_key(name) => Header::Invalid,
        None => Header::Absent,
    }
}
