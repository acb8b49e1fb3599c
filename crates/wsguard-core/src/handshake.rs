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
use crate::control::penalty::{Payer, Weight};
use crate::control::rate::Prefixes;
use crate::control::rate::Print;
use crate::control::session::{Seat, SessionId, SessionPolicy, Taken};
use crate::control::{host, origin};
use crate::fault::{self, Fault};
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
    /// Whether the peer asks for order and sends again what was refused for a quota.
    pub(crate) ordered: bool,
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
    ordered: bool,
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
    let Gate { prefixes, host, origin: origin_place } =
        match gate(cx, &policy, now, request.client, request.host, request.origin) {
            Ok(gate) => gate,
            Err(refusal) => return Step::Refuse(refusal),
        };
    let origin = origin_place.and_then(|place| policy.origins.get(place));
    let found = credential::find(request, policy.methods, &policy.cookie_name, policy.allow_query_token);
    let Offered { offer, subprotocol, resume, ordered } = match found {
        Ok(offered) => offered,
        Err(refusal) => {
            cx.charge_prefix(&policy, now, request.client, &refusal.refusal);
            return Step::Refuse(refusal);
        }
    };
    let waiting = Waiting {
        subprotocol,
        ordered,
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
            Ok(_) if origin.is_none() && !fault::is_on(Fault::CookieWithoutOrigin) => {
                refuse(403, Refusal::new(ControlId::Origin, ErrorCode::Forbidden, "origin_missing_with_cookie"))
            }
            Ok(identity) if cx.kept_out(&identity, now).is_some() => waiting.kept_out(cx, now, &identity, false),
            Ok(identity) => {
                waiting.admit(Entry::Proof { identity: Arc::new(identity), fingerprint: token::fingerprint(token) })
            }
            Err(_) if policy.methods.first_message => waiting.by(Way::FirstMessage).admit(Entry::FirstMessage),
            Err(error) => waiting.unauthenticated(cx, now, error, false),
        },
        Offer::Bearer(token) | Offer::Query(token) => match cx.identify_under(&policy, now, token) {
            Ok(identity) => waiting.seated(cx, now, identity, false),
            Err(error) => waiting.unauthenticated(cx, now, error, false),
        },
        Offer::Subprotocol(token) => match cx.identify_under(&policy, now, token) {
            Ok(identity) => waiting.seated(cx, now, identity, true),
            Err(error) => waiting.unauthenticated(cx, now, error, true),
        },
        Offer::Ticket(ticket) => Step::Redeem { ticket: token::fingerprint(ticket), waiting },
    }
}

fn refuse(status: u16, refusal: Refusal) -> Step {
    Step::Refuse(HandshakeRefusal { status, refusal })
}

/// What is known of a request that passed [`gate`].
#[derive(Debug)]
pub struct Gate {
    /// The place of the listed origin that asks in `policy.origins`; `None` where the request names none.
    pub origin: Option<usize>,
    pub(crate) host: (usize, Option<u16>),
    pub(crate) prefixes: Prefixes,
}

/// The controls before any credential: rate, Host, Origin, and whether the address is kept out.
///
/// Every route that reads a credential passes it. A request with a foreign Host or Origin is charged to a bucket of its
/// own and to nothing else: any web page can send such from a visitor's address, and must use up neither that visitor's
/// handshakes nor its standing.
///
/// # Errors
/// 403 for Host and Origin, 429 with the time to wait for the rest.
pub fn gate(
    cx: &Context,
    policy: &InForce,
    now: Now,
    client: IpAddr,
    host: Header<'_>,
    origin: Header<'_>,
) -> Result<Gate, HandshakeRefusal> {
    let prefixes = cx.limiter.prefixes_of(client);
    let own = host::inspect(&policy.hosts, host)
        .and_then(|host| origin::inspect(&policy.origins, origin).map(|origin| (host, origin)));
    let charged = match own {
        Ok(_) => cx.limiter.handshake(policy.quotas(), prefixes, now.tick),
        Err(_) => cx.limiter.foreign(policy.quotas(), prefixes, now.tick),
    };
    if let Err((bucket, wait)) = charged {
        if policy.shadows(ControlId::HandshakeRate) {
            cx.shadow.count(ControlId::HandshakeRate, bucket);
        } else {
            if bucket == "handshakes_of_prefix" {
                let weight = Weight::of_excess(&policy.rate.handshakes, 1);
                let payer = Payer::Prefix(prefixes.fine, client);
                let _ = cx.penalties.offend(&policy.penalty, now, payer, None, weight, ControlId::HandshakeRate);
            }
            let refusal = Refusal::new(ControlId::HandshakeRate, ErrorCode::RateLimited, bucket).retry_after(wait);
            return Err(HandshakeRefusal { status: 429, refusal });
        }
    }
    let (host, origin) = own.map_err(|refusal| HandshakeRefusal { status: 403, refusal })?;
    if let Some(left) = cx.penalties.banned(prefixes.fine, now.tick) {
        return Err(HandshakeRefusal { status: 429, refusal: kept_out("prefix_kept_out", left) });
    }
    Ok(Gate { origin, host, prefixes })
}

pub(crate) fn kept_out(reason: &'static str, left: Millis) -> Refusal {
    Refusal::new(ControlId::Penalty, ErrorCode::RateLimited, reason).retry_after(left)
}

impl Waiting {
    /// Goes on with what the store said: the grant (now used up), nothing, or that it cannot be reached.
    pub fn redeemed(mut self, cx: &Context, now: Now, reply: Result<Option<TicketGrant>, StoreUnavailable>) -> Step {
        let grant = match reply {
            Err(StoreUnavailable) => {
                let refusal = Refusal::new(ControlId::Credential, ErrorCode::Internal, "ticket_store_unavailable");
                return refuse(503, refusal.retry_after(Millis(1_000)));
            }
            Ok(None) => return self.bad_ticket(cx, now, "ticket_unknown_or_used"),
            Ok(Some(grant)) => grant,
        };
        if grant.origin != self.origin {
            return self.bad_ticket(cx, now, "ticket_of_another_origin");
        }
        if let Some(resume) = grant.resume {
            self.resume = Some(Box::new(resume));
        }
        match cx.identify_under(&self.judged.policy, now, &grant.token) {
            Ok(identity) => self.seated(cx, now, identity, true),
            Err(error) => self.unauthenticated(cx, now, error, true),
        }
    }

    fn seated(self, cx: &Context, now: Now, identity: Identity, tell_browser: bool) -> Step {
        if cx.kept_out(&identity, now).is_some() {
            return self.kept_out(cx, now, &identity, tell_browser);
        }
        // The session that it goes on with has a seat, or takes one then: counted once.
        if claim_of(cx, &self.judged.policy, self.resume.as_deref(), &identity).is_some() {
            return self.admit(Entry::Open(Arc::new(identity), None));
        }
        if let Some(Taken { seat, displaced, .. }) = cx.take_seat(identity.print, &self.judged.policy) {
            let admission = self.admission(Entry::Open(Arc::new(identity), Some(seat)));
            return Step::Admit(Admission { displaced, ..admission });
        }
        cx.charge_subject(&self.judged.policy, now, &identity, ControlId::SessionCap);
        if self.subprotocol {
            self.admit(Entry::Refused(too_many_sessions()))
        } else {
            refuse(429, too_many_sessions().retry_after(Millis(10_000)))
        }
    }

    /// Refuses an identity that is kept out: 429, or over the socket where a browser could not see that.
    fn kept_out(self, cx: &Context, now: Now, identity: &Identity, tell_browser: bool) -> Step {
        let left = cx.kept_out(identity, now).unwrap_or(Millis(1));
        let refusal = kept_out("subject_kept_out", left);
        if tell_browser && self.subprotocol { self.admit(Entry::Refused(refusal)) } else { refuse(429, refusal) }
    }

    fn unauthenticated(self, cx: &Context, now: Now, error: TokenError, tell_browser: bool) -> Step {
        let refusal = refused_token(error);
        cx.charge_prefix(&self.judged.policy, now, self.client, &refusal);
        if tell_browser && self.subprotocol {
            return self.admit(Entry::Refused(refusal));
        }
        // Over HTTP there is one answer for every cause.
        let Refusal { control, reason, .. } = refusal;
        refuse(401, Refusal::new(control, ErrorCode::Unauthenticated, reason))
    }

    fn bad_ticket(self, cx: &Context, now: Now, reason: &'static str) -> Step {
        let refusal = Refusal::new(ControlId::Credential, ErrorCode::Unauthenticated, reason);
        cx.charge_prefix(&self.judged.policy, now, self.client, &refusal);
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
            ordered: self.ordered,
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
    /// How long `identity` stays out; `None` when it may come in.
    pub(crate) fn kept_out(&self, identity: &Identity, now: Now) -> Option<Millis> {
        self.penalties.banned(identity.print, now.tick)
    }

    /// Charges a refusal before any verified credential to the address prefix.
    pub fn charge_prefix(&self, policy: &Policy, now: Now, client: IpAddr, refusal: &Refusal) {
        let prefixes = self.limiter.prefixes_of(client);
        if refusal.control == ControlId::Credential {
            self.anomalies.credential_refused(now.tick, prefixes);
        }
        let payer = Payer::Prefix(prefixes.fine, client);
        let weight = Weight::of(refusal.control);
        let _ = self.penalties.offend(&policy.penalty, now, payer, None, weight, refusal.control);
    }

    /// Charges a refusal of a handshake to the verified identity that it brought.
    pub(crate) fn charge_subject(&self, policy: &Policy, now: Now, identity: &Identity, control: ControlId) {
        let payer = Payer::Subject(identity.print, &identity.claims.subject);
        let _ = self.penalties.offend(&policy.penalty, now, payer, None, Weight::of(control), control);
    }

    /// A seat for `subject`. Whoever lost one for it looks at itself at its next message, or when it is woken.
    pub(crate) fn take_seat(&self, subject: Print, policy: &Policy) -> Option<Taken> {
        let taken = match self.seats.take(subject, &policy.sessions) {
            Some(taken) => taken,
            None if policy.shadows(ControlId::SessionCap) => {
                self.shadow.count(ControlId::SessionCap, "sessions_of_subject");
                self.seats.take(subject, &SessionPolicy { per_subject: u32::MAX, ..policy.sessions.clone() })?
            }
            None => return None,
        };
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
            Some(fixed) => Arc::new(Claims::development(&fixed.subject, now.unix.after(Millis::from_secs(24 * 3_600)))),
            None => self.trust.verify(&policy.tokens, now.unix, token)?,
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
    pub(crate) fn proof_is_good(&self, now: Now, fingerprint: &[u8; 32], offered: &[u8]) -> bool {
        let epoch = pre_session_epoch(now);
        let this = self.csrf.pre_session(fingerprint, epoch).matches(offered);
        let last = self.csrf.pre_session(fingerprint, epoch.saturating_sub(1)).matches(offered);
        this | last | fault::is_on(Fault::ProofUnchecked)
    }
}

fn pre_session_epoch(now: Now) -> u32 {
    u32::try_from(now.unix.0 / 3_600_000).unwrap_or(u32::MAX)
}
