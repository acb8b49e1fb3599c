//! A world of peers, clocks, losses and restarts around the guard, driven from one seed.
//!
//! What runs is what is shipped: the handshake behind hyper, the driver, the registry, the sessions that wait, revocations
//! and bans, mailboxes, on one thread of tokio with paused time. What the machine gave (clocks, randomness, the disk) the
//! world gives (`wsguard::simulation`). A world writes down what happens ([`trace`]); checkers ([`checker`]) read it
//! afterwards, and two runs of a seed must have written the same.
//!
//! `simulation/run.sh` builds it with the cfg that it needs; without that there is nothing here.
#![cfg(wsguard_simulation)]

pub mod app;
pub mod checker;
pub mod desk;
pub mod heap;
pub mod honest;
pub mod hostile;
pub mod issuer;
pub mod net;
pub mod node;
pub mod panics;
pub mod peer;
pub mod rng;
pub mod scenario;
pub mod search;
pub mod store;
pub mod trace;
pub mod world;
