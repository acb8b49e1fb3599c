//! Keeps what was on its way when a quota ended from overtaking what was refused for it.
//!
//! A client writes several messages before it hears that one was refused. A quota that has room again for a later one
//! would let that pass first, and the one that is sent again would come behind it. For a peer that asked for order
//! (`wsguard.ordered`), and so sends again what was refused, the later ones are refused as well, until the peer goes
//! back: a message whose `id` is among those refused shows that it has heard.
//!
//! Cost: two numbers, nothing that a peer could make grow.
//!
//! # Specification
//! docs/protocol.md section 3, Order

/// The order of one connection's messages.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The first and the last id that were refused since the peer last went back.
    refused: Option<(u64, u64)>,
}

impl Order {
    /// Whether a message may pass. One that goes back ends the wait of those behind it; one from before it changes nothing.
    pub(crate) fn admits(&mut self, id: u64) -> bool {
        match self.refused {
            Some((_, last)) if id > last => false,
            Some((first, _)) if id >= first => {
                self.refused = None;
                true
            }
            _ => true,
        }
    }

    /// A message was refused and will be sent again.
    pub(crate) fn refuse(&mut self, id: u64) {
        self.refused = match self.refused {
            Some((first, last)) if id > last => Some((first, id)),
            _ => Some((id, id)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of messages: `+` has room in the quota, `-` has none. Returns those that pass.
    fn passing(steps: &str) -> Vec<u64> {
        let mut order = Order::default();
        let mut passed = Vec::new();
        for step in steps.split(' ') {
            let id = step.trim_start_matches(['+', '-']).parse().unwrap();
            if step.starts_with('+') && order.admits(id) {
                passed.push(id);
            } else {
                order.refuse(id);
            }
        }
        passed
    }

    #[test]
    fn what_passes_and_in_which_order() {
        for (name, steps, want) in [
            ("within the quota", "+1 +2 +3", &[1, 2, 3][..]),
            ("nothing overtakes", "+1 -2 +3 +4 +2 +3 +4", &[1, 2, 3, 4]),
            ("refused again", "-1 +2 -1 +2 +1 +2", &[1, 2]),
            ("several refused", "-1 -2 +3 +1 +2 +3", &[1, 2, 3]),
            ("the first was given up", "-1 -2 +3 +2 +3", &[2, 3]),
            ("all were given up", "-1 +2 +3 +4 +4 +5", &[4, 5]),
            ("one from before", "-5 +3 +6 +5 +6", &[3, 5, 6]),
            ("two waits", "-1 +2 +1 -2 +3 +2 +3", &[1, 2, 3]),
        ] {
            assert_eq!(passing(steps), want, "{name}");
        }
    }
}
