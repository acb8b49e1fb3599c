//! Deliberate faults, by which the simulation shows that its checkers work.
//!
//! Only a build with `--cfg wsguard_simulation` has them, and such a build is refused where debug assertions are off, so that
//! none can be shipped. Everywhere else [`is_on`] is the constant `false`, and what hangs on it is compiled away.
//! `simulation/src/checker.rs` says which checker finds which.

#[cfg(all(wsguard_simulation, not(debug_assertions)))]
compile_error!("a guard with seeded randomness and deliberate faults is for `simulation/run.sh` alone");

/// Something that the guard can be made to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A token's signature counts as good whatever it is.
    SignatureUnchecked,
    /// An open session does not end with its token.
    TokenNeverEnds,
    /// A message without the right CSRF token passes.
    CsrfUnchecked,
    /// Whoever is authenticated may send every type.
    RolesIgnored,
    /// A claim to a session is not bound to its subject.
    ClaimOfAnybody,
    /// The id of a handled message is not remembered.
    IdForgotten,
    /// A replay leaves out its first frame.
    ReplaySkips,
    /// A replay sends one frame twice.
    ReplayRepeats,
    /// Buckets of messages give twice what the quota says.
    QuotaDoubled,
    /// Buckets of handshakes have no bottom.
    HandshakesUncounted,
    /// A type's own quota is not charged.
    TypeQuotaUncharged,
    /// Some refusals are not recorded.
    RecordLost,
    /// Some refusals are recorded twice.
    RecordTwice,
    /// A revocation reaches handshakes alone.
    RevocationForHandshakesAlone,
    /// A revocation does not wake silent sessions.
    RevocationWakesNobody,
    /// A revocation is in force but not kept.
    RevocationNotKept,
    /// The send queue has no limit.
    QueueUnbounded,
    /// What is kept to be replayed has no limit.
    ReplayUnbounded,
    /// Sessions that wait are never dropped.
    DetachedUnbounded,
    /// A ticket can be used again.
    TicketTwice,
    /// A verdict depends on what happened in the process before.
    VerdictOfThePast,
    /// The scan lets keys such as `__proto__` pass.
    KeysUnchecked,
    /// A page of any origin counts as one of the list.
    OriginUnchecked,
    /// A cookie is good without an `Origin`, too.
    CookieWithoutOrigin,
    /// A cookie is good whatever is shown as its proof.
    ProofUnchecked,
    /// The proof of one cookie is good for every other.
    ProofOfAnyCookie,
    /// A revocation does not reach who has shown a cookie and not its proof yet.
    RevocationSparesProof,
    /// The CSRF token of one session is good in every other.
    CsrfOfAnySession,
    /// The id of a message that is answered later is not remembered.
    DeferredForgotten,
    /// A message that comes again while the application has it is acknowledged at once.
    DeferredAcknowledged,
    /// What the application answers while the session waits for its client is lost.
    AnswerToWaitingLost,
    /// A message that was refused later counts as under way for good.
    RefusedStaysUnderWay,
    /// What is refused while the session waits for its client, or when it is over, is not recorded.
    RefusalToGoneUnrecorded,
    /// A message passes before anybody is authenticated.
    HandledUnauthenticated,
    /// The clock of the issuer may not differ from the server's at all.
    LeewayIgnored,
    /// A token from the future is good.
    FutureUnchecked,
    /// The bytes of a session's messages are not charged.
    BytesUncharged,
    /// A subject has as many sessions as it likes.
    SessionsUncounted,
    /// Messages are not charged to the server.
    ServerUncharged,
    /// Messages are not charged to their address.
    PrefixMessagesUncharged,
    /// The bytes of messages are not charged to their address.
    PrefixBytesUncharged,
    /// Messages are not charged to the prefix around their address.
    WideMessagesUncharged,
    /// The bytes of messages are not charged to the prefix around their address.
    WideBytesUncharged,
    /// The prefix around an address has as many handshakes as it likes.
    WideHandshakesUncounted,
    /// Handshakes with a foreign Origin have no quota.
    ForeignUncounted,
    /// As many sessions of one subject wait as there is room for.
    DetachedOfSubjectUncounted,
    /// Whoever has no slot in a full table of prefixes passes.
    FullTableOpen,
    /// Whoever has no slot in a full table of types passes.
    FullTypesOpen,
    /// Whoever has no slot in a full table of foreign handshakes passes.
    FullForeignOpen,
    /// A slot is not free again when its bucket has refilled.
    SlotNeverFreed,
    /// What a full table has no slot for is kept elsewhere, without end.
    TableUnbounded,
    /// A ban is listed and told, and keeps nobody out.
    BanWithoutEffect,
    /// In a full table of bans the longest makes room for the next.
    BanPushedOut,
    /// Bans in force have no limit.
    BansUnbounded,
    /// Tickets that wait have no limit.
    TicketsUnbounded,
    /// The index of revocations has no limit.
    RevocationsUnbounded,
    /// A full index of revocations forgets, and the cut-off does not rise for it.
    CutOffUnmoved,
    /// Something panics that is not the application.
    Panic,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 58] = [
        Self::SignatureUnchecked,
        Self::TokenNeverEnds,
        Self::CsrfUnchecked,
        Self::RolesIgnored,
        Self::ClaimOfAnybody,
        Self::IdForgotten,
        Self::ReplaySkips,
        Self::ReplayRepeats,
        Self::QuotaDoubled,
        Self::HandshakesUncounted,
        Self::TypeQuotaUncharged,
        Self::RecordLost,
        Self::RecordTwice,
        Self::RevocationForHandshakesAlone,
        Self::RevocationWakesNobody,
        Self::RevocationNotKept,
        Self::QueueUnbounded,
        Self::ReplayUnbounded,
        Self::DetachedUnbounded,
        Self::TicketTwice,
        Self::VerdictOfThePast,
        Self::KeysUnchecked,
        Self::OriginUnchecked,
        Self::CookieWithoutOrigin,
        Self::ProofUnchecked,
        Self::ProofOfAnyCookie,
        Self::RevocationSparesProof,
        Self::CsrfOfAnySession,
        Self::DeferredForgotten,
        Self::DeferredAcknowledged,
        Self::AnswerToWaitingLost,
        Self::RefusedStaysUnderWay,
        Self::RefusalToGoneUnrecorded,
        Self::HandledUnauthenticated,
        Self::LeewayIgnored,
        Self::FutureUnchecked,
        Self::BytesUncharged,
        Self::SessionsUncounted,
        Self::ServerUncharged,
        Self::PrefixMessagesUncharged,
        Self::PrefixBytesUncharged,
        Self::WideMessagesUncharged,
        Self::WideBytesUncharged,
        Self::WideHandshakesUncounted,
        Self::ForeignUncounted,
        Self::DetachedOfSubjectUncounted,
        Self::FullTableOpen,
        Self::FullTypesOpen,
        Self::FullForeignOpen,
        Self::SlotNeverFreed,
        Self::TableUnbounded,
        Self::BanWithoutEffect,
        Self::BanPushedOut,
        Self::BansUnbounded,
        Self::TicketsUnbounded,
        Self::RevocationsUnbounded,
        Self::CutOffUnmoved,
        Self::Panic,
    ];
}

/// Whether `fault` is to be committed.
#[cfg(not(wsguard_simulation))]
#[inline]
pub const fn is_on(_: Fault) -> bool {
    false
}

#[cfg(wsguard_simulation)]
thread_local! {
    static ON: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
    static WASTE: std::cell::RefCell<Vec<Box<[u8]>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Whether `fault` is to be committed, by this thread's world.
#[cfg(wsguard_simulation)]
pub fn is_on(fault: Fault) -> bool {
    ON.get() == Some(fault)
}

/// From now on this thread's world has `fault`, or none.
#[cfg(wsguard_simulation)]
pub fn inject(fault: Option<Fault>) {
    ON.set(fault);
    WASTE.take();
}

/// Holds `bytes` for as long as this thread's world goes on.
#[cfg(not(wsguard_simulation))]
#[inline]
pub const fn waste(_: usize) {}

/// Holds `bytes` for as long as this thread's world goes on.
#[cfg(wsguard_simulation)]
pub fn waste(bytes: usize) {
    WASTE.with_borrow_mut(|waste| waste.push(vec![0; bytes].into()));
}

/// A bound: `shipped`, or in a simulation `simulated`, which the peers of a world reach.
pub const fn bound(shipped: usize, simulated: usize) -> usize {
    if cfg!(wsguard_simulation) { simulated } else { shipped }
}

/// What [`Fault::VerdictOfThePast`] asks: every 40th time in the life of the process, whatever the world.
#[cfg(not(wsguard_simulation))]
#[inline]
pub const fn has_a_bad_day() -> bool {
    false
}

/// What [`Fault::VerdictOfThePast`] asks: every 40th time in the life of the process, whatever the world.
#[cfg(wsguard_simulation)]
pub fn has_a_bad_day() -> bool {
    static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 40 == 39
}
