//! Finds the credential of a handshake: five ways, one of them at most.
//!
//! Attacks: no credential (CWE-306), two credentials of which proxy and server believe different ones (CWE-436), tokens
//! in the URL, which end in logs (CWE-598), a token echoed as a subprotocol (CWE-200).
//!
//! # Specification
//! docs/protocol.md section 2; OWASP ASVS 5.0 4.4.3, 14.2.1; RFC 6750 section 2.1

use wsguard_protocol::{ErrorCode, SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX, SUBPROTOCOL_ORDERED, SUBPROTOCOL_RESUME};

use super::delivery::ResumeRequest;
use crate::handshake::{HandshakeRefusal, HandshakeRequest, Header};
use crate::verdict::{ControlId, Refusal};

/// The ways that are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five independent switches of the configuration")]
pub struct Methods {
    /// `Authorization: Bearer TOKEN`.
    pub bearer: bool,
    /// `Sec-WebSocket-Protocol: wsguard.v1, wsguard.bearer.TOKEN`.
    pub subprotocol: bool,
    /// `?ticket=T`.
    pub ticket: bool,
    /// The cookie, with an origin of the allowlist.
    pub cookie: bool,
    /// `auth` as the first message.
    pub first_message: bool,
}

impl Default for Methods {
    fn default() -> Self {
        Self { bearer: true, subprotocol: true, ticket: true, cookie: true, first_message: true }
    }
}

/// The way on which a credential came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `Authorization`.
    Bearer,
    /// `Sec-WebSocket-Protocol`.
    Subprotocol,
    /// `?ticket=`.
    Ticket,
    /// `?token=`.
    Query,
    /// The cookie.
    Cookie,
    /// `auth` as the first message.
    FirstMessage,
}

impl Methods {
    /// Whether `way` is switched on; `allow_query_token` is the switch of [`Way::Query`].
    pub fn allow(self, way: Way, allow_query_token: bool) -> bool {
        match way {
            Way::Bearer => self.bearer,
            Way::Subprotocol => self.subprotocol,
            Way::Ticket => self.ticket,
            Way::Query => allow_query_token,
            Way::Cookie => self.cookie,
            Way::FirstMessage => self.first_message,
        }
    }
}

/// What a handshake brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer<'a> {
    /// A token in `Authorization`.
    Bearer(&'a str),
    /// A token among the subprotocols.
    Subprotocol(&'a str),
    /// A ticket in the query.
    Ticket(&'a str),
    /// A token in the query, where the operator allows that.
    Query(&'a str),
    /// A token in the cookie: the one credential that a foreign page can send.
    Cookie(&'a str),
    /// Nothing: the first message must bring it.
    FirstMessage,
}

impl Offer<'_> {
    /// The way on which it came.
    pub fn way(&self) -> Way {
        match self {
            Self::Bearer(_) => Way::Bearer,
            Self::Subprotocol(_) => Way::Subprotocol,
            Self::Ticket(_) => Way::Ticket,
            Self::Query(_) => Way::Query,
            Self::Cookie(_) => Way::Cookie,
            Self::FirstMessage => Way::FirstMessage,
        }
    }
}

/// A credential, and whether the peer speaks `wsguard.v1` by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered<'a> {
    /// The credential.
    pub offer: Offer<'a>,
    /// Whether `wsguard.v1` was offered: the server selects it, and a browser can be told why it is refused.
    pub subprotocol: bool,
    /// What the subprotocols say about resuming.
    pub resume: Option<ResumeRequest>,
    /// Whether the peer asks for order and sends again what was refused for a quota.
    pub ordered: bool,
}

fn malformed(reason: &'static str) -> HandshakeRefusal {
    HandshakeRefusal { status: 400, refusal: Refusal::new(ControlId::Credential, ErrorCode::InvalidMessage, reason) }
}

fn unauthenticated(reason: &'static str) -> HandshakeRefusal {
    HandshakeRefusal { status: 401, refusal: Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason) }
}

/// Reads the credential of `request`; `cookie_name` is the cookie's, `allow_query_token` the operator's choice.
pub fn find<'a>(
    request: &HandshakeRequest<'a>,
    methods: Methods,
    cookie_name: &str,
    allow_query_token: bool,
) -> Result<Offered<'a>, HandshakeRefusal> {
    let bearer = match request.authorization {
        Header::Absent => None,
        Header::Invalid => return Err(unauthenticated("authorization_malformed")),
        Header::One(value) => Some(bearer_of(value).ok_or_else(|| unauthenticated("authorization_malformed"))?),
    };
    let Protocols { named: subprotocol, bearer: offered_token, resume, ordered } = protocols(request.protocols)?;
    let query = query(request.query)?;
    if query.token.is_some() && !allow_query_token {
        return Err(malformed("token_in_query"));
    }

    let explicit = [
        bearer.map(Offer::Bearer),
        offered_token.map(Offer::Subprotocol),
        query.ticket.map(Offer::Ticket),
        query.token.map(Offer::Query),
    ];
    let mut explicit = explicit.into_iter().flatten();
    let first = explicit.next();
    if explicit.next().is_some() {
        return Err(malformed("two_credentials"));
    }
    let offer = match first {
        Some(offer) => offer,
        None => match cookie(request.cookie, cookie_name)? {
            Some(token) if methods.cookie => Offer::Cookie(token),
            _ => Offer::FirstMessage,
        },
    };
    let on = methods.allow(offer.way(), allow_query_token);
    if on { Ok(Offered { offer, subprotocol, resume, ordered }) } else { Err(unauthenticated("method_switched_off")) }
}

/// The token of `Bearer TOKEN`; the scheme's name in any case, one space, the token's grammar (RFC 6750 section 2.1).
pub fn bearer_of(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && is_token68(token)).then_some(token)
}

fn is_token68(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    // To its end, good or not: the compiler then looks at many bytes at once.
    !body.is_empty() & body.bytes().fold(true, |good, byte| good & is_good(byte))
}

#[derive(Default)]
struct Protocols<'a> {
    /// `wsguard.v1` is among them.
    named: bool,
    bearer: Option<&'a str>,
    resume: Option<ResumeRequest>,
    ordered: bool,
}

fn protocols(header: Header<'_>) -> Result<Protocols<'_>, HandshakeRefusal> {
    let value = match header {
        Header::Absent => return Ok(Protocols::default()),
        Header::Invalid => return Err(malformed("subprotocols_malformed")),
        Header::One(value) => value,
    };
    let Protocols { mut named, bearer: mut token, mut resume, mut ordered } = Protocols::default();
    for entry in value.split(',') {
        let entry = entry.trim_matches([' ', '\t']);
        if let Some(bearer) = entry.strip_prefix(SUBPROTOCOL_BEARER_PREFIX) {
            if token.replace(bearer).is_some() {
                return Err(malformed("two_credentials"));
            }
            if !is_token68(bearer) {
                return Err(malformed("subprotocols_malformed"));
            }
        } else if let Some(rest) = entry.strip_prefix(SUBPROTOCOL_RESUME) {
            let request = ResumeRequest::from_entry(rest).map_err(|_| malformed("resume_malformed"))?;
            if resume.replace(request).is_some() {
                return Err(malformed("two_resumes"));
            }
        } else if entry == SUBPROTOCOL {
            named = true;
        } else if entry == SUBPROTOCOL_ORDERED {
            ordered = true;
        } else if entry.is_empty() {
            return Err(malformed("subprotocols_malformed"));
        }
    }
    if token.is_some() && !named {
        return Err(malformed("bearer_without_subprotocol"));
    }
    if resume.is_some() && !named {
        return Err(malformed("resume_without_subprotocol"));
    }
    if ordered && !named {
        return Err(malformed("ordered_without_subprotocol"));
    }
    Ok(Protocols { named, bearer: token, resume, ordered })
}

#[derive(Default)]
struct Query<'a> {
    ticket: Option<&'a str>,
    token: Option<&'a str>,
}

fn query(text: Option<&str>) -> Result<Query<'_>, HandshakeRefusal> {
    let mut found = Query::default();
    for pair in text.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "ticket" => &mut found.ticket,
            "token" | "access_token" => &mut found.token,
            // A name spelt with percent signs may be one of these to somebody behind us.
            _ if name.contains('%') => return Err(malformed("query_name_encoded")),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(malformed("two_credentials"));
        }
        if !is_token68(value) {
            return Err(malformed("query_credential_malformed"));
        }
    }
    Ok(found)
}

/// The value of the cookie `name`; two of that name are ambiguous and refused.
pub fn cookie<'a>(header: Header<'a>, name: &str) -> Result<Option<&'a str>, HandshakeRefusal> {
    let value = match header {
        Header::Absent => return Ok(None),
        Header::Invalid => return Err(malformed("cookies_malformed")),
        Header::One(value) => value,
    };
    let mut found = None;
    for pair in value.split(';') {
        let Some((key, token)) = pair.trim_matches([' ', '\t']).split_once('=') else {
            continue;
        };
        if key == name && found.replace(token).is_some() {
            return Err(malformed("two_cookies"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_at_most() {
        let none = HandshakeRequest::new("192.0.2.1".parse().unwrap());
        let with = |change: &dyn Fn(&mut HandshakeRequest<'static>)| {
            let mut request = none;
            change(&mut request);
            request
        };
        let one = Header::One;
        for (name, request, want) in [
            ("nothing", none, Ok(Offer::FirstMessage)),
            ("bearer", with(&|r| r.authorization = one("Bearer a.b.c")), Ok(Offer::Bearer("a.b.c"))),
            ("scheme in lower case", with(&|r| r.authorization = one("bearer a")), Ok(Offer::Bearer("a"))),
            ("basic", with(&|r| r.authorization = one("Basic YTpi")), Err(401)),
            ("bearer without token", with(&|r| r.authorization = one("Bearer ")), Err(401)),
            ("bearer with two", with(&|r| r.authorization = one("Bearer a b")), Err(401)),
            ("two headers", with(&|r| r.authorization = Header::Invalid), Err(401)),
            (
                "subprotocol",
                with(&|r| r.protocols = one("wsguard.v1, wsguard.bearer.a.b.c")),
                Ok(Offer::Subprotocol("a.b.c")),
            ),
            ("bearer entry alone", with(&|r| r.protocols = one("wsguard.bearer.a")), Err(400)),
            ("empty bearer entry", with(&|r| r.protocols = one("wsguard.v1, wsguard.bearer.")), Err(400)),
            ("two entries", with(&|r| r.protocols = one("wsguard.v1, wsguard.bearer.a, wsguard.bearer.b")), Err(400)),
            (
                "resume entry",
                with(&|r| r.protocols = one("wsguard.v1, wsguard.resume.AAAA.0")),
                Ok(Offer::FirstMessage),
            ),
            (
                "resume beside a header",
                with(&|r| {
                    r.protocols = one("wsguard.resume, wsguard.v1");
                    r.authorization = one("Bearer a");
                }),
                Ok(Offer::Bearer("a")),
            ),
            ("resume entry alone", with(&|r| r.protocols = one("wsguard.resume.AAAA.0")), Err(400)),
            (
                "resume entry without a number",
                with(&|r| r.protocols = one("wsguard.v1, wsguard.resume.AAAA")),
                Err(400),
            ),
            (
                "two resume entries",
                with(&|r| r.protocols = one("wsguard.v1, wsguard.resume, wsguard.resume")),
                Err(400),
            ),
            ("ordered", with(&|r| r.protocols = one("wsguard.ordered, wsguard.v1")), Ok(Offer::FirstMessage)),
            ("ordered alone", with(&|r| r.protocols = one("wsguard.ordered")), Err(400)),
            ("foreign protocol", with(&|r| r.protocols = one("soap")), Ok(Offer::FirstMessage)),
            ("ticket", with(&|r| r.query = Some("x=1&ticket=abc")), Ok(Offer::Ticket("abc"))),
            ("two tickets", with(&|r| r.query = Some("ticket=a&ticket=b")), Err(400)),
            ("encoded name", with(&|r| r.query = Some("%74icket=a")), Err(400)),
            ("token in query", with(&|r| r.query = Some("token=a")), Err(400)),
            ("access token in query", with(&|r| r.query = Some("access_token=a")), Err(400)),
            (
                "header and ticket",
                with(&|r| {
                    r.authorization = one("Bearer a");
                    r.query = Some("ticket=a");
                }),
                Err(400),
            ),
            ("cookie", with(&|r| r.cookie = one("a=b; wsguard=t; c=d")), Ok(Offer::Cookie("t"))),
            ("two cookies", with(&|r| r.cookie = one("wsguard=t; wsguard=u")), Err(400)),
            ("other cookies", with(&|r| r.cookie = one("xwsguard=t")), Ok(Offer::FirstMessage)),
            (
                "explicit beats cookie",
                with(&|r| {
                    r.cookie = one("wsguard=t");
                    r.authorization = one("Bearer a");
                }),
                Ok(Offer::Bearer("a")),
            ),
        ] {
            let got = find(&request, Methods::default(), "wsguard", false);
            assert_eq!(got.map(|offered| offered.offer).map_err(|refusal| refusal.status), want, "{name}");
        }
    }

    #[test]
    fn a_method_can_be_switched_off() {
        let mut request = HandshakeRequest::new("192.0.2.1".parse().unwrap());
        let methods = Methods { first_message: false, bearer: false, ..Methods::default() };
        assert_eq!(find(&request, methods, "wsguard", false).unwrap_err().status, 401);
        request.authorization = Header::One("Bearer a");
        assert_eq!(find(&request, methods, "wsguard", false).unwrap_err().status, 401);
    }
}
