//! Takes the time that controls take, for connections that somebody watches. The core knows no clock: the driver's probe
//! does.

use crate::verdict::ControlId;

/// Told whenever a control has answered.
pub trait Probe {
    /// `control` has just answered.
    fn lap(&mut self, control: ControlId);
}

/// Watches nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    #[inline(always)]
    fn lap(&mut self, _: ControlId) {}
}
