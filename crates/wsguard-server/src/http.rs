//! Small pieces of HTTP that the public and the development routes share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// A response of the server.
pub(crate) type Reply = Response<BoxBody<Bytes, Infallible>>;

/// Largest body of a request. A token fits.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// A response with `body` of a media type.
pub(crate) fn reply(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// A JSON response that nobody stores.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = reply(status, "application/json", text);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Turns a small response of the guard into one of the server.
pub(crate) fn boxed(response: Response<Full<Bytes>>) -> Reply {
    response.map(BodyExt::boxed)
}

/// Reads a JSON body, at most [`BODY_BYTES_MAX`].
pub(crate) async fn read_json<T: DeserializeOwned>(body: Incoming) -> Option<T> {
    let bytes = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

/// The one value of a header; `None` when it is absent, repeated or not visible ASCII.
pub(crate) fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Server-sent events from a channel.
pub(crate) struct EventStream(pub(crate) mpsc::Receiver<Bytes>);

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
