//! Checks a payload against the schema of its type.
//!
//! Attack: a message of the right type with the wrong content (CWE-20). The violation is told to the operator as a
//! pointer and a keyword, never with the peer's text.
//!
//! # Specification
//! JSON Schema 2020-12; OWASP ASVS 5.0 2.2.1

use crate::json::{Document, ScanLimits, Tape, Value, scan};
use crate::policy::MessageType;
use crate::verdict::Reason;

/// Checks `payload`; a message without one is checked as if its payload were `null`.
pub(crate) fn inspect(message: &MessageType, document: Document<'_>, payload: Option<Value<'_>>) -> Result<(), Reason> {
    let Some(payload) = payload else {
        let mut tape = Tape::new();
        let fits = scan("null", &ScanLimits::default(), &mut tape)
            .is_ok_and(|null| message.schema().check(null, null.root()).is_ok());
        return if fits { Ok(()) } else { Err(Reason::from("payload_missing")) };
    };
    message.schema().check(document, payload).map_err(|violation| {
        Reason::with("schema", format!("{} {}", violation.pointer(payload), violation.keyword().as_str()))
    })
}
