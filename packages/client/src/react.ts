/**
 * React hooks. React 18 or later; nothing happens while a page is rendered on a server.
 *
 * @module
 */
import { useCallback, useEffect, useInsertionEffect, useLayoutEffect, useReducer, useRef, useState, useSyncExternalStore } from 'react';
import { SecureWebSocketError } from './errors.js';
import type {
  Ack,
  IncomingMessage,
  OutgoingMessage,
  Rtt,
  SecureWebSocketOptions,
  SendOptions,
  Snapshot,
  TokenContext,
} from './options.js';
import { SecureWebSocket } from './socket.js';

/** What {@link useSecureWebSocket} returns: the state, and what is done with the socket. */
export type UseSecureWebSocket<In extends IncomingMessage, Out extends OutgoingMessage> = Snapshot & {
  /** The socket, for the other hooks and for listeners; undefined until the component is mounted. */
  readonly socket: SecureWebSocket<In, Out> | undefined;
  /** `SecureWebSocket.send`; always the same function. */
  readonly send: (message: Out, options?: SendOptions) => Promise<Ack>;
};

const CONNECTING: Snapshot = { state: 'connecting' };

// On a server there is no layout, and React 18 says so for each use.
const useMountEffect = typeof document === 'undefined' ? useEffect : useLayoutEffect;

/** The value of the last render, for what runs between renders. */
function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}

/**
 * A socket for as long as the component is mounted.
 *
 * Renders again when the state changes, and for no message: use `onMessage` or {@link useMessage}. The callbacks and the
 * token are those of the last render. A new `authToken` is put in force on the open connection and never replaces the
 * socket, unless that had been closed for the old one. Another `url` or `auth` is another socket; the other options are
 * read when it is made.
 */
export function useSecureWebSocket<
  In extends IncomingMessage = IncomingMessage,
  Out extends OutgoingMessage = OutgoingMessage,
>(options: SecureWebSocketOptions<In, Out>): UseSecureWebSocket<In, Out> {
  const latest = useLatest(options);
  const current = useRef<SecureWebSocket<In, Out> | undefined>(undefined);
  const [socket, setSocket] = useState<SecureWebSocket<In, Out>>();
  const [round, startOver] = useReducer((rounds: number) => rounds + 1, 0);
  const { auth, authToken } = options;
  const url = String(options.url);

  useMountEffect(() => {
    const token = (context: TokenContext): string | Promise<string> => {
      const source = latest.current.authToken ?? '';
      return typeof source === 'function' ? source(context) : source;
    };
    // In StrictMode the first of two is closed before it connects: that happens later than effects.
    const made = new SecureWebSocket<In, Out>(
      // Callbacks are looked up when they are called: those of the last render are found.
      new Proxy(latest.current, {
        get: (_, name: keyof SecureWebSocketOptions) =>
          name === 'authToken' ? latest.current.authToken && token : latest.current[name],
      }),
    );
    current.current = made;
    setSocket(made);
    return () => made.close();
  }, [url, auth, round]);

  useEffect(() => {
    if (typeof authToken !== 'string') return;
    if (current.current?.state === 'closed') startOver();
    else void current.current?.refresh();
  }, [authToken]);

  const send = useCallback(
    (message: Out, sendOptions?: SendOptions) =>
      current.current?.send(message, sendOptions) ??
      Promise.reject(new SecureWebSocketError('closed', 'the component is not mounted')),
    [],
  );
  const snapshot = useSocketValue(socket, 'statechange', (it) => it.snapshot) ?? CONNECTING;
  return { ...snapshot, socket, send };
}

/** Calls `handler`, that of the last render, with every message of a type; renders nothing. */
export function useMessage<In extends IncomingMessage, T extends In['type']>(
  socket: SecureWebSocket<In, any> | undefined,
  type: T,
  handler: (message: Extract<In, { type: T }> | (string extends In['type'] ? In : never)) => void,
): void {
  const latest = useLatest(handler);
  useEffect(() => {
    if (!socket) return undefined;
    const stop = new AbortController();
    socket.addEventListener('message', ({ data }) => data.type === type && latest.current(data as any), stop);
    return () => stop.abort();
  }, [socket, type]);
}

/** How long the last pings took; renders again with each answer. */
export function useRtt(socket: SecureWebSocket<any, any> | undefined): Rtt | undefined {
  return useSocketValue(socket, 'rtt', (it) => it.rtt);
}

function useSocketValue<S extends SecureWebSocket<any, any>, T>(
  socket: S | undefined,
  event: 'statechange' | 'rtt',
  read: (socket: S) => T,
): T | undefined {
  const subscribe = useCallback(
    (changed: () => void) => {
      socket?.addEventListener(event, changed);
      return () => socket?.removeEventListener(event, changed);
    },
    [socket, event],
  );
  return useSyncExternalStore(
    subscribe,
    () => socket && read(socket),
    () => undefined,
  );
}
