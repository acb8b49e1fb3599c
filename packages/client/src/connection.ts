import type { Credential } from './credential.js';
import { errorOf, type SecureWebSocketError, tokenError } from './errors.js';
import type { Log } from './log.js';
import type { WebSocketConstructor, WebSocketLike } from './options.js';
import type { Reconnect } from './protocol.js';

/** `readyState` of an open WebSocket. */
const OPEN = 1;

/** RFC 6455 section 7.1.5: there was no close frame. */
export const ABNORMAL = 1006;

/** One attempt to connect and, if it succeeds, one connection; a new one is made for the next. */
export interface Connection {
  /** Writes a frame, or returns false where nothing written now can reach the server. */
  write(text: string): boolean;
  /** Ends it from this side. Nothing is told of it, nor of anything after it. */
  leave(code?: number, reason?: string): void;
  /** A fresh token for it is being asked for. */
  refreshing?: boolean;
}

/**
 * Connects. After `closed` or `failed` nothing is told any more.
 *
 * `then`: what to do, where the error does not say so.
 */
export function connect(
  implementation: WebSocketConstructor | undefined,
  credential: (signal: AbortSignal) => Promise<Credential>,
  received: (data: unknown) => void,
  closed: (code: number, reason: string) => void,
  failed: (error: SecureWebSocketError, then?: Reconnect) => void,
  log: Log | undefined,
): Connection {
  // Aborted: it is over. Every callback and every `await` looks at it.
  const over = new AbortController();
  let transport: WebSocketLike | undefined;

  const write = (text: string): boolean => {
    if (over.signal.aborted || transport?.readyState !== OPEN) return false;
    log?.('->', JSON.parse(text));
    transport.send(text);
    return true;
  };

  const dial = async (): Promise<void> => {
    const { url, protocols, first } = await credential(over.signal);
    if (over.signal.aborted) return;
    try {
      transport = new implementation!(url, protocols);
    } catch {
      // A token that cannot stand in a header, unless there is none; what was thrown would repeat it.
      return failed(errorOf(implementation ? 'token_failed' : 'unsupported'), 'never');
    }
    transport.onopen = () => first && write(JSON.stringify(first));
    transport.onmessage = ({ data }) => over.signal.aborted || received(data);
    // Says nothing that may be known, and comes before the end; without a listener it would end a process of Node.
    transport.onerror = () => {};
    transport.onclose = ({ code, reason }) => {
      if (over.signal.aborted) return;
      over.abort();
      closed(code, reason);
    };
  };
  dial().catch((thrown) => {
    if (!over.signal.aborted) failed(tokenError(thrown));
  });

  return {
    write,
    leave(code, reason) {
      if (over.signal.aborted) return;
      // In this order: with a code that no close frame can carry it throws, and the connection lives on.
      transport?.close(code, reason);
      over.abort();
    },
  };
}
