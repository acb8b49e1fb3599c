//! WebSocket frames (RFC 6455 section 5), sans-IO.
