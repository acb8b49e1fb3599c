import type { ErrorCode } from './protocol.js';

/**
 * What went wrong on this side of the wire.
 *
 * - `queue_full`: more waits for acknowledgement than the limits allow; this message was not sent.
 * - `timeout`: no acknowledgement came in time. The message will not be sent later.
 * - `delivery_unknown`: the session was lost after the message was written and before its acknowledgement came.
 * - `closed`: the socket is closed and stays so.
 * - `connection_lost`: the connection ended, or never came about, and the server did not say why.
 * - `token_failed`: `authToken` threw or returned no token, the ticket or session endpoint did not answer as it should, or
 *   the WebSocket refused to be made: then `cause` is the name of what it threw, `SyntaxError` where no header can carry
 *   the token, `SecurityError` where the page may not connect.
 * - `protocol`: the server sent something that is not `wsguard.v1`.
 * - `callback_failed`: a callback of the application threw; `cause` is what it threw.
 * - `unsupported`: there is no WebSocket on this platform.
 */
export type ClientErrorCode =
  | 'queue_full'
  | 'timeout'
  | 'delivery_unknown'
  | 'closed'
  | 'connection_lost'
  | 'token_failed'
  | 'protocol'
  | 'callback_failed'
  | 'unsupported';

/** Every code that a {@link SecureWebSocketError} can have: those of the server and those of this client. */
export type SecureWebSocketErrorCode = ErrorCode | ClientErrorCode;

/** What a {@link SecureWebSocketError} knows beside its code. */
export interface SecureWebSocketErrorDetails {
  /** Finds the full story in the server's log. */
  ref?: string | undefined;
  /** Time to wait before the next try, in milliseconds. */
  retryAfterMs?: number | undefined;
  /** What caused it, where that is known. */
  cause?: unknown;
}

/**
 * The one class of error that this package rejects with and hands to callbacks. Tell them apart by `code`.
 *
 * `message` is what the server said, or the code again: `@wsguard/client/describe` has sentences for people.
 */
export class SecureWebSocketError extends Error {
  declare readonly name: 'SecureWebSocketError';
  declare readonly code: SecureWebSocketErrorCode;
  declare readonly ref: string | undefined;
  declare readonly retryAfterMs: number | undefined;

  constructor(code: SecureWebSocketErrorCode, message: string = code, details: SecureWebSocketErrorDetails = {}) {
    super(message, details);
    this.name = 'SecureWebSocketError';
    this.code = code;
    this.ref = details.ref;
    // May come from the wire: what is not a number must not become the length of a wait.
    this.retryAfterMs = +details.retryAfterMs! || undefined;
  }
}

/** What a refusal is called that does not say so itself: by its status over HTTP, by its close code less 4,000. */
export const REFUSALS: Readonly<Record<number, ErrorCode>> = {
  401: 'unauthenticated',
  403: 'forbidden',
  429: 'rate_limited',
};

/** An error of this side. */
export function errorOf(code: SecureWebSocketErrorCode, cause?: unknown): SecureWebSocketError {
  return new SecureWebSocketError(code, code, { cause });
}

/** What kept a token from coming. */
export function tokenError(thrown: unknown): SecureWebSocketError {
  return thrown instanceof SecureWebSocketError ? thrown : errorOf('token_failed', thrown);
}

/** A token, or a member without which a frame would do harm: anything else would be sent as "undefined". */
export function need<T>(value: T): T & string {
  if (value && typeof value === 'string') return value;
  throw errorOf('token_failed');
}
