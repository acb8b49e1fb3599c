//! What was found out about messages that are built alike, so that the next of them is not searched again.
//!
//! A client sends the same few kinds of messages over and over. Where the scan recalled how a text is built
//! ([`Shape`]), its envelope stands where it stood, its type is the same one where that is part of how it is built, and of
//! its schema only the lengths of strings are left to decide. Whatever does not hold is looked at as if nothing were known: a plan can only save time,
//! never let anything pass.

use std::sync::{Arc, Weak};

use crate::control::envelope::{self, Envelope, Places};
use crate::in_force::InForce;
use crate::json::{Document, SHAPES, Shape, Tape};
use crate::schema::Leaf;

/// Messages of a shape that another plan would have fitted, until the plan is made anew for them.
const MISSES_MAX: u8 = 3;

/// What a thread reads messages with, one after another.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) tape: Tape,
    pub(crate) plans: Plans,
}

/// A plan for each shape that the tape remembers.
#[derive(Debug, Default)]
pub(crate) struct Plans([Option<Plan>; SHAPES]);

/// For messages of one shape and type under one policy.
#[derive(Debug)]
pub(crate) struct Plan {
    shape: Shape,
    /// Where the policy lies.
    policy: usize,
    /// Weak: a policy that is no longer in force is not kept, and none that comes later has its address.
    _holds_address: Weak<InForce>,
    number: u16,
    /// The type is part of how the text is built: every message of this shape has it.
    is_of_one_type: bool,
    places: Places,
    /// `None`: more decides than the lengths of strings.
    leaves: Option<Box<[Leaf]>>,
    misses: u8,
}

impl Plans {
    /// What is known of `document`, judged by `policy`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place, which takes apart what it returns")]
    pub(crate) fn known<'k, 't>(&'k self, document: Document<'t>, policy: &Arc<InForce>) -> Known<'k, 't> {
        let plan =
            document.shape().and_then(|shape| self.0.get(shape.place())?.as_ref().filter(|plan| plan.shape == shape));
        let judged = plan.filter(|plan| plan.is_of(policy));
        let number = judged.filter(|plan| plan.is_of_one_type).map(|plan| plan.number);
        Known { document, plan, judged, number }
    }

    /// Plans for messages like this one, which is of type `number` and has passed its schema.
    pub(crate) fn learn(&mut self, policy: &Arc<InForce>, number: u16, document: Document<'_>, envelope: Envelope<'_>) {
        let Some(shape) = document.shape() else {
            return;
        };
        let Some(slot) = self.0.get_mut(shape.place()) else {
            return;
        };
        if let Some(plan) = slot.as_mut().filter(|plan| plan.shape == shape) {
            if plan.number == number && plan.is_of(policy) {
                return;
            }
            plan.misses = plan.misses.saturating_add(1);
            if plan.misses < MISSES_MAX {
                return;
            }
        }
        let leaves = policy
            .messages()
            .get(usize::from(number))
            .zip(envelope.payload())
            .and_then(|(message, payload)| message.schema().leaves(payload));
        *slot = Places::of(document).map(|places| Plan {
            shape,
            policy: Arc::as_ptr(policy).addr(),
            _holds_address: Arc::downgrade(policy),
            number,
            is_of_one_type: document.is_fixed(places.kind()),
            places,
            leaves,
            misses: 0,
        });
    }
}

impl Plan {
    /// Whether it was made from messages that this very policy judged.
    #[inline]
    fn is_of(&self, policy: &Arc<InForce>) -> bool {
        self.policy == Arc::as_ptr(policy).addr()
    }
}

/// What is known of a message before it is looked at: all of it, some of it, or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'k, 't> {
    document: Document<'t>,
    /// Of messages that are built like this one.
    plan: Option<&'k Plan>,
    /// The same, where this policy judged those messages.
    judged: Option<&'k Plan>,
    /// The number of its type, where that is certain.
    pub(crate) number: Option<u16>,
}

impl<'t> Known<'_, 't> {
    /// Its envelope, where it is known where that stands.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place, which takes apart what it returns")]
    pub(crate) fn envelope(self) -> Option<Envelope<'t>> {
        envelope::read_at(self.document, &self.plan?.places, self.number.is_some())
    }

    /// Whether it fits the schema of type `number`, which is its own, for certain.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place")]
    pub(crate) fn fits(self, number: u16) -> bool {
        let Some(leaves) = self.judged.filter(|plan| plan.number == number).and_then(|plan| plan.leaves.as_deref())
        else {
            return false;
        };
        for leaf in leaves {
            if !leaf.is_settled(self.document) {
                return false;
            }
        }
        true
    }
}
