// What the end of a connection means.
import { errorOf, REFUSALS, type SecureWebSocketError } from './errors.js';
import { CLOSE_POLICY_VIOLATION, CLOSE_TOO_BIG, type Reconnect, RECONNECT } from './protocol.js';

/** Why a connection was closed. `told`: its last `error` frame. */
export function errorOfClose(code: number, told: SecureWebSocketError | undefined): SecureWebSocketError {
  // An earlier refusal has nothing to do with a cable that was pulled.
  if (told && (code >= 4400 || code === CLOSE_POLICY_VIOLATION)) return told;
  return errorOf(code === CLOSE_TOO_BIG ? 'too_large' : (REFUSALS[code - 4000] ?? 'connection_lost'));
}

/** What to do after the end of a connection, or of an attempt that failed on this side. */
export function afterEnd(code: number, { code: why }: SecureWebSocketError): Reconnect {
  const known = RECONNECT[code];
  if (known) return known;
  // An unknown 44xx is a refusal that this version cannot know; coming back would only provoke it again.
  if (why === 'forbidden' || (code >= 4400 && code < 4500)) return 'never';
  return why === 'unauthenticated' || why === 'session_expired' ? 'once_with_fresh_token' : 'back_off';
}
