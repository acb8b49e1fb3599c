// What the end of a connection means.
import { SecureWebSocketError } from './errors.js';
import {
  CLOSE_FORBIDDEN,
  CLOSE_POLICY_VIOLATION,
  CLOSE_RATE_LIMITED,
  CLOSE_TOO_BIG,
  CLOSE_UNAUTHENTICATED,
  type ErrorCode,
  type Reconnect,
  RECONNECT,
} from './protocol.js';

/** What a close code means where the `error` frame before it was lost. */
const REFUSALS: Readonly<Record<number, ErrorCode>> = {
  [CLOSE_UNAUTHENTICATED]: 'unauthenticated',
  [CLOSE_FORBIDDEN]: 'forbidden',
  [CLOSE_RATE_LIMITED]: 'rate_limited',
  [CLOSE_TOO_BIG]: 'too_large',
};

/** Why a connection was closed. `told`: its last `error` frame. */
export function errorOfClose(code: number, told: SecureWebSocketError | undefined): SecureWebSocketError {
  // An earlier refusal has nothing to do with a cable that was pulled.
  if (told && (code >= 4400 || code === CLOSE_POLICY_VIOLATION)) return told;
  return new SecureWebSocketError(REFUSALS[code] ?? 'connection_lost', `closed with ${code}`);
}

/** What to do after a close code, those that only a browser or a proxy makes included. */
export function afterClose(code: number): Reconnect {
  // An unknown 44xx is a refusal that this version cannot know; coming back would only provoke it again.
  return RECONNECT[code] ?? (code >= 4400 && code < 4500 ? 'never' : 'back_off');
}

/** What to do after an attempt that failed on this side. */
export function afterError({ code }: SecureWebSocketError): Reconnect {
  if (code === 'unauthenticated' || code === 'session_expired') return 'once_with_fresh_token';
  return code === 'forbidden' || code === 'unsupported' ? 'never' : 'back_off';
}
