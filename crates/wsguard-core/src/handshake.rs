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

use crate::control::credential::{self, Offer, Offered, Way};
use crate::control::delivery::{Claim, ResumeRequest};
use crate::control::rate::Print;
use crate::control::rate::{Mode, Prefixes};
use crate::control::session::{Seat, SessionId, Taken};
use crate::control::{host, origin};
use crate::in_force::InForce;
use crate::policy::{Context, Identity, Policy};
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
    /// A session of the same subject that has lost its seat to this one: to be woken, so that it closes.
    pub displaced: Option<SessionId>,
    pub(crate) prefixes: Prefixes,
    /// What the handshake says about resuming.
    pub(crate) resume: Option<Box<ResumeRequest>>,
    pub(crate) judged: Judged,
}

/// By what a handshake was judged, so that the connection can be judged again.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Read before everything else.
    pub(crate) epoch: u64,
    pub(crate) policy: Arc<InForce>,
    /// The place in `policy.hosts`, and the port of the header.
    pub(crate) host: (usize, Option<u16>),
    /// The place in `policy.origins`.
    pub(crate) origin: Option<usize>,
    pub(crate) way: Way,
}

impl Admission {
    /// The policy by which it was admitted.
    pub fn policy(&self) -> &Arc<InForce> {
        &self.judged.policy
    }
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
    judged: Judged,
}

/// Judges a handshake.
pub fn admit(cx: &Context, now: Now, request: &HandshakeRequest<'_>) -> Step {
    // In this order: what changes after the epoch was read is looked at again by the connection.
    let (epoch, policy) = (cx.epoch(), cx.policy());
    let prefixes = cx.limiter.prefixes_of(request.client);
    if let Err((bucket, wait)) = cx.limiter.handshake(policy.quotas(), prefixes, now.tick)
        && policy.rate.mode == Mode::Enforce
    {
        return refuse(429, Refusal::new(ControlId::HandshakeRate, ErrorCode::RateLimited, bucket).retry_after(wait));
    }
    let host = match host::inspect(&policy.hosts, request.host) {
        Ok(host) => host,
        Err(refusal) => return refuse(403, refusal),
    };
    let origin_place = match origin::inspect(&policy.origins, request.origin) {
        Ok(place) => place,
        Err(refusal) => return refuse(403, refusal),
    };
    let origin = origin_place.and_then(|place| policy.origins.get(place));
    let found = credential::find(request, policy.methods, &policy.cookie_name, policy.allow_query_token);
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
        judged: Judged { epoch, policy: Arc::clone(&policy), host, origin: origin_place, way: offer.way() },
    };
    match offer {
        Offer::FirstMessage => waiting.admit(Entry::FirstMessage),
        // A cookie that does not verify counts as absent; a good one needs a page that may use it. Who sends no Origin is
        // no page, so it learns nothing that a program with the cookie does not know.
        Offer::Cookie(token) => match cx.identify_under(&policy, now, token) {
            Ok(_) if origin.is_none() => {
                refuse(403, Refusal::new(ControlId::Origin, ErrorCode::Forbidden, "origin_missing_with_cookie"))
            }
            Ok(identity) => {
                waiting.admit(Entry::Proof { identity: Arc::new(identity), fingerprint: token::fingerprint(token) })
            }
            Err(_) if policy.methods.first_message => waiting.by(Way::FirstMessage).admit(Entry::FirstMessage),
            Err(error) => waiting.unauthenticated(error, false),
        },
        Offer::Bearer(token) | Offer::Query(token) => match cx.identify_under(&policy, now, token) {
            Ok(identity) => waiting.seated(cx, identity),
            Err(error) => waiting.unauthenticated(error, false),
        },
        Offer::Subprotocol(token) => match cx.identify_under(&policy, now, token) {
            Ok(identity) => waiting.seated(cx, identity),
            Err(error) => waiting.unauthenticated(error, true),
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
            Ok(None) => return self.bad_ticket("ticket_unknown_or_used"),
            Ok(Some(grant)) => grant,
        };
        if grant.origin != self.origin {
            return self.bad_ticket("ticket_of_another_origin");
        }
        if let Some(resume) = grant.resume {
            self.resume = Some(Box::new(resume));
        }
        match cx.identify_under(&self.judged.policy, now, &grant.token) {
            Ok(identity) => self.seated(cx, identity),
            Err(error) => self.unauthenticated(error, true),
        }
    }

    fn seated(self, cx: &Context, identity: Identity) -> Step {
        // The session that it goes on with has a seat, or takes one then: counted once.
        if claim_of(cx, &self.judged.policy, self.resume.as_deref(), &identity).is_some() {
            return self.admit(Entry::Open(Arc::new(identity), None));
        }
        match cx.take_seat(identity.print, &self.judged.policy) {
            Some(Taken { seat, displaced, .. }) => {
                let admission = self.admission(Entry::Open(Arc::new(identity), Some(seat)));
                Step::Admit(Admission { displaced, ..admission })
            }
            None if self.subprotocol => self.admit(Entry::Refused(too_many_sessions())),
            None => refuse(429, too_many_sessions().retry_after(Millis(10_000))),
        }
    }

    fn unauthenticated(self, error: TokenError, tell_browser: bool) -> Step {
        let refusal = refused_token(error);
        if tell_browser && self.subprotocol {
            return self.admit(Entry::Refused(refusal));
        }
        // Over HTTP there is one answer for every cause.
        let Refusal { control, reason, .. } = refusal;
        refuse(401, Refusal::new(control, ErrorCode::Unauthenticated, reason))
    }

    fn bad_ticket(self, reason: &'static str) -> Step {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason);
        if self.subprotocol { self.admit(Entry::Refused(refusal)) } else { refuse(401, refusal) }
    }

    fn by(mut self, way: Way) -> Self {
        self.judged.way = way;
        self
    }

    fn admit(self, entry: Entry) -> Step {
        Step::Admit(self.admission(entry))
    }

    fn admission(self, entry: Entry) -> Admission {
        Admission {
            entry,
            displaced: None,
            subprotocol: self.subprotocol,
            client: self.client,
            prefixes: self.prefixes,
            judged: self.judged,
            resume: self.resume,
        }
    }
}

/// The refusal of a token over the socket: who is revoked is told so, since asking for a fresh token and coming back
/// would be in vain.
pub(crate) fn refused_token(error: TokenError) -> Refusal {
    let code = match error {
        TokenError::Revoked(_) => ErrorCode::Forbidden,
        _ => ErrorCode::Unauthenticated,
    };
    Refusal::new(ControlId::Credential, code, error.as_str())
}

pub(crate) fn too_many_sessions() -> Refusal {
    Refusal::new(ControlId::SessionCap, ErrorCode::Forbidden, Reason::from("sessions_of_subject"))
}

/// The session that `request` asks for, where resuming is offered and its token was given to this subject.
pub(crate) fn claim_of(
    cx: &Context,
    policy: &Policy,
    request: Option<&ResumeRequest>,
    identity: &Identity,
) -> Option<Claim> {
    if policy.sessions.resume_window == Millis(0) {
        return None;
    }
    request?.claim(&cx.csrf, &identity.claims.subject)
}

impl Context {
    /// A seat for `subject`. Whoever lost one for it looks at itself at its next message, or when it is woken.
    pub(crate) fn take_seat(&self, subject: Print, policy: &Policy) -> Option<Taken> {
        let taken = self.seats.take(subject, &policy.sessions)?;
        if taken.is_displacing {
            self.advance_epoch();
        }
        Some(taken)
    }

    /// Who `token` stands for, by the policy of the moment.
    pub fn identify(&self, now: Now, token: &str) -> Result<Identity, TokenError> {
        self.identify_under(&self.policy(), now, token)
    }

    /// Who `token` stands for, by `policy`.
    pub(crate) fn identify_under(&self, policy: &Policy, now: Now, token: &str) -> Result<Identity, TokenError> {
        let fixed =
            policy.static_token.as_ref().filter(|fixed| bool::from(fixed.token.as_bytes().ct_eq(token.as_bytes())));
        let claims = match fixed {
            Some(fixed) => Claims::development(&fixed.subject, now.unix.after(Millis::from_secs(24 * 3_600))),
            None => token::verify(&policy.keys, &policy.tokens, now.unix, token)?,
        };
        if let Some(revoked) = self.revocations.refuse(&claims, None) {
            return Err(TokenError::Revoked(revoked));
        }
        Ok(Identity { is_static: fixed.is_some(), print: self.limiter.print_of(&claims.subject), claims })
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
