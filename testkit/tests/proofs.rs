//! Where each row of the protocol's tables is proved over a real socket, and that none is left out.
//!
//! The table names a test; the checks below look it up in its source: the test must exist, use a real socket, and name the
//! code. A code that is added to `wsguard-protocol` fails here until a row says where it is proved.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;

use wsguard::HANDSHAKE_STATUS;
use wsguard::protocol::{CloseCode, ErrorCode};

/// Code on the wire, file in `testkit/tests`, test.
type Proof = (&'static str, &'static str, &'static str);

/// The `error` codes of messages.
const ERRORS: &[Proof] = &[
    ("invalid_json", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("invalid_message", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("unknown_type", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("csrf_invalid", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("unauthenticated", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("forbidden", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("rate_limited", "net_messages", "a_flood_is_refused_with_the_time_to_wait"),
    ("too_large", "net_frames", "a_message_of_the_largest_size_passes"),
    ("unsafe_content", "net_messages", "every_refused_message_gets_its_code_and_the_log_its_cause"),
    ("session_expired", "net_messages", "a_connection_ends_with_its_token"),
    ("upstream_unavailable", "net_embedded", "what_the_application_refuses_has_its_code_and_the_connection_lives_on"),
    ("internal", "net_embedded", "what_the_application_refuses_has_its_code_and_the_connection_lives_on"),
    ("internal", "net_embedded", "a_panic_of_the_application_closes_one_socket_and_is_counted"),
];

/// The statuses of refused requests.
const STATUSES: &[Proof] = &[
    ("400", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("400", "net_refused", "a_request_that_cannot_be_read_is_refused_with_a_reference"),
    ("401", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("403", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("404", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("405", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("426", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("429", "net_handshake", "too_many_handshakes_are_told_when_to_come_back"),
    ("429", "net_messages", "too_many_sessions_of_a_subject_are_refused_or_told_so"),
    ("431", "net_handshake", "every_refusal_has_its_status_and_tells_nothing_more"),
    ("431", "net_refused", "a_request_that_cannot_be_read_is_refused_with_a_reference"),
    ("503", "net_server", "sigterm_drains_and_ends_when_the_last_peer_left"),
];

/// The close codes.
const CLOSES: &[Proof] = &[
    ("1000", "net_frames", "pings_are_answered_and_a_close_is_echoed"),
    ("1001", "net_server", "the_drain_has_an_end_and_a_second_signal_does_not_wait_for_it"),
    ("1001", "net_embedded", "a_drain_reaches_those_who_have_not_said_who_they_are"),
    ("1002", "net_frames", "every_breach_has_its_close_code"),
    ("1003", "net_frames", "every_breach_has_its_close_code"),
    ("1007", "net_frames", "every_breach_has_its_close_code"),
    ("1008", "net_frames", "every_breach_has_its_close_code"),
    ("1008", "net_messages", "one_refusal_after_the_other_ends_the_connection"),
    ("1009", "net_frames", "every_breach_has_its_close_code"),
    ("1011", "net_embedded", "a_panic_of_the_application_closes_one_socket_and_is_counted"),
    // The server itself never restarts in place: an application says it.
    ("1012", "net_embedded", "an_application_may_close_with_every_code"),
    ("1013", "net_server", "a_reader_that_stops_is_closed_and_holds_nobody_up"),
    ("1013", "net_embedded", "a_peer_that_asks_for_much_and_reads_nothing_is_cut_off"),
    ("4401", "net_messages", "a_connection_ends_with_its_token"),
    ("4403", "net_messages", "a_token_is_refreshed_by_its_own_subject_only"),
    ("4408", "net_handshake", "the_first_message_has_one_try_and_five_seconds"),
    ("4408", "net_messages", "a_session_without_a_message_is_closed"),
    ("4409", "net_messages", "too_many_sessions_of_a_subject_are_refused_or_told_so"),
    ("4429", "net_penalty", "ten_times_the_quota_is_closed_within_ten_seconds_and_stays_out"),
    ("4429", "net_embedded", "an_application_may_close_with_every_code"),
];

/// The source of a test: from its attribute to the end of its function.
fn source_of(file: &str, test: &str) -> String {
    let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let head = format!("#[test]\nfn {test}() {{\n");
    let (_, rest) = source.split_once(&head).unwrap_or_else(|| panic!("{file}: no test {test}"));
    let (body, _) = rest.split_once("\n}\n").unwrap_or_else(|| panic!("{file}: {test} has no end"));
    body.to_owned()
}

/// Whether `body` names `code` as a word of its own.
fn names(body: &str, code: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    body.match_indices(code).any(|(at, _)| {
        let (before, rest) = body.split_at(at);
        let after = rest.strip_prefix(code).unwrap_or_default();
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

#[test]
fn every_code_is_proved_over_a_socket() {
    let errors = ErrorCode::ALL.map(|code| code.as_str().to_owned());
    let statuses = HANDSHAKE_STATUS.map(|status| status.to_string());
    let closes = CloseCode::ALL.map(|code| code.number().to_string());
    for (table, codes, proofs) in
        [("errors", &errors[..], ERRORS), ("statuses", &statuses, STATUSES), ("close codes", &closes, CLOSES)]
    {
        let have: BTreeSet<&str> = codes.iter().map(String::as_str).collect();
        let proved: BTreeSet<&str> = proofs.iter().map(|(code, ..)| *code).collect();
        let without: Vec<_> = have.difference(&proved).collect();
        assert!(without.is_empty(), "{table} without a proof: {without:?}");
        let unknown: Vec<_> = proved.difference(&have).collect();
        assert!(unknown.is_empty(), "{table} that do not exist: {unknown:?}");
        for (code, file, test) in proofs {
            let body = source_of(file, test);
            assert!(names(&body, code), "{file}::{test} does not name {code}");
            assert!(body.contains("World::") || body.contains("Running::"), "{file}::{test} opens no socket");
        }
    }
}

#[test]
fn a_code_is_found_as_a_word_only() {
    for (body, code, found) in [
        ("(\"a\", 400, \"b\")", "400", true),
        ("a.repeat(4_000)", "400", false),
        ("14001", "400", false),
        ("\"internal\"", "internal", true),
        ("internal_error", "internal", false),
    ] {
        assert_eq!(names(body, code), found, "{code} in {body}");
    }
}
