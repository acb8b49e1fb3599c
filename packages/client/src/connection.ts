import { createAlarms } from './alarm.js';
import type { Credential } from './credential.js';
import { SecureWebSocketError } from './errors.js';
import type { Log } from './log.js';
import type { Settings, WebSocketConstructor, WebSocketLike } from './options.js';

/** `readyState` of an open WebSocket. */
const OPEN = 1;

/** RFC 6455 section 7.1.5: there was no close frame. */
export const ABNORMAL = 1006;

/** Where the WebSocket of Node 20 comes from. Not a literal in `import()`, so that bundlers for pages leave it alone. */
const PEER: string = 'ws';

/** One attempt to connect and, if it succeeds, one connection; a new one is made for the next. */
export interface Connection {
  /** Whether what is written now can reach the server. */
  readonly writable: boolean;
  write(text: string): void;
  /** The server has spoken: the attempt succeeded. */
  established(): void;
  /** Ends the connection from this side, silently. */
  leave(code?: number, reason?: string): void;
  /** Ends the connection from this side because of an error. */
  fail(error: unknown): void;
}

/** What a connection tells its owner. Nothing is told after one of the last two, nor after {@link Connection.leave}. */
export interface ConnectionEvents {
  received(data: unknown): void;
  closed(code: number, reason: string): void;
  failed(error: SecureWebSocketError): void;
}

export function connect(
  settings: Settings,
  credential: (signal: AbortSignal) => Promise<Credential>,
  events: ConnectionEvents,
  log: Log,
): Connection {
  // Aborted: the connection is over. Every callback and every `await` looks at it.
  const over = new AbortController();
  const alarms = createAlarms<'deadline'>(settings.timers);
  let transport: WebSocketLike | undefined;

  const connection: Connection = {
    get writable() {
      return !over.signal.aborted && transport?.readyState === OPEN;
    },
    write(text) {
      log('->', text);
      transport?.send(text);
    },
    established: alarms.stop,
    leave(code, reason) {
      over.abort();
      alarms.stop();
      if (!transport) return;
      transport.onopen = transport.onmessage = transport.onclose = null;
      // The package `ws` reports the end of a handshake that is given up as an error, which without a listener would
      // end the process.
      transport.onerror = () => {};
      transport.close(code, reason);
    },
    fail(error) {
      if (over.signal.aborted) return;
      connection.leave(4900);
      events.failed(
        error instanceof SecureWebSocketError
          ? error
          : new SecureWebSocketError('connection_lost', 'the connection could not be made', { cause: error }),
      );
    },
  };

  const dial = async (): Promise<void> => {
    const { url, protocols, first } = await credential(over.signal);
    const implementation = settings.WebSocket ?? (await platformWebSocket());
    if (over.signal.aborted) return;
    try {
      transport = new implementation(url, protocols);
    } catch (cause) {
      // The only cause is a token that cannot stand in a header; the message of the exception would repeat it.
      throw new SecureWebSocketError('token_failed', `no WebSocket (${(cause as Error)?.name}): can a header carry the token?`);
    }
    transport.onopen = () => {
      if (first) connection.write(first);
    };
    transport.onmessage = (event) => {
      if (!over.signal.aborted) events.received(event?.data);
    };
    transport.onclose = (event) => {
      if (over.signal.aborted) return;
      connection.leave();
      events.closed(Number(event?.code) || ABNORMAL, String(event?.reason ?? ''));
    };
    // `close` follows and ends the connection; the event itself says nothing that may be known.
    transport.onerror = () => log('transport error');
  };

  alarms.set('deadline', settings.connectTimeoutMs, () =>
    connection.fail(new SecureWebSocketError('connection_lost', 'no welcome in time')),
  );
  dial().catch(connection.fail);
  return connection;
}

/** The WebSocket of this platform; under Node 20, which has none, that of the optional peer `ws`. */
async function platformWebSocket(): Promise<WebSocketConstructor> {
  try {
    return globalThis.WebSocket ?? (await import(/* webpackIgnore: true */ /* @vite-ignore */ PEER)).WebSocket;
  } catch (cause) {
    throw new SecureWebSocketError('unsupported', 'there is no WebSocket here: install the package ws', { cause });
  }
}
