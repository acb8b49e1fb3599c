//! What goes wrong, as one type with a code.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wsguard_protocol::ErrorCode;

/// What went wrong, as a word: those of the server, and those of this side of the wire.
///
/// The words are the same as in the TypeScript client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The server refused; see [`ErrorCode`] for each cause.
    Server(ErrorCode),
    /// `queue_full`: more waits for its acknowledgement than the limits allow; this message was not taken, or it made
    /// room for another ([`Overflow`](crate::Overflow)).
    QueueFull,
    /// `timeout`: no acknowledgement came in time. The message will not be sent later.
    Timeout,
    /// `delivery_unknown`: the message was written, and the server process that would know what became of it is gone.
    DeliveryUnknown,
    /// `closed`: the client is closed and stays so.
    Closed,
    /// `connection_lost`: the connection ended, or never came about, and the server did not say why.
    ConnectionLost,
    /// `token_failed`: the token provider failed, or the ticket endpoint did not answer as it should.
    TokenFailed,
    /// `protocol`: the server sent something that is not `wsguard.v1`.
    Protocol,
    /// `aborted`: the sender took the message back.
    Aborted,
    /// `refused`: the server refused, with a code that this version does not know.
    Refused,
}

impl Code {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server(code) => code.as_str(),
            Self::QueueFull => "queue_full",
            Self::Timeout => "timeout",
            Self::DeliveryUnknown => "delivery_unknown",
            Self::Closed => "closed",
            Self::ConnectionLost => "connection_lost",
            Self::TokenFailed => "token_failed",
            Self::Protocol => "protocol",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a program gives as the cause of an error.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong: a [`Code`] to tell cases apart, and a sentence for people.
///
/// Holds no token and no payload of a message; what a token provider failed with is its [`source`].
///
/// [`source`]: std::error::Error::source
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    reference: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Cause>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { code, message: message.into(), reference: None, retry_after: None, source: None }))
    }

    pub(crate) fn server(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Server(code), message)
    }

    pub(crate) fn with_source(mut self, source: Cause) -> Self {
        self.0.source = Some(source);
        self
    }

    pub(crate) fn with_reference(mut self, reference: Option<String>) -> Self {
        self.0.reference = reference;
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    /// What went wrong, as a word.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Finds the full story in the server's log.
    pub fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// Time to wait before the next try, where the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("code", &self.0.code).field("message", &self.0.message);
        if let Some(reference) = &self.0.reference {
            debug.field("reference", reference);
        }
        if let Some(retry_after) = &self.0.retry_after {
            debug.field("retry_after", retry_after);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        self.0.reference.as_ref().map_or(Ok(()), |reference| write!(f, " (ref {reference})"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Why a message was not acknowledged.
#[derive(Clone, Debug)]
pub struct SendError {
    error: Error,
    written: bool,
}

impl SendError {
    pub(crate) fn new(error: Error, written: bool) -> Self {
        Self { error, written }
    }

    /// What went wrong, as a word.
    pub fn code(&self) -> Code {
        self.error.code()
    }

    /// The error with all that is known of it.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Time to wait before the next try, where the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.error.retry_after()
    }

    /// Whether the server may have handled the message all the same: it was written, and no answer came. When false,
    /// sending it again cannot repeat anything.
    pub fn may_have_been_handled(&self) -> bool {
        self.written && !matches!(self.code(), Code::Server(_) | Code::Refused)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        error.error
    }
}

/// What cannot work at all, found before anything is sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not `ws://` or `wss://` with a host, or names a user.
    #[error("use the address: expected ws:// or wss:// with a host, without user and password")]
    Url,
    /// The address carries a credential; addresses end up in logs.
    #[error("use the address: its query holds `{0}`; a credential never stands in an address")]
    CredentialInUrl(String),
    /// There is no token provider.
    #[error("authenticate: no token was set")]
    NoToken,
    /// There is no tokio runtime to run on.
    #[error("start: expected to be called inside of a tokio runtime")]
    Runtime,
    /// A number is outside its limits.
    #[error("use {name}: expected {expected}")]
    Limit {
        /// The method of the builder.
        name: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// The certificates of [`Builder::ca_pem`](crate::Builder::ca_pem) cannot be used.
    #[error("trust the certificates: expected PEM with at least one block CERTIFICATE")]
    Ca,
    /// The system has no certificates to trust, and none were given.
    #[error("trust the server: the system has no root certificates; set some with ca_pem")]
    NoRoots,
    /// The host is no name that a certificate can have.
    #[error("trust the server: its host is no name that a certificate can have")]
    ServerName,
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Why [`Builder::connect`](crate::Builder::connect) gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing was tried: what was configured cannot work.
    #[error("could not {0}")]
    Config(#[from] ConfigError),
    /// The first attempt failed.
    #[error(transparent)]
    Failed(#[from] Error),
}
