import type { SecureWebSocketError } from './errors.js';
import type { CloseInfo, IncomingMessage, Rtt, Snapshot } from './options.js';
import type { Welcome } from './protocol.js';

/** The events of a `SecureWebSocket`, each an `Event` with these members. */
export interface SecureWebSocketEvents<In extends IncomingMessage = IncomingMessage> {
  open: { readonly welcome: Welcome };
  message: { readonly data: In };
  close: CloseInfo;
  error: { readonly error: SecureWebSocketError };
  /** The snapshot changed: another state, or another try within `reconnecting`. */
  statechange: { readonly snapshot: Snapshot };
  rtt: { readonly rtt: Rtt };
}

/** What is called with an event of one of these types. */
export type SecureWebSocketListener<In extends IncomingMessage, K extends keyof SecureWebSocketEvents> =
  | ((event: Event & SecureWebSocketEvents<In>[K]) => void)
  | null;
