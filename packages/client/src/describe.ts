/**
 * Sentences for people: what went wrong, and what they may do.
 *
 * @example
 * socket.send(message).catch((error) => show(describe(error)));
 *
 * @module
 */
import type { SecureWebSocketError, SecureWebSocketErrorCode } from './errors.js';

const TEXTS: Readonly<Record<SecureWebSocketErrorCode, string>> = {
  invalid_json: 'The server could not read the message.',
  invalid_message: 'The message does not have the form that its type asks for.',
  unknown_type: 'The server does not know this type of message.',
  csrf_invalid: 'The message did not come with the token of this session.',
  unauthenticated: 'The server does not accept this login. Log in again.',
  forbidden: 'This is not allowed.',
  rate_limited: 'Too many messages. What waits is sent by itself.',
  too_large: 'The message is larger than the server accepts.',
  unsafe_content: 'The message holds control characters, or a key that is not accepted.',
  session_expired: 'The session has ended. Log in again.',
  upstream_unavailable: 'The service behind the server is not available.',
  internal: 'The server could not handle the message.',
  queue_full: 'Too many messages wait for the connection. This one was not sent.',
  timeout: 'No answer came in time. The message will not be sent later; if it was sent, it may have arrived.',
  delivery_unknown: 'The connection was lost. Whether the message arrived is not known.',
  closed: 'The connection is closed. The message was not sent.',
  connection_lost: 'The connection was lost.',
  token_failed: 'No usable token came from the login.',
  protocol: 'The server does not speak wsguard.v1.',
  callback_failed: 'The application could not handle what came.',
  unsupported: 'There is no WebSocket here. Under Node before version 22, install the package ws.',
};

/**
 * What an error means, as one or two sentences in English; with the reference that finds its story in the server's log,
 * where there is one.
 */
export function describe({ code, ref }: SecureWebSocketError): string {
  return ref ? `${TEXTS[code]} (${ref})` : TEXTS[code];
}
