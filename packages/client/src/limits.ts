// The numbers of this client. Those of the protocol stand in protocol.ts.

/**
 * Most messages in flight. Far fewer than the ids that a server remembers, so that one that is written again is always
 * recognised; and few, so that a quota is overrun by few.
 */
export const IN_FLIGHT_MAX = 32;
/** Shortest silence after `rate_limited`, in milliseconds: a server leaves refusals unanswered for 250 ms after one. */
export const SILENCE_MS = 300;
/** After a wake the next try begins within this time, in milliseconds: many pages may wake together. */
export const WAKE_SPREAD_MS = 300;
/** Time after which the server is told what was received, in milliseconds: it passes over what comes within 200. */
export const ACK_INTERVAL_MS = 250;
/** Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`. */
export const CSRF_MEMBER_BYTES = 15;
/** What left this client: the close code after which a server lets the session wait. */
export const CLOSE_LEFT = 4900;
/** RFC 6455 section 7.1.5: there was no close frame. */
export const CLOSE_ABNORMAL = 1006;
/** `readyState` of an open WebSocket. */
export const OPEN = 1;
/** Longest delay that timers take, in milliseconds; a larger one would fire at once. */
export const DELAY_MS_MAX = 2_147_483_647;
/** Longest text that one line of debug output repeats, in characters. */
export const SHOWN_CHARS_MAX = 1_000;
/** Round trips that the statistics look back on. */
export const RTT_SAMPLES = 16;
/** A timer that fires this late, in milliseconds, ran in a page that slept. */
export const LATE_MS = 100;
/** How long such a page gets to read what arrived meanwhile, in milliseconds. */
export const GRACE_MS = 1_000;
