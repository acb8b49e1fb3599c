//! Every scenario, in the order of the report.

mod clock;
mod descriptors;
mod disk;
mod few_files;
mod floods;
mod half_open;
mod handshakes;
mod keys;
mod kill;
mod large;
mod pieces;
mod readers;
mod slow;

use crate::scenario::Scenario;

pub(crate) const ALL: [&Scenario; 15] = [
    &handshakes::SCENARIO,
    &slow::SCENARIO,
    &pieces::SCENARIO,
    &floods::FRAGMENTS,
    &floods::PINGS,
    &floods::PONGS,
    &half_open::SCENARIO,
    &readers::SCENARIO,
    &large::SCENARIO,
    &keys::SCENARIO,
    &disk::SCENARIO,
    &few_files::SCENARIO,
    &descriptors::SCENARIO,
    &clock::SCENARIO,
    &kill::SCENARIO,
];
