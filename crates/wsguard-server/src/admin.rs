//! The admin listener: health, readiness, metrics, statistics.
//!
//! Attacks: a page that reads the statistics of a server on the visitor's own machine by rebinding a name (CWE-350); labels
//! that a peer can choose and so fill the memory of whoever scrapes (CWE-770). The Host must be this listener's own, and
//! no label holds a subject, a room or an address.

mod bans;
mod connections;
mod events;
mod living;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wsguard::Guard;

use crate::config::AdminKey;
use crate::journal::Journal;
use crate::jwks::JwksStats;
use crate::pending::Pending;

/// Time for the TLS handshake, and for the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// What the admin routes need.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) guard: Guard,
    pub(crate) journal: Arc<Journal>,
    pub(crate) key: Option<AdminKey>,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    /// Of `auth.jwks`, where it is set.
    pub(crate) jwks: Option<Arc<JwksStats>>,
    /// Connections before their upgrade.
    pub(crate) pending: Arc<Pending>,
}

/// The routes.
pub(crate) fn routes(admin: Admin) -> Router {
    let api = Router::new()
        .route("/api/stats", get(stats))
        .route("/api/bans", get(bans::bans).post(bans::ban))
        .route("/api/bans/{key}", delete(bans::lift))
        .route("/api/connections", get(connections::connections))
        .route("/api/events", get(events::events))
        .route("/api/openapi.json", get(openapi))
        .route("/api/revocations", get(living::revocations).post(living::revoke))
        .route("/api/revocations/{id}", delete(living::lift))
        .route("/api/sessions", get(living::sessions))
        .route("/api/sessions/{id}", delete(living::disconnect))
        .layer(DefaultBodyLimit::max(living::BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(admin.clone(), bearer));
    Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .merge(api)
        .layer(middleware::from_fn_with_state(admin.clone(), own_host))
        .with_state(admin)
}

/// Serves the routes, over TLS where `tls` is given.
pub(crate) async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, routes: Router) {
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (tls, routes) = (tls.clone(), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).keep_alive(false);
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), routes).await),
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
                        drop(http.serve_connection(TokioIo::new(stream), routes).await);
                    }
                }
            }
        });
    }
}

fn error(status: StatusCode, code: &'static str) -> Response {
    (status, Json(json!({"error": {"code": code}}))).into_response()
}

/// The Host must be this listener's address, or `localhost` with its port.
async fn own_host(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let port = admin.address.port();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = host.is_some_and(|host| host == admin.address.to_string() || host == format!("localhost:{port}"));
    if own { next.run(request).await } else { error(StatusCode::FORBIDDEN, "forbidden") }
}

/// `/api` asks for the key where one is set.
async fn bearer(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(key) = &admin.key else {
        return next.run(request).await;
    };
    let offered =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match offered {
        Some(offered) if key.matches(offered) => next.run(request).await,
        _ => error(StatusCode::UNAUTHORIZED, "unauthenticated"),
    }
}

/// The description of this listener. `testkit/tests/openapi.rs` holds answers against it.
const OPENAPI: &str = include_str!("../assets/openapi.json");

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.guard.handle().is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "draining"}))).into_response()
    } else {
        Json(json!({"status": "ready"})).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match metrics::text(&admin) {
        Ok(text) => {
            let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, media)], text).into_response()
        }
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

async fn stats(State(admin): State<Admin>) -> Json<Value> {
    let handle = admin.guard.handle();
    let stats = handle.stats();
    let policy = admin.guard.policy();
    let messages: serde_json::Map<String, Value> = stats
        .messages()
        .filter_map(|(number, verdicts)| {
            let counts = verdicts.iter().map(|(verdict, count)| ((*verdict).to_owned(), json!(count))).collect();
            Some((metrics::type_name(&policy, number)?.to_owned(), counts))
        })
        .collect();
    let refusals: serde_json::Map<String, Value> =
        stats.refusals().map(|(control, count)| (control.to_owned(), json!(count))).collect();
    let handshakes: serde_json::Map<String, Value> =
        stats.handshakes_refused().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let resumes: serde_json::Map<String, Value> =
        stats.resumes().map(|(outcome, count)| (outcome.to_owned(), json!(count))).collect();
    let ladder = admin.guard.context().penalties();
    let penalties: serde_json::Map<String, Value> =
        ladder.counts().into_iter().map(|(step, count, _)| (step.to_owned(), json!(count))).collect();
    let bans: serde_json::Map<String, Value> =
        ladder.in_force(wsguard::now().tick).into_iter().map(|(kind, count)| (kind.to_owned(), json!(count))).collect();
    let anomalies = admin.guard.context().anomalies();
    let alerts: serde_json::Map<String, Value> =
        anomalies.alerts().map(|(signal, count)| (signal.as_str().to_owned(), json!(count))).collect();
    Json(json!({
        "uptimeMs": u64::try_from(admin.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "draining": handle.is_draining(),
        "connections": {"open": stats.connections_open(), "total": stats.connections_total()},
        "sessions": {"total": stats.sessions_total(), "detached": handle.detached()},
        "delivery": {
            "duplicates": stats.duplicates(),
            "replayed": stats.replayed(),
            "replayBytes": handle.replay_bytes(),
            "resumes": resumes,
        },
        "handshakes": {"admitted": stats.handshakes_admitted(), "refused": handshakes},
        "messages": messages,
        "refusals": refusals,
        "bytesIn": stats.bytes_in(),
        "queueDrops": stats.queue_drops(),
        "panics": stats.panics(),
        "shadowed": stats.shadowed(),
        "bidiControls": stats.bidi_controls(),
        "shadow": crate::shadow::by_control(&admin.guard),
        "penalties": penalties,
        "anomalies": {"alerts": alerts, "charged": anomalies.charged()},
        "bans": bans,
        "log": {"dropped": admin.journal.dropped(), "writeFailures": admin.journal.write_failures()},
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// A route that is added and not described would be held against nothing.
    #[test]
    fn every_route_is_described() {
        let source = include_str!("admin.rs");
        let routes: BTreeSet<&str> =
            source.split(concat!(".rou", "te(\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let description: serde_json::Value = serde_json::from_str(super::OPENAPI).unwrap();
        let described: BTreeSet<&str> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(routes, described);
    }
}
