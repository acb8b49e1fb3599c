//! Strict JSON: one scan to a tape of spans, and the canonical form.
