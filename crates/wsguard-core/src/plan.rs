//! What was found out about messages that are built alike, so that the next of them is not searched again.
//!
//! A client sends the same few kinds of messages over and over. Where the scan recalled how a text is built
//! ([`Shape`]), its envelope stands where it stood, its type is the same one where that is part of how it is built, and of
//! its schema only the lengths of strings are left to decide. Whatever does not hold is looked at as if nothing were known: a plan can only save time,
//! never let anything pass.

use std::sync::{Arc, Weak};

use crate::control::envelope::{Envelope, Places};
use crate::in_force::InForce;
use crate::json::{Document, SHAPES, Shape, Tape};
use crate::policy::MessageType;
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
    /// The plan for messages that are built like `document`.
    #[inline]
    pub(crate) fn of(&self, document: Document<'_>) -> Option<&Plan> {
        let shape = document.shape()?;
        self.0.get(shape.place())?.as_ref().filter(|plan| plan.shape == shape)
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
            if plan.is_for(policy, number) {
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
    /// Where the members of the envelope stand.
    #[inline]
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Number and type of every message of this shape, where these are certain.
    #[inline]
    pub(crate) fn message<'p>(&self, policy: &'p Arc<InForce>) -> Option<(u16, &'p MessageType)> {
        let is_certain = self.is_of_one_type && self.is_for(policy, self.number);
        let message = policy.messages().get(usize::from(self.number)).filter(|_| is_certain)?;
        Some((self.number, message))
    }

    /// Whether a message of this shape, of a type that the plan [`is_for`](Plan::is_for), fits its schema for certain.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place")]
    pub(crate) fn fits(&self, document: Document<'_>) -> bool {
        let Some(leaves) = &self.leaves else {
            return false;
        };
        for leaf in leaves {
            if !leaf.is_settled(document) {
                return false;
            }
        }
        true
    }

    /// Whether it was made from messages of type `number` of this very policy.
    #[inline]
    pub(crate) fn is_for(&self, policy: &Arc<InForce>, number: u16) -> bool {
        self.number == number && self.policy == Arc::as_ptr(policy).addr()
    }
}
