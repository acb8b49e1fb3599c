//! `wsguard setup`: secures a project. It looks ([`detect`]), decides ([`plan`]), shows ([`diff`]), does ([`apply`],
//! [`install`]) and looks at what it did ([`verify`]). Until the last step is good, everything can be taken back.

pub(crate) mod apply;
pub(crate) mod child;
pub(crate) mod detect;
pub(crate) mod diff;
mod edit;
pub(crate) mod install;
pub(crate) mod interrupt;
pub(crate) mod plan;
mod template;
pub(crate) mod verify;
