//! Which message types and rooms an identity may use: by role and scope, deny by default.
//!
//! Attack: functions that a peer reaches because nobody forbade them (CWE-862). Rules are compiled once; when an identity
//! comes, it is turned into a set of bits, one a type, so that a message costs one look.
//!
//! # Specification
//! OWASP ASVS 5.0 8.2.1, 8.2.2

use crate::fault::{self, Fault};
use crate::token::Claims;

/// Message types that one policy may have: one bit each in a set that fits into two registers.
pub const TYPES_MAX: usize = 128;

/// Who may do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    #[default]
    Nobody,
    /// Everybody who is authenticated.
    Authenticated,
    /// Whoever has one of the roles or one of the scopes.
    Any {
        /// Roles, compared exactly.
        roles: Vec<Box<str>>,
        /// Scopes, compared exactly.
        scopes: Vec<Box<str>>,
    },
}

impl Access {
    /// Whether `claims` have it.
    pub fn admits(&self, claims: &Claims) -> bool {
        match self {
            Self::Nobody => false,
            Self::Authenticated => true,
            Self::Any { roles, scopes } => {
                roles.iter().any(|role| claims.has_role(role)) || scopes.iter().any(|scope| claims.has_scope(scope))
            }
        }
    }
}

/// A rule for rooms: the first that covers a name decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRule {
    /// A room's name, or the beginning of names where it ends in `*`.
    pub pattern: Box<str>,
    /// Who may enter.
    pub access: Access,
}

impl RoomRule {
    fn covers(&self, room: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(beginning) => room.starts_with(beginning),
            None => *self.pattern == *room,
        }
    }
}

/// Whether `claims` may enter `room`; a room that no rule covers is closed.
pub fn may_enter(rules: &[RoomRule], claims: &Claims, room: &str) -> bool {
    rules.iter().find(|rule| rule.covers(room)).is_some_and(|rule| rule.access.admits(claims))
}

/// The message types that an identity may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u128);

impl Permissions {
    /// What `claims` may send, given who may send each type, in the order of the types' numbers.
    pub fn of<'a>(claims: &Claims, access: impl Iterator<Item = &'a Access>) -> Self {
        let mut bits = 0;
        for (number, access) in access.take(TYPES_MAX).enumerate() {
            if access.admits(claims) {
                bits |= 1_u128 << number;
            }
        }
        Self(bits)
    }

    /// Whether type `number` is among them.
    pub fn allow(self, number: u16) -> bool {
        usize::from(number) < TYPES_MAX && (self.0 & (1_u128 << number) != 0 || fault::is_on(Fault::RolesIgnored))
    }
}
