//! The policy in force: what connections hold while the next one is already in place.
//!
//! Attack: a decision that outlives its reason (CWE-613, CWE-367): a socket that stays open after its token was revoked,
//! its role taken away or the policy tightened. Whatever may change a verdict on an open socket is published first and
//! then moves the one epoch of the [`Context`](crate::policy::Context). A connection remembers the epoch that it last
//! saw and the policy that it is judged by; on each message it compares the epoch, which is one load, and only where it
//! moved does it look at anything again. So a message is judged by one policy from its first byte to its last, and the
//! number of a message type is never looked up in a table of another policy.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::control::rate::Quotas;
use crate::policy::Policy;

/// A policy, and the quotas that were computed from it.
#[derive(Debug)]
pub struct InForce {
    policy: Policy,
    pub(crate) quotas: Quotas,
}

impl InForce {
    /// `policy` with its quotas.
    pub fn new(policy: Policy) -> Self {
        Self { quotas: Quotas::new(policy.rate.clone()), policy }
    }

    /// The quotas.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }
}

impl Deref for InForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

/// The policy of the moment, and the epoch: how often something changed that open connections must look at.
#[derive(Debug)]
pub(crate) struct Moment {
    policy: ArcSwap<InForce>,
    epoch: AtomicU64,
}

impl Moment {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy: ArcSwap::from_pointee(InForce::new(policy)), epoch: AtomicU64::new(0) }
    }

    pub(crate) fn policy(&self) -> Arc<InForce> {
        self.policy.load_full()
    }

    /// INVARIANT: who reads an epoch and afterwards what it stands for misses nothing that was published before it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn replace(&self, policy: Arc<InForce>) -> Arc<InForce> {
        let old = self.policy.swap(policy);
        self.advance();
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::KeyRing;

    #[test]
    fn who_sees_the_new_epoch_sees_the_new_policy() {
        let moment = Moment::new(Policy::new(KeyRing::default()));
        let (epoch, first) = (moment.epoch(), moment.policy());
        let old = moment.replace(Arc::new(InForce::new(Policy::new(KeyRing::default()))));
        assert!(Arc::ptr_eq(&first, &old), "whoever holds the old one keeps it");
        assert!(moment.epoch() > epoch);
        assert!(!Arc::ptr_eq(&first, &moment.policy()));
    }
}
