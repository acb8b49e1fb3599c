//! What keeps a check from running.

use crate::check::{Check, Need};
use crate::discover::dialect::{Dialect, Template};
use crate::outcome::Outcome;
use crate::probe::Shared;
use crate::probe::jwt::is_jwt;

/// Why a check cannot run, if so; `untrusted` is why no credential was shown.
pub(super) fn obstacle(shared: &Shared, untrusted: Option<&str>, check: &Check, has_baseline: bool) -> Option<Outcome> {
    let options = &shared.options;
    let way = shared.way.get()?;
    if check.meta.intrusive && !options.intrusive {
        return Some(Outcome::skipped("not sent without --intrusive").settled_by("--intrusive"));
    }
    let missing = |what: &str, settle: &str| Some(Outcome::unknown(format!("needs {what}")).settled_by(settle));
    for need in check.meta.needs {
        let found = match need {
            Need::Baseline if !has_baseline => {
                let why = untrusted.map_or_else(
                    || way.trouble.clone(),
                    |why| format!("no credential is shown to a server whose certificate is not trusted ({why})"),
                );
                let settle =
                    if untrusted.is_some() { "--ca FILE or --insecure" } else { "--token, --origin, --header" };
                Some(Outcome::unknown(format!("no good handshake: {why}")).settled_by(settle))
            }
            Need::Template if way.template.is_none() => {
                missing("a message that the target answers", "--send and --expect")
            }
            Need::Credential if !way.asks_credential && options.public => {
                Some(Outcome::skipped("the target is meant for everybody (--public)"))
            }
            Need::Credential if !way.asks_credential => missing(
                "a target that treats peers with and without the credential differently",
                "--token, --login, --send and --expect",
            ),
            Need::Token | Need::Jwt if options.token.is_none() => missing("a token", "--token"),
            Need::Jwt if options.token.as_deref().is_some_and(|token| !is_jwt(token)) => {
                Some(Outcome::skipped("the token is not a JWT"))
            }
            Need::TokenB if options.token_b.is_none() => missing("a second identity", "--token-b"),
            Need::ExpiredToken if options.expired_token.is_none() => {
                missing("a token that has ended", "--expired-token")
            }
            Need::ForeignToken if options.foreign_token.is_none() => {
                missing("a good token of another audience", "--foreign-token")
            }
            Need::SendGiven if options.send.is_none() => {
                missing("a message that only the first identity may send", "--send")
            }
            Need::Cookie if options.cookie.is_none() => missing("a cookie", "--cookie"),
            Need::LogoutUrl if options.logout_url.is_none() => {
                missing("an address that ends the session", "--logout-url")
            }
            Need::TicketUrl if options.ticket_url.is_none() => missing("an address that gives tickets", "--ticket-url"),
            Need::Tls if !shared.target.tls => {
                Some(Outcome::skipped("the target does not use TLS (WSA-TLS-01 says so)"))
            }
            Need::Json
                if !(way.dialect.is_json()
                    || matches!(way.dialect, Dialect::SocketIo(_) | Dialect::EngineIo(_))
                    || (options.send.is_some() && way.template.as_ref().is_some_and(Template::is_json))) =>
            {
                Some(Outcome::skipped(format!("the messages of the target are not JSON: {}", way.dialect.name())))
            }
            Need::Full if !options.full => missing("more time", "--full"),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
