//! The guarded WebSocket at `/ws`, as `wsguard.toml` describes it. Made by `wsguard setup`; yours to change.
//!
//! A message arrives here after the guard has checked it: known type, good schema in `{{schemas}}`, within the
//! limits, from somebody who is logged in and still may. `WSGUARD_DEV=1 cargo run` accepts the token `test_token` from
//! this machine; otherwise tokens are signed with `{{key}}` (`wsguard token`), and a proxy of
//! `proxy.trusted` ends TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, IntoMakeServiceWithConnectInfo};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use wsguard::GuardedSocket;
use wsguard_server::embed::Embedded;

/// Lines that may wait for one slow reader; then it misses some.
const WAITING_MAX: usize = 256;

/// What clients may send. Each type has a schema of its name; a new one needs both.
#[derive(Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum FromClient {
    Echo(serde_json::Value),
    Chat { message: String },
}

/// What this server sends.
#[derive(Clone, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "lowercase")]
enum ToClient {
    Echo(serde_json::Value),
    Chat { from: String, message: String, at: u128 },
}

#[derive(Clone)]
struct Chat {
    guard: Embedded,
    lines: broadcast::Sender<ToClient>,
}

/// `app` with the guarded endpoint at `/ws`. Ends the process where the configuration cannot be used: unguarded, nothing
/// is served.
pub async fn guarded(app: Router) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    let file = std::env::var_os("WSGUARD_CONFIG").map_or_else(|| PathBuf::from("wsguard.toml"), PathBuf::from);
    let dev = std::env::var_os("WSGUARD_DEV").is_some_and(|value| value == "1");
    let guard = match Embedded::load(&file, dev).await {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    };
    if dev {
        eprintln!("warning: WSGUARD_DEV=1: whoever is on this machine comes in with test_token");
    }
    for warning in guard.warnings() {
        eprintln!("warning: {warning}");
    }
    let chat = Chat { guard, lines: broadcast::Sender::new(WAITING_MAX) };
    app.merge(Router::new().route("/ws", get(socket)).with_state(chat))
        .into_make_service_with_connect_info::<SocketAddr>()
}

async fn socket(
    State(chat): State<Chat>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    match chat.guard.admit(&mut parts, peer.ip()).await {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| talk(socket, chat.lines)),
        Err(refused) => refused,
    }
}

/// One connection, from its login to its end.
async fn talk(mut socket: GuardedSocket<FromClient, ToClient>, room: broadcast::Sender<ToClient>) {
    let mut lines = room.subscribe();
    loop {
        let sent = tokio::select! {
            incoming = socket.recv() => {
                let Some(incoming) = incoming else { return };
                let sent = match &incoming.message {
                    FromClient::Echo(payload) => socket.send(&ToClient::Echo(payload.clone())),
                    FromClient::Chat { message } => {
                        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
                        let line = ToClient::Chat { from: socket.subject().to_owned(), message: message.clone(), at };
                        // Everybody gets it, the sender too.
                        let _ = room.send(line);
                        Ok(())
                    }
                };
                incoming.ack();
                sent
            }
            line = lines.recv() => match line {
                Ok(line) => socket.send(&line),
                Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
