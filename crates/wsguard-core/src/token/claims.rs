//! What a token says, as types; and the comparison with the time and the policy.

use std::borrow::Cow;
use std::sync::Arc;

use super::Key;
use super::strict::{members, object, text as string};
use super::verify::{Leeway, TokenError, TokenPolicy};
use crate::fault::{self, Fault};
use crate::json::{Kind, Tape, Value};
use crate::time::{Millis, UnixMs};

/// Longest `sub` in characters. Subjects are keys of tables and stand in logs.
pub const SUBJECT_CHARS_MAX: usize = 256;

/// Longest `iss`, `jti` and single `aud` in characters.
pub const CLAIM_CHARS_MAX: usize = 512;

/// Most entries of an `aud` array.
pub const AUDIENCES_MAX: usize = 16;

/// Most `roles`. Roles become a bit set, compiled once a connection.
pub const ROLES_MAX: usize = 64;

/// Longest role in characters.
pub const ROLE_CHARS_MAX: usize = 128;

/// Most scopes in `scope`.
pub const SCOPES_MAX: usize = 64;

/// Longest single scope in characters.
pub const SCOPE_CHARS_MAX: usize = 128;

/// The last second that a claim may name: 9999-12-31T23:59:59Z. A later one is a mistake (milliseconds, most often),
/// and would make a token that never ends.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// What a verified token says. Only [`super::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// `sub`: who. 1 to [`SUBJECT_CHARS_MAX`] characters, none of them a control character.
    pub subject: Box<str>,
    /// `exp`: the token is good before this time. With leeway: see [`Claims::ends_at`].
    pub expires_at: UnixMs,
    /// `nbf`: the token is good from this time on.
    pub not_before: Option<UnixMs>,
    /// `iat`: when the token was issued. "Revoke everything before" compares with it.
    pub issued_at: Option<UnixMs>,
    /// `jti`: the token's own id, for revocation.
    pub id: Option<Box<str>>,
    /// `roles`, in the token's order.
    pub roles: Box<[Box<str>]>,
    /// `scope`, split at its spaces, in the token's order.
    pub scopes: Box<[Box<str>]>,
    /// The id of the key that verified the token ([`super::Key::id`]), not what the token's header said.
    pub key_id: Arc<str>,
    /// The thumbprint of that key ([`super::Key::thumbprint`]): a key that took over the id is another one. `None` for
    /// the development token, which no key signed.
    pub key_thumbprint: Option<Arc<str>>,
}

impl Claims {
    /// Claims of the development token, which no key signed.
    pub(crate) fn development(subject: &str, expires_at: UnixMs) -> Self {
        Self {
            subject: subject.into(),
            expires_at,
            not_before: None,
            issued_at: None,
            id: None,
            roles: Box::default(),
            scopes: Box::default(),
            key_id: "development".into(),
            key_thumbprint: None,
        }
    }

    /// Returns the first moment at which the token is no longer good: `exp` plus leeway. An open socket closes then,
    /// and a handshake is refused from then on, so that both judge alike.
    pub fn ends_at(&self, leeway: Leeway) -> UnixMs {
        if fault::is_on(Fault::TokenNeverEnds) {
            return UnixMs(u64::MAX);
        }
        self.expires_at.after(leeway.as_millis())
    }

    /// Returns whether the times of the token still hold at `now`, as [`super::verify`] would judge them.
    pub(super) fn times(&self, now: UnixMs, leeway: Leeway) -> Result<(), TokenError> {
        let late = now.after(if fault::is_on(Fault::LeewayIgnored) { Millis(0) } else { leeway.as_millis() });
        if now >= self.ends_at(leeway) {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|from| late < from) {
            return Err(TokenError::NotYetValid);
        }
        if self.issued_at.is_some_and(|from| late < from) && !fault::is_on(Fault::FutureUnchecked) {
            return Err(TokenError::IssuedInFuture);
        }
        Ok(())
    }

    /// Returns whether the token has this role, compared exactly.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| **known == *role)
    }

    /// Returns whether the token has this scope, compared exactly.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|known| **known == *scope)
    }
}

/// A payload whose claims have the right types and sizes, before they are compared with anything.
pub(super) struct Payload<'a> {
    subject: Box<str>,
    expires_at: UnixMs,
    not_before: Option<UnixMs>,
    issued_at: Option<UnixMs>,
    id: Option<Box<str>>,
    issuer: Option<Cow<'a, str>>,
    audience: Option<Vec<Cow<'a, str>>>,
    roles: Box<[Box<str>]>,
    scopes: Box<[Box<str>]>,
}

impl<'a> Payload<'a> {
    /// Reads the JSON of a payload. Claims that nobody here knows are skipped; known ones of a wrong type are refused,
    /// `null` too: what an issuer meant by it cannot be known.
    pub(super) fn parse(bytes: &'a [u8], tape: &'a mut Tape) -> Result<Self, TokenError> {
        let mut subject = None;
        let mut expires_at = None;
        let mut not_before = None;
        let mut issued_at = None;
        let mut id = None;
        let mut issuer = None;
        let mut audience = None;
        let mut roles = Box::default();
        let mut scopes = Box::default();
        for (name, value) in members(object(bytes, tape).ok_or(TokenError::PayloadNotJson)?) {
            let date = |value| numeric_date(value).ok_or(TokenError::TimeInvalid);
            match &*name {
                "sub" => {
                    subject = Some(text(value, SUBJECT_CHARS_MAX).ok_or(TokenError::SubjectInvalid)?);
                }
                "exp" => expires_at = Some(date(value)?),
                "nbf" => not_before = Some(date(value)?),
                "iat" => issued_at = Some(date(value)?),
                "jti" => id = Some(text(value, CLAIM_CHARS_MAX).ok_or(TokenError::IdInvalid)?),
                "iss" => {
                    issuer = Some(text(value, CLAIM_CHARS_MAX).ok_or(TokenError::IssuerRefused)?);
                }
                "aud" => audience = Some(audiences(value).ok_or(TokenError::AudienceRefused)?),
                "roles" => roles = role_list(value).ok_or(TokenError::RolesInvalid)?,
                "scope" => scopes = scope_list(value).ok_or(TokenError::ScopeInvalid)?,
                _ => {}
            }
        }
        Ok(Self {
            subject: subject.ok_or(TokenError::SubjectMissing)?.into(),
            expires_at: expires_at.ok_or(TokenError::ExpiryMissing)?,
            not_before,
            issued_at,
            id: id.map(Box::from),
            issuer,
            audience,
            roles,
            scopes,
        })
    }

    /// Compares with time and policy. With `leeway` L, and everything in milliseconds:
    ///
    /// - `exp`: good while `now < exp + L`, refused at exactly `exp + L` ("on or after", RFC 7519 §4.1.4);
    /// - `nbf`: good from `now + L >= nbf` on, accepted at exactly `nbf - L` (RFC 7519 §4.1.5);
    /// - `iat`: as `nbf`. The RFC asks for nothing, but a token from the future would outlive a revocation of
    ///   everything issued before now.
    pub(super) fn check(self, policy: &TokenPolicy, now: UnixMs, key: &Key) -> Result<Claims, TokenError> {
        let claims = Claims {
            subject: self.subject,
            expires_at: self.expires_at,
            not_before: self.not_before,
            issued_at: self.issued_at,
            id: self.id,
            roles: self.roles,
            scopes: self.scopes,
            key_id: key.shared_id(),
            key_thumbprint: Some(key.shared_thumbprint()),
        };
        claims.times(now, policy.leeway)?;
        if policy.issuer.as_deref().is_some_and(|want| self.issuer.as_deref() != Some(want)) {
            return Err(TokenError::IssuerRefused);
        }
        match (&policy.audience, &self.audience) {
            (None, None) => {}
            (Some(want), Some(audience)) if audience.iter().any(|one| **one == **want) => {}
            // Without a name of its own the guard cannot find itself in `aud`, and then must refuse (RFC 7519 §4.1.3):
            // otherwise a token for any service of the same issuer would open this one.
            (None, Some(_)) => return Err(TokenError::AudienceNotConfigured),
            (Some(_), _) => return Err(TokenError::AudienceRefused),
        }
        Ok(claims)
    }
}

/// 1 to `chars_max` characters, none of them a control character (C0, DEL, C1): they would write lines into logs.
fn text(value: Value<'_>, chars_max: usize) -> Option<Cow<'_, str>> {
    string(value).filter(|text| is_clean(text, chars_max))
}

fn is_clean(text: &str, chars_max: usize) -> bool {
    !text.is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

/// A `NumericDate` (RFC 7519 §2): seconds, maybe with a fraction, rounded to the nearest millisecond.
fn numeric_date(value: Value<'_>) -> Option<UnixMs> {
    let seconds = value.as_f64().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))?;
    Some(UnixMs(whole_ms(seconds)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller allows 0 to SECONDS_MAX alone: at most 2.6e14, exact in a double and in 64 bits"
)]
fn whole_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0).round() as u64
}

fn audiences(value: Value<'_>) -> Option<Vec<Cow<'_, str>>> {
    match value.kind() {
        Kind::Array if value.len() <= AUDIENCES_MAX => value.items().map(|item| text(item, CLAIM_CHARS_MAX)).collect(),
        _ => Some(vec![text(value, CLAIM_CHARS_MAX)?]),
    }
}

fn role_list(value: Value<'_>) -> Option<Box<[Box<str>]>> {
    match value.kind() {
        Kind::Array if value.len() <= ROLES_MAX => {
            value.items().map(|item| text(item, ROLE_CHARS_MAX).map(Box::from)).collect()
        }
        _ => None,
    }
}

/// Scopes are parted by one space each and made of visible ASCII without `"` and `\` (RFC 6749 §3.3). An empty string,
/// which some issuers write for "none", is none.
fn scope_list(value: Value<'_>) -> Option<Box<[Box<str>]>> {
    let scopes = string(value)?;
    if scopes.is_empty() {
        return Some(Box::default());
    }
    let scopes: Vec<&str> = scopes.split(' ').take(SCOPES_MAX.saturating_add(1)).collect();
    let good = |scope: &str| {
        (1..=SCOPE_CHARS_MAX).contains(&scope.len())
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    (scopes.len() <= SCOPES_MAX && scopes.iter().all(|scope| good(scope)))
        .then(|| scopes.into_iter().map(Box::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn check(payload: &str, policy: &TokenPolicy) -> Result<Claims, TokenError> {
        Payload::parse(payload.as_bytes(), &mut Tape::new())?.check(policy, NOW, &key())
    }

    fn key() -> Key {
        Key::parse("k", b"kid: k\nwsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap()
    }

    fn outcome(payload: &str, policy: &TokenPolicy) -> Option<TokenError> {
        check(payload, policy).err()
    }

    #[test]
    fn claims_have_types_and_sizes() {
        use TokenError as E;
        let with = |rest: &str| format!("{{\"sub\":\"ann\",\"exp\":1700000060{rest}}}");
        let sub = |sub: &str| format!("{{\"sub\":{sub},\"exp\":1700000060}}");
        let exp = |exp: &str| format!("{{\"sub\":\"ann\",\"exp\":{exp}}}");
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        for (name, payload, want) in [
            ("least", with(""), None),
            ("unknown claim", with(",\"x\":{\"y\":[1]}"), None),
            ("sub missing", "{\"exp\":1700000060}".to_owned(), Some(E::SubjectMissing)),
            ("sub null", sub("null"), Some(E::SubjectInvalid)),
            ("sub number", sub("7"), Some(E::SubjectInvalid)),
            ("sub empty", sub("\"\""), Some(E::SubjectInvalid)),
            ("sub with line feed", sub("\"ann\\nadmin\""), Some(E::SubjectInvalid)),
            ("sub with NUL", sub("\"ann\\u0000\""), Some(E::PayloadNotJson)),
            ("sub with C1 control", sub("\"ann\\u009b\""), Some(E::SubjectInvalid)),
            ("sub of 256 characters", sub(&format!("\"{}\"", "é".repeat(256))), None),
            ("sub of 257 characters", sub(&format!("\"{}\"", "a".repeat(257))), Some(E::SubjectInvalid)),
            ("sub twice", with(",\"sub\":\"bob\""), Some(E::PayloadNotJson)),
            ("sub twice by escape", with(",\"\\u0073ub\":\"bob\""), Some(E::PayloadNotJson)),
            ("exp missing", "{\"sub\":\"ann\"}".to_owned(), Some(E::ExpiryMissing)),
            ("exp string", exp("\"1700000060\""), Some(E::TimeInvalid)),
            ("exp null", exp("null"), Some(E::TimeInvalid)),
            ("exp negative", exp("-1"), Some(E::TimeInvalid)),
            ("exp huge", exp("1e300"), Some(E::TimeInvalid)),
            ("exp infinite", exp("1e400"), Some(E::PayloadNotJson)),
            ("exp in milliseconds", exp("1700000060000"), Some(E::TimeInvalid)),
            ("exp beyond 64 bits", exp("18446744073709551616"), Some(E::TimeInvalid)),
            ("exp at the year 9999", exp("253402300799"), None),
            ("exp exponent", exp("1.70000006e9"), None),
            ("nbf string", with(",\"nbf\":\"0\""), Some(E::TimeInvalid)),
            ("iat true", with(",\"iat\":true"), Some(E::TimeInvalid)),
            ("jti", with(",\"jti\":\"7f\""), None),
            ("jti number", with(",\"jti\":7"), Some(E::IdInvalid)),
            ("jti empty", with(",\"jti\":\"\""), Some(E::IdInvalid)),
            ("iss unasked", with(",\"iss\":\"joe\""), None),
            ("iss number", with(",\"iss\":1"), Some(E::IssuerRefused)),
            ("roles", with(",\"roles\":[\"a\",\"b\"]"), None),
            ("roles empty", with(",\"roles\":[]"), None),
            ("roles string", with(",\"roles\":\"admin\""), Some(E::RolesInvalid)),
            ("roles of numbers", with(",\"roles\":[1]"), Some(E::RolesInvalid)),
            ("role empty", with(",\"roles\":[\"\"]"), Some(E::RolesInvalid)),
            ("64 roles", with(&format!(",\"roles\":{}", list("\"r\"", 64))), None),
            ("65 roles", with(&format!(",\"roles\":{}", list("\"r\"", 65))), Some(E::RolesInvalid)),
            ("long role", with(&format!(",\"roles\":[\"{}\"]", "r".repeat(129))), Some(E::RolesInvalid)),
            ("scope empty", with(",\"scope\":\"\""), None),
            ("scope array", with(",\"scope\":[\"read\"]"), Some(E::ScopeInvalid)),
            ("scope with two spaces", with(",\"scope\":\"a  b\""), Some(E::ScopeInvalid)),
            ("scope with leading space", with(",\"scope\":\" a\""), Some(E::ScopeInvalid)),
            ("scope with tab", with(",\"scope\":\"a\\tb\""), Some(E::ScopeInvalid)),
            ("scope with quote", with(",\"scope\":\"a\\\"\""), Some(E::ScopeInvalid)),
            ("64 scopes", with(&format!(",\"scope\":\"{}\"", vec!["s"; 64].join(" "))), None),
            ("65 scopes", with(&format!(",\"scope\":\"{}\"", vec!["s"; 65].join(" "))), Some(E::ScopeInvalid)),
            ("payload is an array", "[]".to_owned(), Some(E::PayloadNotJson)),
        ] {
            assert_eq!(outcome(&payload, &TokenPolicy::default()), want, "{name}");
        }
    }

    #[test]
    fn times_are_exact_to_the_millisecond() {
        use TokenError as E;
        let leeway = |ms| TokenPolicy { leeway: Leeway::new(Millis(ms)).unwrap(), ..TokenPolicy::default() };
        let far = "\"exp\":1800000000";
        for (name, times, leeway_ms, want) in [
            ("exp now", "\"exp\":1700000000", 0, Some(E::Expired)),
            ("exp one ms ahead", "\"exp\":1700000000.001", 0, None),
            ("exp one ms ago", "\"exp\":1699999999.999", 0, Some(E::Expired)),
            ("exp a leeway ago", "\"exp\":1699999995", 5_000, Some(E::Expired)),
            ("exp a leeway ago less one ms", "\"exp\":1699999995.001", 5_000, None),
            ("exp zero", "\"exp\":0", 5_000, Some(E::Expired)),
            ("nbf now", &format!("{far},\"nbf\":1700000000"), 0, None),
            ("nbf one ms ahead", &format!("{far},\"nbf\":1700000000.001"), 0, Some(E::NotYetValid)),
            ("nbf a leeway ahead", &format!("{far},\"nbf\":1700000005"), 5_000, None),
            ("nbf a leeway and one ms ahead", &format!("{far},\"nbf\":1700000005.001"), 5_000, Some(E::NotYetValid)),
            ("iat now", &format!("{far},\"iat\":1700000000"), 0, None),
            ("iat a leeway ahead", &format!("{far},\"iat\":1700000005"), 5_000, None),
            ("iat beyond the leeway", &format!("{far},\"iat\":1700000005.001"), 5_000, Some(E::IssuedInFuture)),
        ] {
            let payload = format!("{{\"sub\":\"ann\",{times}}}");
            assert_eq!(outcome(&payload, &leeway(leeway_ms)), want, "{name}");
        }
    }

    #[test]
    fn the_socket_closes_when_the_handshake_would_refuse() {
        let policy = TokenPolicy { leeway: Leeway::new(Millis(3_000)).unwrap(), ..TokenPolicy::default() };
        let payload = b"{\"sub\":\"ann\",\"exp\":1700000060.5}";
        let judged = |now| Payload::parse(payload, &mut Tape::new()).unwrap().check(&policy, now, &key());
        let claims = judged(NOW).unwrap();
        let end = claims.ends_at(policy.leeway);
        assert_eq!(end, UnixMs(1_700_000_063_500));
        assert_eq!(judged(UnixMs(end.0 - 1)).err(), None);
        assert_eq!(judged(end).err(), Some(TokenError::Expired));
    }

    #[test]
    fn issuer_and_audience_are_compared_exactly() {
        use TokenError as E;
        let policy = |issuer: Option<&str>, audience: Option<&str>| TokenPolicy {
            issuer: issuer.map(Box::from),
            audience: audience.map(Box::from),
            ..TokenPolicy::default()
        };
        let iss = || policy(Some("https://id.example"), None);
        let aud = || policy(None, Some("chat"));
        for (name, claims, policy, want) in [
            ("iss same", "\"iss\":\"https://id.example\"", iss(), None),
            ("iss missing", "\"x\":1", iss(), Some(E::IssuerRefused)),
            ("iss with slash", "\"iss\":\"https://id.example/\"", iss(), Some(E::IssuerRefused)),
            ("iss array", "\"iss\":[\"https://id.example\"]", iss(), Some(E::IssuerRefused)),
            ("aud same", "\"aud\":\"chat\"", aud(), None),
            ("aud in array", "\"aud\":[\"mail\",\"chat\"]", aud(), None),
            ("aud missing", "\"x\":1", aud(), Some(E::AudienceRefused)),
            ("aud empty array", "\"aud\":[]", aud(), Some(E::AudienceRefused)),
            ("aud other", "\"aud\":[\"mail\",\"chat2\"]", aud(), Some(E::AudienceRefused)),
            ("aud other case", "\"aud\":\"Chat\"", aud(), Some(E::AudienceRefused)),
            ("aud with a number", "\"aud\":[\"chat\",1]", aud(), Some(E::AudienceRefused)),
            ("aud nested", "\"aud\":[[\"chat\"]]", aud(), Some(E::AudienceRefused)),
            ("aud null", "\"aud\":null", aud(), Some(E::AudienceRefused)),
            ("aud for others, none configured", "\"aud\":\"mail\"", policy(None, None), Some(E::AudienceNotConfigured)),
        ] {
            let payload = format!("{{\"sub\":\"ann\",\"exp\":1800000000,{claims}}}");
            assert_eq!(outcome(&payload, &policy), want, "{name}");
        }
        let many = format!("{{\"sub\":\"a\",\"exp\":1800000000,\"aud\":[{}]}}", vec!["\"chat\""; 17].join(","));
        assert_eq!(outcome(&many, &aud()), Some(E::AudienceRefused), "17 audiences");
    }

    #[test]
    fn claims_arrive_as_they_stand() {
        let payload = "{\"sub\":\"ann\",\"exp\":1700000900.25,\"nbf\":1600000000,\"iat\":1600000001,\"jti\":\"j\",\
             \"roles\":[\"editor\",\"r\\u00e9\"],\"scope\":\"read write:all\"}";
        let claims = check(payload, &TokenPolicy::default()).unwrap();
        assert_eq!(
            claims,
            Claims {
                subject: "ann".into(),
                expires_at: UnixMs(1_700_000_900_250),
                not_before: Some(UnixMs(1_600_000_000_000)),
                issued_at: Some(UnixMs(1_600_000_001_000)),
                id: Some("j".into()),
                roles: ["editor".into(), "ré".into()].into(),
                scopes: ["read".into(), "write:all".into()].into(),
                key_id: "k".into(),
                key_thumbprint: Some(key().thumbprint().into()),
            }
        );
        assert!(claims.has_role("editor") && !claims.has_role("edit"));
        assert!(claims.has_scope("write:all") && !claims.has_scope("write"));
    }
}
