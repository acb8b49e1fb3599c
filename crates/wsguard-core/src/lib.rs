//! The sans-IO core of wsguard: frames, handshakes and messages as pure functions of input and time.
//!
//! Nothing in here knows a clock, a socket, a file or a source of randomness: time arrives with the event, randomness
//! through [`policy::Random`], and what must happen outside is left in [`effect::Effects`]. So the same verdicts come
//! out of the same events, times and seeds, in a server, a simulation and a fuzzer.
//!
//! Where to begin reading: [`handshake::admit`] is the order of the controls of a handshake, [`guard::Connection`] that
//! of a message. Each control has one file in [`control`].

pub mod control;
pub mod effect;
#[doc(hidden)]
pub mod fault;
pub mod frame;
pub mod guard;
pub mod handshake;
pub mod in_force;
pub mod json;
pub mod markup;
mod plan;
pub mod policy;
pub mod probe;
pub mod schema;
pub mod time;
pub mod token;
pub mod trust;
mod vectors;
pub mod verdict;
