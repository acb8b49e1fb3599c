//! The catalogue. Made by `cargo xtask codegen` from the files of this folder: add a file, not a line.

mod auth_01;
mod auth_02;
mod auth_03;
mod auth_04;
mod auth_05;
mod auth_06;
mod auth_07;
mod auth_08;
mod auth_09;
mod auth_10;
mod auth_11;
mod auth_12;
mod auth_13;
mod auth_14;
mod csrf_01;
mod csrf_02;
mod csrf_03;
mod csrf_04;
mod csrf_05;
mod csrf_06;
mod csrf_07;
mod csrf_08;
mod csrf_09;
mod csrf_10;
mod disc_01;
mod disc_02;
mod disc_03;
mod disc_04;
mod disc_05;
mod disc_06;
mod err_01;
mod err_02;
mod err_03;
mod err_04;
mod err_05;
mod farewell;
mod findings;
mod idle;
mod in_01;
mod in_02;
mod in_03;
mod in_04;
mod in_05;
mod in_06;
mod in_07;
mod in_08;
mod in_09;
mod in_10;
mod in_11;
mod in_12;
mod input;
mod internals;
mod libraries;
mod login;
mod mon_01;
mod mon_02;
mod mon_03;
mod mon_04;
mod mon_05;
mod proto;
mod proto_01;
mod proto_02;
mod proto_03;
mod proto_04;
mod proto_05;
mod proto_06;
mod proto_07;
mod proto_08;
mod proto_09;
mod proto_10;
mod proto_11;
mod proto_12;
mod proto_13;
mod proto_14;
mod proto_15;
mod rate;
mod rate_01;
mod rate_02;
mod rate_03;
mod rate_04;
mod rate_05;
mod rate_06;
mod rate_07;
mod rate_08;
mod res_01;
mod res_02;
mod res_03;
mod res_04;
mod res_05;
mod res_06;
mod res_07;
mod res_08;
mod res_09;
mod res_10;
mod sess_01;
mod sess_02;
mod sess_03;
mod sess_04;
mod sess_05;
mod sess_06;
mod sess_07;
mod sess_08;
mod survival;
mod tickets;
mod tls;
mod tls_01;
mod tls_02;
mod tls_03;
mod tls_04;
mod tls_05;
mod tls_06;
mod tls_07;
mod tls_08;
mod tls_09;
mod tls_10;

use crate::check::Check;

/// Every check, by id.
pub const ALL: &[Check] = &[
    Check { meta: &auth_01::META, run: |probe| Box::pin(auth_01::run(probe)) },
    Check { meta: &auth_02::META, run: |probe| Box::pin(auth_02::run(probe)) },
    Check { meta: &auth_03::META, run: |probe| Box::pin(auth_03::run(probe)) },
    Check { meta: &auth_04::META, run: |probe| Box::pin(auth_04::run(probe)) },
    Check { meta: &auth_05::META, run: |probe| Box::pin(auth_05::run(probe)) },
    Check { meta: &auth_06::META, run: |probe| Box::pin(auth_06::run(probe)) },
    Check { meta: &auth_07::META, run: |probe| Box::pin(auth_07::run(probe)) },
    Check { meta: &auth_08::META, run: |probe| Box::pin(auth_08::run(probe)) },
    Check { meta: &auth_09::META, run: |probe| Box::pin(auth_09::run(probe)) },
    Check { meta: &auth_10::META, run: |probe| Box::pin(auth_10::run(probe)) },
    Check { meta: &auth_11::META, run: |probe| Box::pin(auth_11::run(probe)) },
    Check { meta: &auth_12::META, run: |probe| Box::pin(auth_12::run(probe)) },
    Check { meta: &auth_13::META, run: |probe| Box::pin(auth_13::run(probe)) },
    Check { meta: &auth_14::META, run: |probe| Box::pin(auth_14::run(probe)) },
    Check { meta: &csrf_01::META, run: |probe| Box::pin(csrf_01::run(probe)) },
    Check { meta: &csrf_02::META, run: |probe| Box::pin(csrf_02::run(probe)) },
    Check { meta: &csrf_03::META, run: |probe| Box::pin(csrf_03::run(probe)) },
    Check { meta: &csrf_04::META, run: |probe| Box::pin(csrf_04::run(probe)) },
    Check { meta: &csrf_05::META, run: |probe| Box::pin(csrf_05::run(probe)) },
    Check { meta: &csrf_06::META, run: |probe| Box::pin(csrf_06::run(probe)) },
    Check { meta: &csrf_07::META, run: |probe| Box::pin(csrf_07::run(probe)) },
    Check { meta: &csrf_08::META, run: |probe| Box::pin(csrf_08::run(probe)) },
    Check { meta: &csrf_09::META, run: |probe| Box::pin(csrf_09::run(probe)) },
    Check { meta: &csrf_10::META, run: |probe| Box::pin(csrf_10::run(probe)) },
    Check { meta: &disc_01::META, run: |probe| Box::pin(disc_01::run(probe)) },
    Check { meta: &disc_02::META, run: |probe| Box::pin(disc_02::run(probe)) },
    Check { meta: &disc_03::META, run: |probe| Box::pin(disc_03::run(probe)) },
    Check { meta: &disc_04::META, run: |probe| Box::pin(disc_04::run(probe)) },
    Check { meta: &disc_05::META, run: |probe| Box::pin(disc_05::run(probe)) },
    Check { meta: &disc_06::META, run: |probe| Box::pin(disc_06::run(probe)) },
    Check { meta: &err_01::META, run: |probe| Box::pin(err_01::run(probe)) },
    Check { meta: &err_02::META, run: |probe| Box::pin(err_02::run(probe)) },
    Check { meta: &err_03::META, run: |probe| Box::pin(err_03::run(probe)) },
    Check { meta: &err_04::META, run: |probe| Box::pin(err_04::run(probe)) },
    Check { meta: &err_05::META, run: |probe| Box::pin(err_05::run(probe)) },
    Check { meta: &in_01::META, run: |probe| Box::pin(in_01::run(probe)) },
    Check { meta: &in_02::META, run: |probe| Box::pin(in_02::run(probe)) },
    Check { meta: &in_03::META, run: |probe| Box::pin(in_03::run(probe)) },
    Check { meta: &in_04::META, run: |probe| Box::pin(in_04::run(probe)) },
    Check { meta: &in_05::META, run: |probe| Box::pin(in_05::run(probe)) },
    Check { meta: &in_06::META, run: |probe| Box::pin(in_06::run(probe)) },
    Check { meta: &in_07::META, run: |probe| Box::pin(in_07::run(probe)) },
    Check { meta: &in_08::META, run: |probe| Box::pin(in_08::run(probe)) },
    Check { meta: &in_09::META, run: |probe| Box::pin(in_09::run(probe)) },
    Check { meta: &in_10::META, run: |probe| Box::pin(in_10::run(probe)) },
    Check { meta: &in_11::META, run: |probe| Box::pin(in_11::run(probe)) },
    Check { meta: &in_12::META, run: |probe| Box::pin(in_12::run(probe)) },
    Check { meta: &mon_01::META, run: |probe| Box::pin(mon_01::run(probe)) },
    Check { meta: &mon_02::META, run: |probe| Box::pin(mon_02::run(probe)) },
    Check { meta: &mon_03::META, run: |probe| Box::pin(mon_03::run(probe)) },
    Check { meta: &mon_04::META, run: |probe| Box::pin(mon_04::run(probe)) },
    Check { meta: &mon_05::META, run: |probe| Box::pin(mon_05::run(probe)) },
    Check { meta: &proto_01::META, run: |probe| Box::pin(proto_01::run(probe)) },
    Check { meta: &proto_02::META, run: |probe| Box::pin(proto_02::run(probe)) },
    Check { meta: &proto_03::META, run: |probe| Box::pin(proto_03::run(probe)) },
    Check { meta: &proto_04::META, run: |probe| Box::pin(proto_04::run(probe)) },
    Check { meta: &proto_05::META, run: |probe| Box::pin(proto_05::run(probe)) },
    Check { meta: &proto_06::META, run: |probe| Box::pin(proto_06::run(probe)) },
    Check { meta: &proto_07::META, run: |probe| Box::pin(proto_07::run(probe)) },
    Check { meta: &proto_08::META, run: |probe| Box::pin(proto_08::run(probe)) },
    Check { meta: &proto_09::META, run: |probe| Box::pin(proto_09::run(probe)) },
    Check { meta: &proto_10::META, run: |probe| Box::pin(proto_10::run(probe)) },
    Check { meta: &proto_11::META, run: |probe| Box::pin(proto_11::run(probe)) },
    Check { meta: &proto_12::META, run: |probe| Box::pin(proto_12::run(probe)) },
    Check { meta: &proto_13::META, run: |probe| Box::pin(proto_13::run(probe)) },
    Check { meta: &proto_14::META, run: |probe| Box::pin(proto_14::run(probe)) },
    Check { meta: &proto_15::META, run: |probe| Box::pin(proto_15::run(probe)) },
    Check { meta: &rate_01::META, run: |probe| Box::pin(rate_01::run(probe)) },
    Check { meta: &rate_02::META, run: |probe| Box::pin(rate_02::run(probe)) },
    Check { meta: &rate_03::META, run: |probe| Box::pin(rate_03::run(probe)) },
    Check { meta: &rate_04::META, run: |probe| Box::pin(rate_04::run(probe)) },
    Check { meta: &rate_05::META, run: |probe| Box::pin(rate_05::run(probe)) },
    Check { meta: &rate_06::META, run: |probe| Box::pin(rate_06::run(probe)) },
    Check { meta: &rate_07::META, run: |probe| Box::pin(rate_07::run(probe)) },
    Check { meta: &rate_08::META, run: |probe| Box::pin(rate_08::run(probe)) },
    Check { meta: &res_01::META, run: |probe| Box::pin(res_01::run(probe)) },
    Check { meta: &res_02::META, run: |probe| Box::pin(res_02::run(probe)) },
    Check { meta: &res_03::META, run: |probe| Box::pin(res_03::run(probe)) },
    Check { meta: &res_04::META, run: |probe| Box::pin(res_04::run(probe)) },
    Check { meta: &res_05::META, run: |probe| Box::pin(res_05::run(probe)) },
    Check { meta: &res_06::META, run: |probe| Box::pin(res_06::run(probe)) },
    Check { meta: &res_07::META, run: |probe| Box::pin(res_07::run(probe)) },
    Check { meta: &res_08::META, run: |probe| Box::pin(res_08::run(probe)) },
    Check { meta: &res_09::META, run: |probe| Box::pin(res_09::run(probe)) },
    Check { meta: &res_10::META, run: |probe| Box::pin(res_10::run(probe)) },
    Check { meta: &sess_01::META, run: |probe| Box::pin(sess_01::run(probe)) },
    Check { meta: &sess_02::META, run: |probe| Box::pin(sess_02::run(probe)) },
    Check { meta: &sess_03::META, run: |probe| Box::pin(sess_03::run(probe)) },
    Check { meta: &sess_04::META, run: |probe| Box::pin(sess_04::run(probe)) },
    Check { meta: &sess_05::META, run: |probe| Box::pin(sess_05::run(probe)) },
    Check { meta: &sess_06::META, run: |probe| Box::pin(sess_06::run(probe)) },
    Check { meta: &sess_07::META, run: |probe| Box::pin(sess_07::run(probe)) },
    Check { meta: &sess_08::META, run: |probe| Box::pin(sess_08::run(probe)) },
    Check { meta: &tls_01::META, run: |probe| Box::pin(tls_01::run(probe)) },
    Check { meta: &tls_02::META, run: |probe| Box::pin(tls_02::run(probe)) },
    Check { meta: &tls_03::META, run: |probe| Box::pin(tls_03::run(probe)) },
    Check { meta: &tls_04::META, run: |probe| Box::pin(tls_04::run(probe)) },
    Check { meta: &tls_05::META, run: |probe| Box::pin(tls_05::run(probe)) },
    Check { meta: &tls_06::META, run: |probe| Box::pin(tls_06::run(probe)) },
    Check { meta: &tls_07::META, run: |probe| Box::pin(tls_07::run(probe)) },
    Check { meta: &tls_08::META, run: |probe| Box::pin(tls_08::run(probe)) },
    Check { meta: &tls_09::META, run: |probe| Box::pin(tls_09::run(probe)) },
    Check { meta: &tls_10::META, run: |probe| Box::pin(tls_10::run(probe)) },
];
