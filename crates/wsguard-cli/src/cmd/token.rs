//! `wsguard token`

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use wsguard_core::time::{Millis, UnixMs};
use wsguard_core::token::{MintClaims, SigningKey, mint};
use wsguard_server::config::time_from_text;
use wsguard_server::keys::load_signing_key;

use super::Exit;
use crate::output;

/// Longest life of a token: a year. What shall live longer wants a key of its own.
const TTL_MAX: Millis = Millis(366 * 86_400_000);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The key that signs, as `wsguard keygen` wrote it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who the token is for.
    #[arg(long, value_name = "SUBJECT")]
    sub: String,
    /// A role of the subject; may be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Scopes, separated by spaces.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// How long the token is good, such as 30s, 15m or 24h; 366 days at most.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = ttl)]
    ttl: Millis,
    /// The issuer, where the server's `auth.issuer` is set.
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// The audience, where the server's `auth.audience` is set.
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// Print the token and its end as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    token: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    expires_at: u64,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let key = match load_signing_key(&arguments.key) {
        Ok(key) => key,
        Err(error) => return output::failed(error, Exit::Usage),
    };
    // Whole seconds: some readers of `exp` know no fractions.
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(Millis(0), |since| Millis::from_secs(since.as_secs()));
    let mut id = [0; 16];
    if rand::fill(&mut id).is_err() {
        return output::failed("make a token id: the system gives no randomness", Exit::Failed);
    }
    match signed(arguments, &key, UnixMs(now.0), &URL_SAFE_NO_PAD.encode(id)) {
        Ok(report) if arguments.json => output::json(&report),
        Ok(report) => output::result(report.token),
        Err(error) => output::failed(error, Exit::Usage),
    }
}

fn signed(
    arguments: &Arguments,
    key: &SigningKey,
    now: UnixMs,
    id: &str,
) -> Result<Report, wsguard_core::token::MintError> {
    let expires_at = now.after(arguments.ttl);
    let claims = MintClaims {
        issued_at: Some(now),
        id: Some(id),
        issuer: arguments.issuer.as_deref(),
        audience: arguments.audience.as_deref(),
        roles: &arguments.roles,
        scope: arguments.scope.as_deref(),
        ..MintClaims::new(&arguments.sub, expires_at)
    };
    Ok(Report { token: mint(key, &claims)?, expires_at: expires_at.0 })
}

fn ttl(text: &str) -> Result<Millis, String> {
    time_from_text(text)
        .filter(|ttl| (Millis::from_secs(1)..=TTL_MAX).contains(ttl))
        .ok_or_else(|| "expected a time from 1s to 366d, such as 30s, 15m or 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsguard_core::token::{Key, KeyRing, TokenPolicy, verify};

    const KEY: &[u8] = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";

    fn arguments() -> Arguments {
        Arguments {
            key: PathBuf::new(),
            sub: "ann".to_owned(),
            roles: vec!["admin".to_owned(), "moderator".to_owned()],
            scope: Some("chat read".to_owned()),
            ttl: Millis::from_secs(900),
            issuer: None,
            audience: None,
            json: false,
        }
    }

    #[test]
    fn what_is_signed_is_what_was_asked_for() {
        let key = SigningKey::parse("a", KEY).unwrap();
        let report = signed(&arguments(), &key, UnixMs(1_700_000_000_000), "id").unwrap();
        assert_eq!(report.expires_at, 1_700_000_900_000);
        let ring = KeyRing::new(vec![Key::parse("a", KEY).unwrap()]).unwrap();
        let claims = verify(&ring, &TokenPolicy::default(), UnixMs(1_700_000_000_000), &report.token).unwrap();
        assert_eq!(&*claims.subject, "ann");
        assert!(claims.has_role("admin") && claims.has_role("moderator") && !claims.has_role("dev"));
        assert!(claims.has_scope("chat") && claims.has_scope("read"));
        assert!(verify(&ring, &TokenPolicy::default(), UnixMs(1_700_000_906_000), &report.token).is_err());
    }

    #[test]
    fn a_subject_that_servers_refuse_is_not_signed() {
        let key = SigningKey::parse("a", KEY).unwrap();
        for (name, sub) in [("empty", String::new()), ("too long", "s".repeat(5_000))] {
            assert!(signed(&Arguments { sub, ..arguments() }, &key, UnixMs(0), "id").is_err(), "{name}");
        }
    }

    #[test]
    fn lives_have_a_unit_and_an_end() {
        for (text, want) in [
            ("15m", Some(900_000)),
            ("1s", Some(1_000)),
            ("366d", Some(TTL_MAX.0)),
            ("367d", None),
            ("999ms", None),
            ("0s", None),
            ("900", None),
            ("", None),
        ] {
            assert_eq!(ttl(text).ok().map(|ttl| ttl.0), want, "{text}");
        }
    }
}
