//! Where the server is.

use http::Uri;

use crate::error::ConfigError;

/// Names in a query that hold credentials. The client puts a ticket there itself, for one connection.
const CREDENTIAL_NAMES: [&str; 3] = ["token", "access_token", "ticket"];

/// The address of a server, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    host: String,
    port: u16,
    tls: bool,
    /// What `Host` says: with the port unless it is the scheme's own.
    authority: String,
    path: String,
    query: Option<String>,
}

impl Address {
    /// Parses `ws://` or `wss://` with a host.
    ///
    /// # Errors
    /// When it is not that, names a user, or carries a credential in its query.
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let uri: Uri = url.parse().map_err(|_| ConfigError::Url)?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(ConfigError::Url),
        };
        let authority = uri.authority().ok_or(ConfigError::Url)?;
        let host = authority.host();
        // What follows the host is a port or nothing.
        let strange_port = authority.port_u16().is_none() && authority.as_str().len() != host.len();
        if authority.as_str().contains('@') || host.is_empty() || strange_port {
            return Err(ConfigError::Url);
        }
        if let Some(name) = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .find(|name| CREDENTIAL_NAMES.iter().any(|credential| name.eq_ignore_ascii_case(credential)))
        {
            return Err(ConfigError::CredentialInUrl(name.to_owned()));
        }
        let port_of_scheme = if tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(port_of_scheme);
        let authority = if port == port_of_scheme { host.to_owned() } else { format!("{host}:{port}") };
        Ok(Self {
            // In an address an IPv6 host stands in brackets; the resolver and TLS want it without.
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            tls,
            authority,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The request target of the endpoint, with a ticket where there is one.
    pub(crate) fn target(&self, ticket: Option<&str>) -> String {
        let ticket = ticket.map(|ticket| format!("ticket={ticket}"));
        let query: Vec<&str> = self.query.as_deref().into_iter().chain(ticket.as_deref()).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, query.join("&"))
    }

    /// The request target of the endpoint that gives tickets.
    pub(crate) fn ticket_target(&self) -> String {
        format!("{}/ticket", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        for (url, host, port, authority, target) in [
            ("ws://localhost:3000/ws", "localhost", 3000, "localhost:3000", "/ws"),
            ("wss://chat.example/ws", "chat.example", 443, "chat.example", "/ws"),
            ("wss://chat.example:443/ws", "chat.example", 443, "chat.example", "/ws"),
            ("ws://chat.example", "chat.example", 80, "chat.example", "/"),
            ("ws://[::1]:3000/a/b?room=x", "::1", 3000, "[::1]:3000", "/a/b?room=x"),
        ] {
            let address = Address::parse(url).unwrap();
            let got = (address.host(), address.port(), address.authority(), &*address.target(None));
            assert_eq!(got, (host, port, authority, target), "{url}");
            assert_eq!(address.is_tls(), url.starts_with("wss"), "{url}");
        }
        let address = Address::parse("ws://h/ws?room=x").unwrap();
        assert_eq!(address.target(Some("T")), "/ws?room=x&ticket=T");
        assert_eq!(address.ticket_target(), "/ws/ticket");
        assert_eq!(Address::parse("ws://h/ws").unwrap().target(Some("T")), "/ws?ticket=T");
    }

    #[test]
    fn what_cannot_work_or_would_leak_is_refused() {
        for url in
            ["", "chat.example", "http://h/ws", "ws://", "ws:///ws", "ws://user@h/ws", "ws://u:p@h/ws", "ws://h:x/"]
        {
            assert!(matches!(Address::parse(url), Err(ConfigError::Url)), "{url}");
        }
        for url in ["ws://h/ws?token=x", "ws://h/ws?a=1&access_token=x", "ws://h/ws?Ticket=x"] {
            assert!(matches!(Address::parse(url), Err(ConfigError::CredentialInUrl(_))), "{url}");
        }
    }
}
