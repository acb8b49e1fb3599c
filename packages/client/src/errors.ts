import type { ErrorCode } from './protocol.js';

/**
 * What went wrong on this side of the wire.
 *
 * - `queue_full`: more waits for acknowledgement than the limits allow; this message was not sent.
 * - `timeout`: no acknowledgement came in time. The message will not be sent later.
 * - `delivery_unknown`: the session was lost after the message was written and before its acknowledgement came.
 * - `closed`: the socket is closed and stays so.
 * - `connection_lost`: the connection ended, or never came about, and the server did not say why.
 * - `token_failed`: `authToken` threw, or the ticket or session endpoint did not answer as it should.
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

export interface SecureWebSocketErrorDetails {
  /** Finds the full story in the server's log. */
  ref?: string | undefined;
  /** Time to wait before the next try, in milliseconds. */
  retryAfterMs?: number | undefined;
  /** What caused it, where that is known. */
  cause?: unknown;
}

/** The one class of error that this package rejects with and hands to callbacks. Tell them apart by `code`. */
export class SecureWebSocketError extends Error {
  override readonly name = 'SecureWebSocketError';
  readonly code: SecureWebSocketErrorCode;
  readonly ref: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: SecureWebSocketErrorCode, message: string, details: SecureWebSocketErrorDetails = {}) {
    super(message, details);
    this.code = code;
    this.ref = details.ref;
    // May come from the wire: what is not a number must not become the length of a wait.
    this.retryAfterMs = Number(details.retryAfterMs) || undefined;
  }
}
