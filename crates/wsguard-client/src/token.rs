//! Where tokens come from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Cause;

/// A token. Its `Debug` is mute, so that it cannot end up in a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a header and an entry of `Sec-WebSocket-Protocol` can carry it (RFC 9110 section 5.6.2). JWTs can.
    pub(crate) fn fits_header(&self) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !self.0.is_empty() && self.0.bytes().all(fits)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token.into())
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

/// Why a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenReason {
    /// A new connection.
    Connect,
    /// The token of the open connection ends soon.
    Expiring,
    /// The server refused the last one: a cached token will not do.
    Rejected,
}

impl TokenReason {
    /// The word that the TypeScript client has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Expiring => "expiring",
            Self::Rejected => "rejected",
        }
    }
}

/// Why a provider has no token.
///
/// Made from any error with `?`: then the provider is asked again later, backing off. [`TokenError::forbidden`] says
/// that asking again is pointless, and closes the client.
#[derive(Clone, Debug)]
pub struct TokenError {
    pub(crate) source: Option<Cause>,
    pub(crate) forbidden: bool,
}

impl TokenError {
    /// There will be no token: nobody is logged in, or the account is gone. Closes the client with `forbidden`.
    pub fn forbidden() -> Self {
        Self { source: None, forbidden: true }
    }

    /// The provider failed with something that is not an error type.
    pub fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(why.into())), forbidden: false }
    }
}

// Without `Error` of its own, as `?` needs: it is an argument, never what a caller gets.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for TokenError {
    fn from(source: E) -> Self {
        Self { source: Some(Arc::new(source)), forbidden: false }
    }
}

/// Gives tokens: a string that stays the same, or an async function that is asked whenever one is needed.
///
/// One question at a time: while an answer is awaited, whoever else needs a token gets the same one. An answer that takes
/// longer than [`Builder::connect_timeout`](crate::Builder::connect_timeout) is given up.
///
/// ```
/// use wsguard_client::{Token, TokenError, TokenProvider, TokenReason};
///
/// # async fn login(fresh: bool) -> Result<String, std::io::Error> { Ok(String::new()) }
/// fn provider() -> impl TokenProvider {
///     |reason: TokenReason| async move { login(reason == TokenReason::Rejected).await }
/// }
/// ```
pub trait TokenProvider: Send + Sync + 'static {
    /// A token to use now.
    fn token(&self, reason: TokenReason) -> impl Future<Output = Result<Token, TokenError>> + Send;

    /// Whether asking again can bring another one.
    fn is_renewable(&self) -> bool {
        true
    }
}

impl TokenProvider for &'static str {
    async fn token(&self, _: TokenReason) -> Result<Token, TokenError> {
        Ok(Token::from(*self))
    }

    fn is_renewable(&self) -> bool {
        false
    }
}

impl TokenProvider for String {
    async fn token(&self, _: TokenReason) -> Result<Token, TokenError> {
        Ok(Token::from(self.as_str()))
    }

    fn is_renewable(&self) -> bool {
        false
    }
}

impl TokenProvider for Token {
    async fn token(&self, _: TokenReason) -> Result<Token, TokenError> {
        Ok(self.clone())
    }

    fn is_renewable(&self) -> bool {
        false
    }
}

impl<F, A, T, E> TokenProvider for F
where
    F: Fn(TokenReason) -> A + Send + Sync + 'static,
    A: Future<Output = Result<T, E>> + Send,
    T: Into<Token>,
    E: Into<TokenError>,
{
    async fn token(&self, reason: TokenReason) -> Result<Token, TokenError> {
        match self(reason).await {
            Ok(token) => Ok(token.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// An answer that is awaited.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send>>;

/// A provider behind a pointer, so that the client has no type parameter for it.
#[derive(Clone)]
pub(crate) struct Provider {
    ask: Arc<dyn Fn(TokenReason) -> Asking + Send + Sync>,
    pub(crate) renewable: bool,
}

impl Provider {
    pub(crate) fn new(provider: impl TokenProvider) -> Self {
        let renewable = provider.is_renewable();
        let provider = Arc::new(provider);
        let ask = move |reason| -> Asking {
            let provider = Arc::clone(&provider);
            Box::pin(async move { provider.token(reason).await })
        };
        Self { ask: Arc::new(ask), renewable }
    }

    pub(crate) fn ask(&self, reason: TokenReason) -> Asking {
        (self.ask)(reason)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("renewable", &self.renewable).finish_non_exhaustive()
    }
}
