//! Whom `audit` and `health` look at, and how that server is spoken to.

use std::path::PathBuf;

use clap::Args;
use wsguard_audit::Options;

/// Where `wsguard serve --dev` listens.
const DEFAULT_URL: &str = "ws://localhost:3000/ws";

/// What it accepts.
const DEFAULT_TOKEN: &str = "test_token";

/// Arguments that say where the server is, and what it is to be told.
#[derive(Debug, Args)]
pub(crate) struct TargetArguments {
    /// The server: ws:// or wss://, with its path. `{token}` stands for the token
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// A credential of an account that exists for tests [default: `test_token`, unless a cookie or header brings one]
    #[arg(long, value_name = "TOKEN", env = "WSGUARD_AUDIT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The value of the Cookie header, for servers that log in by cookie
    #[arg(long, value_name = "COOKIE")]
    cookie: Option<String>,
    /// A further header of every handshake; `{token}` stands for the token
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The origin of the page that uses the server [default: the server's own]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// An entry of Sec-WebSocket-Protocol; `{token}` stands for the token
    #[arg(long = "subprotocol", value_name = "NAME")]
    subprotocols: Vec<String>,
    /// The first message, where one logs in by it; `{token}` stands for the token
    #[arg(long, value_name = "MESSAGE")]
    login: Option<String>,
    /// A message that the server answers; may hold {id}, {csrf}, {marker}
    #[arg(long, value_name = "MESSAGE")]
    send: Option<String>,
    /// A regular expression of that answer; may hold {id}, {marker}
    #[arg(long, value_name = "REGEX", requires = "send")]
    expect: Option<String>,
    /// Further authorities to trust, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the credential to a server whose certificate is not trusted
    #[arg(long)]
    insecure: bool,
    /// The server is meant for everybody
    #[arg(long)]
    public: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token || value.contains(['\r', '\n']) {
        return Err("expected NAME: VALUE on one line".into());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

impl TargetArguments {
    /// As the library takes them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let brings_credential =
            self.cookie.is_some() || self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let token = self.token.clone().or_else(|| (!brings_credential).then(|| DEFAULT_TOKEN.to_owned()));
        let ca_pem = match &self.ca {
            Some(path) => Some(std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?),
            None => None,
        };
        Ok(Options {
            token,
            cookie: self.cookie.clone(),
            headers: self.headers.clone(),
            origin: self.origin.clone(),
            subprotocols: self.subprotocols.clone(),
            login: self.login.clone(),
            send: self.send.clone(),
            expect: self.expect.clone(),
            ca_pem,
            insecure: self.insecure,
            public: self.public,
            ..Options::new(&self.url, None)
        })
    }
}
