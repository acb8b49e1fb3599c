//! The extractor for axum: a handshake that is refused never reaches the handler.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::guard::Guard;
use crate::handler::Handler;
use crate::socket::{GuardedSocket, to_socket};
use crate::upgrade::{SmallResponse, Upgrade, handshake};

/// An admitted WebSocket handshake, to be answered with [`GuardedUpgrade::on_upgrade`].
///
/// Needs a [`Guard`] in the application's state and the peer's address: serve with
/// `into_make_service_with_connect_info::<SocketAddr>()`. Without the address nothing passes.
#[derive(Debug)]
pub struct GuardedUpgrade(Upgrade);

/// For a handshake that was judged by [`handshake`], where the client's address is not that of the peer.
impl From<Upgrade> for GuardedUpgrade {
    fn from(upgrade: Upgrade) -> Self {
        Self(upgrade)
    }
}

/// A refused handshake: the response says code and reference.
#[derive(Debug)]
pub struct HandshakeRejection(SmallResponse);

impl IntoResponse for HandshakeRejection {
    fn into_response(self) -> Response {
        self.0.map(Body::new)
    }
}

impl<S> FromRequestParts<S> for GuardedUpgrade
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = HandshakeRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let guard = Guard::from_ref(state);
        let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>().copied() else {
            tracing::error!(
                target: "wsguard",
                "the peer's address is missing: serve with into_make_service_with_connect_info::<SocketAddr>()"
            );
            let mut response = SmallResponse::default();
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            return Err(HandshakeRejection(response));
        };
        handshake(&guard, parts, peer.ip()).await.map(Self).map_err(HandshakeRejection)
    }
}

impl GuardedUpgrade {
    /// Answers 101 and runs `run` with the connection once its peer is authenticated.
    pub fn on_upgrade<In, Out, Run, Done>(self, run: Run) -> Response
    where
        Run: FnOnce(GuardedSocket<In, Out>) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
        In: DeserializeOwned + 'static,
        Out: Serialize + 'static,
    {
        let handler = to_socket(self.0.guard(), run);
        self.serve(handler)
    }

    /// Answers 101 and calls `handler` on the connection's own task: without a channel in between.
    pub fn serve(self, handler: impl Handler) -> Response {
        self.0.into_response(handler).map(Body::new)
    }
}
