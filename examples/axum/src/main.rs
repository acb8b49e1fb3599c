//! A guarded WebSocket in an axum application. The lines below the five numbers are what wsguard asks for.

use std::net::SocketAddr;

use axum::{Router, response::Response, routing::get};
use serde_json::Value;
use tokio::net::TcpListener;
use wsguard::{Guard, GuardedSocket, GuardedUpgrade};

// 1. The extractor: a handshake that is refused ends here.
async fn socket(upgrade: GuardedUpgrade) -> Response {
    // 2. The socket: who comes here is authenticated.
    upgrade.on_upgrade(|mut socket: GuardedSocket<Value, Value>| async move {
        // 3. The message: what comes here was checked, and is answered or refused.
        while let Some(incoming) = socket.recv().await {
            if socket.send(&incoming.message).is_ok() {
                incoming.ack();
            }
        }
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 4. The guard: keys, names, pages and messages that are allowed; everything else is not.
    let guard = Guard::builder()
        .key("issuer.key.pub", &std::fs::read("issuer.key.pub")?)
        .hosts(["localhost"])
        .origins(["http://localhost:8080"])
        .message("echo", r#"{"type": "object"}"#)
        .build()?;
    let app = Router::new().route("/ws", get(socket)).with_state(guard);
    let listener = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080")).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    // 5. The peer's address: without it nothing passes.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
