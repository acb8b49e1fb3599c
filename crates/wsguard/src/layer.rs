//! A guarded endpoint as a tower layer, for services of hyper and tower without axum.
//!
//! [`GuardLayer`] answers every request for its path by itself: a handshake that the guard refuses gets its status, one
//! that it admits gets the 101 and a handler. All other requests go to the service inside.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper::body::Incoming;
//! use hyper::{Request, Response};
//! use hyper_util::rt::TokioIo;
//! use hyper_util::service::TowerToHyperService;
//! use tower_layer::Layer as _;
//! use wsguard::layer::GuardLayer;
//! use wsguard::{Guard, GuardedSocket};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum Message { Greet { name: String } }
//!
//! async fn run(stream: tokio::net::TcpStream, guard: Guard) -> Result<(), Box<dyn std::error::Error>> {
//!     let layer = GuardLayer::on_upgrade(guard, "/ws", |mut socket: GuardedSocket<Message, Message>| async move {
//!         while let Some(incoming) = socket.recv().await {
//!             if socket.send(&incoming.message).is_ok() {
//!                 incoming.ack();
//!             }
//!         }
//!     });
//!     let inside = tower::service_fn(|_: Request<Incoming>| async {
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("everything else")))
//!     });
//!     let service = layer.of_client(stream.peer_addr()?.ip()).layer(inside);
//!     hyper::server::conn::http1::Builder::new()
//!         .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
//!         .with_upgrades()
//!         .await?;
//!     Ok(())
//! }
//!
//! let guard = Guard::builder()
//!     .key("app.key", b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
//!     .hosts(["localhost"])
//!     .message("greet", r#"{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}"#)
//!     .build()?;
//! # let _ = (run, guard);
//! # Ok::<(), wsguard::BuildError>(())
//! ```

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use crate::guard::Guard;
use crate::handler::Handler;
use crate::socket::{GuardedSocket, to_socket};
use crate::upgrade::{SmallResponse, Upgrade, handshake};

/// The address that a request came from, as a request extension: for frameworks whose service serves all connections. With
/// the feature `axum`, its `ConnectInfo<SocketAddr>` serves as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// Guards the path of an endpoint. Cheap to clone.
#[derive(Clone)]
pub struct GuardLayer(Endpoint);

#[derive(Clone)]
struct Endpoint {
    guard: Guard,
    path: Arc<str>,
    answer: Arc<dyn Fn(Upgrade) -> SmallResponse + Send + Sync>,
    client: Option<IpAddr>,
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl GuardLayer {
    /// Guards `path`; `run` gets each connection once its peer is authenticated.
    pub fn on_upgrade<In, Out, Run, Done>(guard: Guard, path: &str, run: Run) -> Self
    where
        Run: Fn(GuardedSocket<In, Out>) -> Done + Clone + Send + Sync + 'static,
        Done: Future<Output = ()> + Send + 'static,
        In: DeserializeOwned + 'static,
        Out: Serialize + 'static,
    {
        let of = guard.clone();
        Self::serve(guard, path, move || to_socket(&of, run.clone()))
    }

    /// Guards `path`; `handler` makes the handler of each connection, which is called on the connection's own task.
    pub fn serve<H: Handler>(guard: Guard, path: &str, handler: impl Fn() -> H + Send + Sync + 'static) -> Self {
        let answer = Arc::new(move |upgrade: Upgrade| upgrade.into_response(handler()));
        Self(Endpoint { guard, path: path.into(), answer, client: None })
    }

    /// The same layer for the requests of one client: where a service is made for each connection.
    #[must_use]
    pub fn of_client(&self, client: IpAddr) -> Self {
        let mut layer = self.clone();
        layer.0.client = Some(client);
        layer
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarding<S>;

    fn layer(&self, inner: S) -> Guarding<S> {
        Guarding { endpoint: self.0.clone(), inner }
    }
}

/// The service that [`GuardLayer`] makes.
#[derive(Clone)]
pub struct Guarding<S> {
    endpoint: Endpoint,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for Guarding<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarding").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Body, Answer> Service<Request<Body>> for Guarding<S>
where
    S: Service<Request<Body>, Response = Response<Answer>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    Answer: 'static,
    Body: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, Answer>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == &*self.endpoint.path {
            let endpoint = self.endpoint.clone();
            return Box::pin(async move { Ok(endpoint.answer(request).await.map(Either::Left)) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(Either::Right)) })
    }
}

impl Endpoint {
    async fn answer<Body>(&self, request: Request<Body>) -> SmallResponse {
        let (mut parts, _) = request.into_parts();
        let Some(client) = self.client.or_else(|| client_of(&parts.extensions)) else {
            tracing::error!(
                target: "wsguard",
                "the client's address is missing: use GuardLayer::of_client, or put layer::Client into the request"
            );
            let mut response = SmallResponse::default();
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        match handshake(&self.guard, &mut parts, client).await {
            Ok(upgrade) => (self.answer)(upgrade),
            Err(refused) => refused,
        }
    }
}

fn client_of(extensions: &http::Extensions) -> Option<IpAddr> {
    let client = extensions.get::<Client>().map(|client| client.0);
    #[cfg(feature = "axum")]
    let client =
        client.or_else(|| extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip()));
    client
}
