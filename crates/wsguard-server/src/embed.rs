//! The guard that `wsguard.toml` describes, for an application that has a listener of its own.
//!
//! [`Embedded::load`] reads the file as `wsguard serve` does, with the same mistakes reported, keeps the security log and
//! the store of revocations, and follows the issuer's keys. [`Embedded::admit`] finds out who asks, behind the proxies
//! that the file trusts, and judges the handshake. What the file says of `server.listen`, `server.admin`,
//! `server.workers` and `admin` belongs to `wsguard serve` and has no effect here; a restart makes a changed file count.
//!
//! Attack: an application that believes every `X-Forwarded-For`, or that serves sockets in plain because the guard
//! inside cannot see the wire (CWE-348, CWE-319). Outside development a request must come from a trusted proxy that
//! vouches for TLS, as with `wsguard serve`.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use axum::extract::{ConnectInfo, Request, State};
//! use axum::response::Response;
//! use serde::{Deserialize, Serialize};
//! use wsguard::GuardedSocket;
//! use wsguard_server::embed::Embedded;
//!
//! #[derive(Deserialize, Serialize)]
//! #[serde(tag = "type", content = "payload", rename_all = "lowercase")]
//! enum Message { Greet { name: String } }
//!
//! async fn socket(
//!     State(guard): State<Embedded>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request,
//! ) -> Response {
//!     let (mut parts, _) = request.into_parts();
//!     match guard.admit(&mut parts, peer.ip()).await {
//!         Ok(upgrade) => upgrade.on_upgrade(|mut socket: GuardedSocket<Message, Message>| async move {
//!             while let Some(incoming) = socket.recv().await {
//!                 if socket.send(&incoming.message).is_ok() { incoming.ack() }
//!             }
//!         }),
//!         Err(refused) => refused,
//!     }
//! }
//! # let _: axum::Router<Embedded> = axum::Router::new().route("/ws", axum::routing::get(socket));
//! ```

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use wsguard::core::time::Tick;
use wsguard::upgrade::{self, Asked};
use wsguard::{Guard, GuardedUpgrade};

use crate::config::{Config, Loaded, Overrides, Warning};
use crate::journal::Journal;
use crate::jwks::Jwks;
use crate::keyholder::Keyholder;
use crate::proxy::{ProxyPolicy, Transport};
use crate::serve::{ServeError, environment};
use crate::setup;

/// A guard with what belongs to it. Clones are the same guard.
#[derive(Clone, Debug)]
pub struct Embedded {
    guard: Guard,
    proxies: Arc<ProxyPolicy>,
    warnings: Arc<[Warning]>,
    dev: bool,
}

impl Embedded {
    /// Builds the guard that `file`, and the variables `WSGUARD_SECTION__KEY`, describe. `dev` is what `--dev` is to
    /// `wsguard serve`: the token `test_token`, in plain, and for peers of this machine alone.
    ///
    /// # Errors
    /// Every mistake of the configuration at once; what it names and cannot be used; `tls.*`, since TLS in front of an
    /// application is not the guard's.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn load(file: &Path, dev: bool) -> Result<Self, ServeError> {
        let loaded = Config::load(Some(file), environment(), &Overrides { dev, ..Overrides::default() })?;
        Self::start(&loaded).await
    }

    async fn start(loaded: &Loaded) -> Result<Self, ServeError> {
        let config = &loaded.config;
        if config.tls.is_some() {
            return Err(ServeError::TlsEmbedded);
        }
        let journal = Arc::new(Journal::start(&config.log, std::io::stderr().is_terminal()).map_err(ServeError::Log)?);
        let guard = setup::prepare(config, &journal)?.guard;
        if let Some(source) = &config.auth.jwks {
            let holder = Arc::new(Keyholder::new(guard.clone()));
            let mut jwks = Jwks::new(source, &guard, holder, Arc::clone(&journal))?;
            jwks.step(Tick(wsguard::monotonic_ms())).await;
            tokio::spawn(jwks.keep());
        }
        let banning = guard.handle();
        tokio::spawn(async move {
            banning.keep_bans(|error| tracing::error!("the bans were not written: {error}")).await;
        });
        tokio::spawn(crate::shadow::watch(guard.clone(), journal));
        let transport = if config.dev { Transport::Development } else { Transport::ProxyTls };
        Ok(Self {
            guard,
            proxies: Arc::new(ProxyPolicy::new(&config.trusted_proxies, transport)),
            warnings: loaded.warnings.clone().into(),
            dev: config.dev,
        })
    }

    /// Judges an upgrade request that came from `peer`.
    ///
    /// # Errors
    /// The response that refuses it: status, code and reference, nothing more.
    pub async fn admit(&self, parts: &mut Parts, peer: IpAddr) -> Result<GuardedUpgrade, Response> {
        let asked = Asked::of(peer, &parts.uri, &parts.headers);
        let client = match self.proxies.resolve(peer, &parts.headers) {
            // The application may listen anywhere: development stays on this machine all the same.
            Ok(client) if self.dev && !client.peer.is_loopback() => Err((403, "development_off_loopback")),
            Ok(client) => Ok(client.ip),
            Err(error) => Err((error.status(), "forwarding_headers")),
        };
        let judged = match client {
            Ok(client) => upgrade::handshake(&self.guard, parts, client).await,
            Err((status, reason)) => Err(upgrade::refuse(&self.guard, asked, &setup::refused(status, reason))),
        };
        judged.map(GuardedUpgrade::from).map_err(|response| response.map(Body::new))
    }

    /// The guard: to revoke, to disconnect, to drain before the application ends.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What weakens a protection or has no effect; to be shown at start.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use http::{HeaderValue, Request};

    use super::*;

    async fn embedded(name: &str, text: &str, dev: bool) -> Result<Embedded, ServeError> {
        let directory: PathBuf = std::env::temp_dir().join(format!("wsguard-embed-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let key = crate::keys::generate(wsguard::core::token::Algorithm::EdDsa).unwrap();
        std::fs::write(directory.join("a.pub"), key.public_pem.unwrap()).unwrap();
        let file = directory.join("wsguard.toml");
        std::fs::write(&file, text).unwrap();
        let embedded = Embedded::load(&file, dev).await;
        std::fs::remove_dir_all(&directory).unwrap();
        embedded
    }

    /// The status that a handshake from `peer` with `headers` ends in.
    async fn status(guard: &Embedded, peer: &str, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut request = Request::get("/ws").body(()).unwrap().into_parts().0;
        for (name, value) in [
            ("host", "localhost"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ]
        .iter()
        .chain(headers)
        {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        match guard.admit(&mut request, peer.parse().unwrap()).await {
            Ok(_) => 101,
            Err(response) => response.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn development_stays_on_this_machine() {
        let guard = embedded("dev", "[store]\npath = \"memory\"", true).await.unwrap();
        let token = ("authorization", "Bearer test_token");
        // A request that no connection brought cannot be upgraded: what was admitted so far ends in 400.
        assert_eq!(status(&guard, "127.0.0.1", &[token]).await, 400);
        for (name, peer, headers, want) in [
            ("another machine", "192.0.2.1", vec![token], 403),
            ("a tunnel", "127.0.0.1", vec![token, ("x-forwarded-for", "192.0.2.1")], 403),
            ("no such token", "127.0.0.1", vec![("authorization", "Bearer other")], 401),
        ] {
            assert_eq!(status(&guard, peer, &headers).await, want, "{name}");
        }
    }

    #[tokio::test]
    async fn outside_development_a_trusted_proxy_vouches_for_tls() {
        let text = "[origin]\nallow = [\"https://a.example\"]\n[host]\nallow = [\"localhost\"]\n[auth]\nkeys = [\"a.pub\"]\n\
                    [proxy]\ntrusted = [\"127.0.0.1\"]\n[store]\npath = \"memory\"";
        let guard = embedded("production", text, false).await.unwrap();
        let (token, https) = (("authorization", "Bearer test_token"), ("x-forwarded-proto", "https"));
        for (name, peer, headers, want) in [
            ("in plain", "127.0.0.1", vec![token], 403),
            ("no proxy of ours", "192.0.2.1", vec![token, https], 403),
            ("hops that nobody can read", "127.0.0.1", vec![token, https, ("x-forwarded-for", "?")], 400),
            ("the development token", "127.0.0.1", vec![token, https], 401),
        ] {
            assert_eq!(status(&guard, peer, &headers).await, want, "{name}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_not_promised() {
        assert!(embedded("empty", "", false).await.unwrap_err().is_configuration());
        let typo = embedded("typo", "[origin]\nalow = []", true).await.unwrap_err();
        assert!(typo.to_string().contains("alow"), "{typo}");
    }
}
