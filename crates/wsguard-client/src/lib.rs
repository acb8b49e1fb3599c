//! A client for [wsguard] on tokio: it authenticates, carries CSRF tokens, acknowledges, reconnects and resumes.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use wsguard_client::{Client, Event, TokenReason};
//!
//! #[derive(Serialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum ToServer {
//!     Chat { message: String },
//! }
//!
//! #[derive(Debug, Deserialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum FromServer {
//!     Chat { from: String, message: String },
//!     #[serde(other)]
//!     Other,
//! }
//!
//! # async fn fetch_token(fresh: bool) -> Result<String, std::io::Error> { Ok(String::new()) }
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (client, mut events) = Client::builder("wss://chat.example/ws")
//!         // Asked before each connection, before the token ends, and after one was refused.
//!         .token(|reason| async move { fetch_token(reason == TokenReason::Rejected).await })
//!         .connect()
//!         .await?;
//!
//!     let sender = client.clone();
//!     tokio::spawn(async move {
//!         // Resolves when the server has handled the message, over however many connections that took.
//!         match sender.send(&ToServer::Chat { message: "Hello".into() }).await {
//!             Ok(ack) => println!("handled: {}", ack.id),
//!             Err(error) if error.may_have_been_handled() => println!("perhaps handled: {error}"),
//!             Err(error) => println!("not handled: {error}"),
//!         }
//!     });
//!
//!     while let Some(event) = events.next().await {
//!         match event {
//!             Event::Message(message) => println!("{:?}", message.decode::<FromServer>()?),
//!             // The server's process was lost: what it said meanwhile is gone.
//!             Event::Opened(opened) if opened.missed => println!("fetch the state anew"),
//!             Event::Lost(lost) => println!("back in {:?}: {}", lost.retry_in, lost.error),
//!             Event::Closed(closed) => println!("closed: {:?}", closed.error),
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Whoever wants nothing but messages takes [`Events::messages`]. Both are [`futures_core::Stream`]s.
//!
//! # What is promised
//!
//! - **Once, in order.** Messages are written in the order of [`Client::send`] and sent again until they are acknowledged;
//!   the server handles each once, as long as its process lives. What it sends arrives once and in order, over any number
//!   of connections.
//! - **No message is lost in silence.** Each ends with an [`Ack`] or with a [`SendError`] that says whether the server may
//!   have handled it. One that ended with an error is never sent later.
//! - **Nothing hangs.** An attempt to connect, an acknowledgement, a ping and silence have a time each, after which they
//!   count as failed.
//! - **Everything has a limit**, in count and bytes: what waits to be sent ([`Builder::queue`]), what waits to be read
//!   ([`Builder::incoming`]), one message ([`Builder::message_bytes_max`]).
//! - **No herd.** Clients of a server that restarts come back at times drawn at random, and when it says when, then.
//! - **No secret is printed.** Tokens never stand in an address, in `Debug` or in a log ([`tracing`], level `debug`).
//!
//! # When it comes back, and when not
//!
//! | end | |
//! | --- | --- |
//! | network lost, silence, 1001, 1011, 1012, 1013, 4408, HTTP 5xx | backing off: a delay drawn below 500 ms, then below twice as much each time up to 20 s; never before `Retry-After` |
//! | `draining` | at the moment that the server gave to this client, once nothing is in flight |
//! | 4401, HTTP 401 | once, with a fresh token; a static one is the end |
//! | 4429, HTTP 429 | after the time that the server said |
//! | 1000, 1002, 1003, 1007, 1008, 1009, 4403, 4409, other 44xx, other HTTP 4xx | never: [`Event::Closed`] says why |
//!
//! # Cargo features
//!
//! None. TLS is rustls with aws-lc-rs and the certificates of the operating system ([`Builder::ca_pem`] for others).
//!
//! [wsguard]: https://github.com/wsguard/wsguard
//! [`Reconnect`]: crate::Reconnect

#![forbid(unsafe_code)]

mod address;
mod backoff;
mod builder;
mod client;
mod connect;
mod error;
mod event;
mod message;
mod options;
mod session;
mod shared;
mod token;
mod transport;

pub use wsguard_protocol::ErrorCode;

pub use self::builder::Builder;
pub use self::client::{Client, Events, InvalidClose, Messages, SendOptions, Sending};
pub use self::error::{Code, ConfigError, ConnectError, Error, SendError};
pub use self::event::{Closed, Event, Lost, Opened, State, Status};
pub use self::message::{Ack, DecodeError, Id, Message};
pub use self::options::{Auth, OnLost, Overflow, Pings, Queue, Reconnect};
pub use self::session::Rtt;
pub use self::token::{Token, TokenError, TokenProvider, TokenReason};
