//! The handshake: THE order of its controls.
//!
//! Rate, Host, Origin, credential, session cap. The rate bucket is charged before any signature is checked; Host and
//! Origin come before the credential, so that a foreign page cannot learn whether a cookie is good.
//!
//! The core is asked, it never acts: where a ticket must be looked up, [`admit`] answers [`Step::Redeem`], and the
//! driver brings the answer to [`Waiting::redeemed`]. A store that cannot be reached refuses.

use std::net::IpAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use wsguard_protocol::ErrorCode;

use crate::control::authorization::Permissions;
use crate::control::credential::{self, Offer, Offered};
use crate::control::delivery::{Claim, ResumeRequest};
use crate::control::rate::{Mode, Prefixes};
use crate::control::session::Seat;
use crate::control::{host, origin};
use crate::policy::{Context, Identity};
use crate::time::{Millis, Now};
use crate::token::{self, Claims, TokenError};
use crate::verdict::{ControlId, Reason, Refusal};

/// One header field of a request, as strictly as the controls need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header<'a> {
    /// Not there.
    #[default]
    Absent,
    /// There once, visible ASCII.
    One(&'a str),
    /// There more than once, or not visible ASCII.
    Invalid,
}

/// An upgrade request that RFC 6455 section 4.2.1 accepts, reduced to what the controls look at.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeRequest<'a> {
    /// Address of the client, believed: the peer's, or what a trusted proxy says.
    pub client: IpAddr,
    /// `Host`.
    pub host: Header<'a>,
    /// `Origin`.
    pub origin: Header<'a>,
    /// `Authorization`.
    pub authorization: Header<'a>,
    /// `Sec-WebSocket-Protocol`, its lines joined by commas.
    pub protocols: Header<'a>,
    /// `Cookie`.
    pub cookie: Header<'a>,
    /// The query of the request target, without `?`.
    pub query: Option<&'a str>,
}

impl HandshakeRequest<'_> {
    /// A request without any header.
    pub fn new(client: IpAddr) -> Self {
        Self {
            client,
            host: Header::Absent,
            origin: Header::Absent,
            authorization: Header::Absent,
            protocols: Header::Absent,
            cookie: Header::Absent,
            query: None,
        }
    }
}

/// A handshake that does not pass: the HTTP status, and the refusal behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// What the peer and the operator learn.
    pub refusal: Refusal,
}

/// What becomes of a handshake.
#[derive(Debug)]
#[must_use = "an ignored step is an open door"]
pub enum Step {
    /// Answer 101.
    Admit(Admission),
    /// Answer with the status.
    Refuse(HandshakeRefusal),
    /// Take the ticket with this SHA-256 out of the store, then ask [`Waiting::redeemed`].
    Redeem {
        /// The ticket's hash: the store never holds a ticket.
        ticket: [u8; 32],
        /// The handshake in the meantime.
        waiting: Waiting,
    },
}

/// A handshake that passed.
#[derive(Debug)]
pub struct Admission {
    /// In which state the connection begins.
    pub entry: Entry,
    /// Whether to select `wsguard.v1`.
    pub subprotocol: bool,
    /// The client's address.
    pub client: IpAddr,
    pub(crate) prefixes: Prefixes,
    /// What the handshake says about resuming.
    pub(crate) resume: Option<Box<ResumeRequest>>,
}

/// In which state a connection begins.
#[derive(Debug)]
pub enum Entry {
    /// Authenticated; without a seat only where the session that it goes on with has one.
    Open(Arc<Identity>, Option<Seat>),
    /// Nothing yet: the first message must be `auth` with a token.
    FirstMessage,
    /// A good cookie: the first message must prove that the page is of the same origin.
    Proof {
        /// Whose cookie it is.
        identity: Arc<Identity>,
        /// The cookie's token, hashed: the proof is bound to it.
        fingerprint: [u8; 32],
    },
    /// Refused, but told so over the socket, since a browser cannot see the status of a refused handshake.
    Refused(Refusal),
}

/// What the store knew about a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketGrant {
    /// The token it stands for.
    pub token: String,
    /// The origin that asked for it.
    pub origin: Option<String>,
    /// What was said about resuming.
    pub resume: Option<ResumeRequest>,
}

/// The store did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub struct StoreUnavailable;

/// A handshake that waits for its ticket.
#[derive(Debug)]
pub struct Waiting {
    subprotocol: bool,
    origin: Option<String>,
    client: IpAddr,
    prefixes: Prefixes,
    resume: Option<Box<ResumeRequest>>,
}

/// Judges a handshake.
pub fn admit(cx: &Context, now: Now, request: &HandshakeRequest<'_>) -> Step {
    let prefixes = cx.limiter.prefixes_of(request.client);
    if let Err((bucket, wait)) = cx.limiter.handshake(prefixes, now.tick)
        && cx.policy.rate.mode == Mode::Enforce
    {
        return refuse(429, Refusal::new(ControlId::HandshakeRate, ErrorCode::RateLimited, bucket).retry_after(wait));
    }
    if let Err(refusal) = host::inspect(&cx.policy.hosts, request.host) {
        return refuse(403, refusal);
    }
    let origin = match origin::inspect(&cx.policy.origins, request.origin) {
        Ok(origin) => origin.and_then(|index| cx.policy.origins.get(index)),
        Err(refusal) => return refuse(403, refusal),
    };
    let found = credential::find(request, cx.policy.methods, &cx.policy.cookie_name, cx.policy.allow_query_token);
    let Offered { offer, subprotocol, resume } = match found {
        Ok(offered) => offered,
        Err(refusal) => return Step::Refuse(refusal),
    };
    let waiting = Waiting {
        subprotocol,
        origin: origin.map(|origin| origin.as_str().to_owned()),
        client: request.client,
        prefixes,
        resume: resume.map(Box::new),
    };
    match offer {
        Offer::FirstMessage => waiting.admit(Entry::FirstMessage),
        // A cookie that does not verify counts as absent; a good one needs a page that may use it. Who sends no Origin is
        // no page, so it learns nothing that a program with the cookie does not know.
        Offer::Cookie(token) => match cx.identify(now, token) {
            Ok(_) if origin.is_none() => {
                refuse(403, Refusal::new(ControlId::Origin, ErrorCode::Forbidden, "origin_missing_with_cookie"))
            }
            Ok(identity) => {
                waiting.admit(Entry::Proof { identity: Arc::new(identity), fingerprint: token::fingerprint(token) })
            }
            Err(_) if cx.policy.methods.first_message => waiting.admit(Entry::FirstMessage),
            Err(error) => waiting.unauthenticated(error.as_str(), false),
        },
        Offer::Bearer(token) | Offer::Query(token) => match cx.identify(now, token) {
            Ok(identity) => waiting.seated(cx, identity),
            Err(error) => waiting.unauthenticated(error.as_str(), false),
        },
        Offer::Subprotocol(token) => match cx.identify(now, token) {
            Ok(identity) => waiting.seated(cx, identity),
            Err(error) => waiting.unauthenticated(error.as_str(), true),
        },
        Offer::Ticket(ticket) => Step::Redeem { ticket: token::fingerprint(ticket), waiting },
    }
}

fn refuse(status: u16, refusal: Refusal) -> Step {
    Step::Refuse(HandshakeRefusal { status, refusal })
}

impl Waiting {
    /// Goes on with what the store said: the grant (now used up), nothing, or that it cannot be reached.
    pub fn redeemed(mut self, cx: &Context, now: Now, reply: Result<Option<TicketGrant>, StoreUnavailable>) -> Step {
        let grant = match reply {
            Err(StoreUnavailable) => {
                let refusal = Refusal::new(ControlId::Credential, ErrorCode::Internal, "ticket_store_unavailable");
                return refuse(503, refusal.retry_after(Millis(1_000)));
            }
            Ok(None) => return self.unauthenticated("ticket_unknown_or_used", true),
            Ok(Some(grant)) => grant,
        };
        if grant.origin != self.origin {
            return self.unauthenticated("ticket_of_another_origin", true);
        }
        if let Some(resume) = grant.resume {
            self.resume = Some(Box::new(resume));
        }
        match cx.identify(now, &grant.token) {
            Ok(identity) => self.seated(cx, identity),
            Err(error) => self.unauthenticated(error.as_str(), true),
        }
    }

    fn seated(self, cx: &Context, identity: Identity) -> Step {
        match cx.seats.take(identity.print, cx.policy.sessions.per_subject) {
            Some(seat) => self.admit(Entry::Open(Arc::new(identity), Some(seat))),
            // The session that it goes on with has a seat: counted once.
            None if cx.claim(self.resume.as_deref(), &identity).is_some() => {
                self.admit(Entry::Open(Arc::new(identity), None))
            }
            None if self.subprotocol => self.admit(Entry::Refused(too_many_sessions())),
            None => refuse(429, too_many_sessions().retry_after(Millis(10_000))),
        }
    }

    fn unauthenticated(self, reason: &'static str, tell_browser: bool) -> Step {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason);
        if tell_browser && self.subprotocol { self.admit(Entry::Refused(refusal)) } else { refuse(401, refusal) }
    }

    fn admit(self, entry: Entry) -> Step {
        let Self { subprotocol, client, prefixes, resume, .. } = self;
        Step::Admit(Admission { entry, subprotocol, client, prefixes, resume })
    }
}

pub(crate) fn too_many_sessions() -> Refusal {
    Refusal::new(ControlId::SessionCap, ErrorCode::Forbidden, Reason::from("sessions_of_subject"))
}

impl Context {
    /// Who `token` stands for.
    pub fn identify(&self, now: Now, token: &str) -> Result<Identity, TokenError> {
        let claims = match &self.policy.static_token {
            Some(fixed) if bool::from(fixed.token.as_bytes().ct_eq(token.as_bytes())) => {
                Claims::development(&fixed.subject, now.unix.after(Millis::from_secs(24 * 3_600)))
            }
            _ => token::verify(&self.policy.keys, &self.policy.tokens, now.unix, token)?,
        };
        Ok(Identity {
            permissions: Permissions::of(&claims, self.policy.messages().iter().map(crate::policy::MessageType::who)),
            print: self.limiter.print_of(&claims.subject),
            ends_at: claims.ends_at(self.policy.tokens.leeway),
            claims,
        })
    }

    /// The session that `request` asks for, where resuming is offered and its token was given to this subject.
    pub(crate) fn claim(&self, request: Option<&ResumeRequest>, identity: &Identity) -> Option<Claim> {
        if self.policy.sessions.resume_window == Millis(0) {
            return None;
        }
        request?.claim(&self.csrf, &identity.claims.subject)
    }

    /// The proof that `POST /ws/session` hands to a page of the same origin, for the cookie's `token`: bound to the
    /// token and to the time, good for one to two hours.
    pub fn pre_session_proof(&self, now: Now, fingerprint: &[u8; 32]) -> token::CsrfToken {
        self.csrf.pre_session(fingerprint, pre_session_epoch(now))
    }

    /// Whether `offered` is that proof, of this epoch or the one before. Constant time.
    pub(crate) fn proof_is_good(&self, now: Now, fingerprint: &[u8; 32], offered: &str) -> bool {
        let epoch = pre_session_epoch(now);
        let this = self.csrf.pre_session(fingerprint, epoch).matches(offered);
        let last = self.csrf.pre_session(fingerprint, epoch.saturating_sub(1)).matches(offered);
        this | last
    }
}

fn pre_session_epoch(now: Now) -> u32 {
    u32::try_from(now.unix.0 / 3_600_000).unwrap_or(u32::MAX)
}
