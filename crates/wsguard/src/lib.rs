//! A security layer for WebSockets: every handshake and every message passes the guard.
//!
//! The moment a WebSocket answers 101, almost everything that protects HTTP stops looking. This crate looks at every
//! handshake (rate, Host, Origin, credential, session cap) and at every message (liveness, rate, strict JSON, CSRF,
//! authorization, schema, markup), and hands the application what was checked, re-serialised.
//!
//! An axum application is guarded in five lines: a guard in the state, the extractor in the handler.
//!
//! ```
//! use axum::{Router, extract::FromRef, response::Response, routing::get};
//! use serde::{Deserialize, Serialize};
//! use wsguard::{Guard, GuardedSocket, GuardedUpgrade};
//!
//! #[derive(Deserialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum FromClient { Greet { name: String } }
//!
//! #[derive(Serialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum ToClient { Greeting { text: String } }
//!
//! async fn socket(upgrade: GuardedUpgrade) -> Response {
//!     upgrade.on_upgrade(|mut socket: GuardedSocket<FromClient, ToClient>| async move {
//!         while let Some(incoming) = socket.recv().await {
//!             let FromClient::Greet { name } = &incoming.message;
//!             if socket.send(&ToClient::Greeting { text: format!("hello {name}") }).is_ok() {
//!                 incoming.ack();
//!             }
//!         }
//!     })
//! }
//!
//! let guard = Guard::builder()
//!     .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
//!     .hosts(["localhost"])
//!     .origins(["http://localhost:3000"])
//!     .message("greet", r#"{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}"#)
//!     .build()?;
//! let app: Router = Router::new().route("/ws", get(socket)).with_state(guard);
//! // axum::serve(listener, app.into_make_service_with_connect_info::<std::net::SocketAddr>())
//! # let _ = app;
//! # Ok::<(), wsguard::BuildError>(())
//! ```

#[cfg(feature = "axum")]
mod axum;
mod bans;
mod clock;
mod connections;
mod detached;
pub mod driver;
mod flight;
mod guard;
mod handler;
pub mod layer;
mod ledger;
mod mailbox;
mod registry;
mod revoke;
mod session;
#[cfg(wsguard_simulation)]
pub mod simulation;
mod socket;
mod stats;
pub mod store;
pub mod unread;
pub mod upgrade;
mod waiting;

#[cfg(feature = "axum")]
pub use crate::axum::{GuardedUpgrade, HandshakeRejection};
pub use connections::{ConnectionInfo, ConnectionPage, ConnectionState, Inquiry};
pub use flight::FirstFlight;
pub use guard::{BuildError, Builder, Guard, GuardHandle, Journal, NotChosen, TicketError, Tokens};
pub use handler::{Handled, Handler, Peer};
pub use ledger::{Change, Ledger, LedgerError, MemoryLedger, Row, Shelf};
pub use mailbox::{Closed, Command, Outbox, QueueLimits, Summons, Watched};
pub use registry::SessionInfo;
pub use revoke::{REASON_CHARS_MAX, RevocationDone, RevocationInfo, RevokeError};
pub use socket::{GuardedSocket, Incoming, LateRefusal, SendError};
pub use stats::{HANDSHAKE_STATUS, ROUND_TRIP_MS, Stats};
pub use wsguard_core as core;
pub use wsguard_core::control::delivery::{Encoded, Opening, ResumeRequest};
pub use wsguard_protocol as protocol;

/// The driver's two clocks: what the core is to be asked with.
pub fn now() -> core::time::Now {
    clock::now()
}

/// The driver's monotonic clock in milliseconds: what limits are kept in.
pub fn monotonic_ms() -> u64 {
    clock::tick().0
}
