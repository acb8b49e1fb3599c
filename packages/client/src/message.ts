import { errorOf } from './errors.js';
import type { OutgoingMessage } from './options.js';
import { CSRF_EXEMPT_TYPES, TYPE_BYTES_MAX } from './protocol.js';

/**
 * What a server refuses wherever it stands in a message, before it can tell which message that was: control characters
 * and lone surrogates, which JSON.stringify writes as `\u` and `\b`, DEL, and a key that changes prototypes.
 */
const UNSAFE = /[^\\](\\\\)*\\[ub]|\x7f|"__proto__":/;

/**
 * The message as JSON, without its CSRF token.
 *
 * `id`: undefined where no acknowledgement is wanted. `convert`: the application's own check.
 *
 * @throws SecureWebSocketError where no server would take it.
 */
export function bodyOf<Out extends OutgoingMessage>(
  message: Out,
  id: number | undefined,
  convert: ((message: Out) => OutgoingMessage) | undefined,
): string {
  let body: string | undefined;
  let cause: unknown;
  try {
    const { type, payload } = convert?.(message) ?? message;
    const fits = typeof type === 'string' && type && byteLength(type) <= TYPE_BYTES_MAX;
    if (fits && !(CSRF_EXEMPT_TYPES as readonly string[]).includes(type)) body = JSON.stringify({ type, id, payload });
  } catch (thrown) {
    cause = thrown;
  }
  if (!body) throw errorOf('invalid_message', cause);
  if (UNSAFE.test(body)) throw errorOf('unsafe_content');
  return body;
}

/** The length of a text in UTF-8. */
export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
