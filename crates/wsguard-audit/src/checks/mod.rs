//! The catalogue. Made by `cargo xtask codegen` from the files of this folder: add a file, not a line.

mod auth_01;
mod auth_03;
mod auth_09;
mod csrf_01;
mod csrf_02;
mod in_01;
mod proto_05;
mod rate_02;
mod tls_01;

use crate::check::Check;

/// Every check, by id.
pub const ALL: &[Check] = &[
    Check { meta: &auth_01::META, run: |probe| Box::pin(auth_01::run(probe)) },
    Check { meta: &auth_03::META, run: |probe| Box::pin(auth_03::run(probe)) },
    Check { meta: &auth_09::META, run: |probe| Box::pin(auth_09::run(probe)) },
    Check { meta: &csrf_01::META, run: |probe| Box::pin(csrf_01::run(probe)) },
    Check { meta: &csrf_02::META, run: |probe| Box::pin(csrf_02::run(probe)) },
    Check { meta: &in_01::META, run: |probe| Box::pin(in_01::run(probe)) },
    Check { meta: &proto_05::META, run: |probe| Box::pin(proto_05::run(probe)) },
    Check { meta: &rate_02::META, run: |probe| Box::pin(rate_02::run(probe)) },
    Check { meta: &tls_01::META, run: |probe| Box::pin(tls_01::run(probe)) },
];
