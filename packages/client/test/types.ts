// Compiled and never run: what must type-check, and what must not.
import { SecureWebSocket, SecureWebSocketError, type SecureWebSocketErrorCode } from '@wsguard/client';
import { describe } from '@wsguard/client/describe';
import { iterate } from '@wsguard/client/iterate';
import { useMessage, useSecureWebSocket } from '@wsguard/client/react';
import { schemas } from '@wsguard/client/schema';
import { type } from 'arktype';
import * as v from 'valibot';
import { WebSocket } from 'ws';
import { z } from 'zod';

const socket = new SecureWebSocket({
  url: 'wss://example.com/ws',
  authToken: 'your-auth-token',
  debug: true,
  onMessage: (message) => console.log('Received message:', message),
});
socket.send({ type: 'chat', payload: { message: 'Hello, world!' } }).catch((error) => console.error(error));
socket.close();

new SecureWebSocket({ url: new URL('wss://example.com/ws'), authToken: async () => 'token', WebSocket });
new SecureWebSocket({ url: 'wss://example.com/ws', auth: 'cookie', reconnect: { maxDelayMs: 1_000 } });
new SecureWebSocket({
  url: 'wss://example.com/ws',
  authToken: ({ reason }) => (reason === 'rejected' ? 'fresh' : 'cached'),
  onClose: ({ error, willReconnect }) => {
    if (error?.code === 'rate_limited' && willReconnect) console.log(error.retryAfterMs?.toFixed());
  },
});

export const state: 'connecting' | 'open' | 'reconnecting' | 'closed' = socket.state;
export const code: SecureWebSocketErrorCode = new SecureWebSocketError('closed', '').code;

// @ts-expect-error: a misspelt method of authentication
new SecureWebSocket({ url: 'wss://example.com/ws', authToken: 't', auth: 'query' });
// @ts-expect-error: the address is needed
new SecureWebSocket({ authToken: 't' });
// @ts-expect-error: a message has a type
socket.send({ payload: 1 });
// @ts-expect-error: the state is not the application's to set
socket.state = 'closed';
// @ts-expect-error: no such code
export const wrong: SecureWebSocketErrorCode = 'queue_overflow';

// States: what belongs to one is only there in it.
const { snapshot } = socket;
if (snapshot.state === 'open') console.log(snapshot.welcome.subject);
if (snapshot.state === 'reconnecting') console.log(snapshot.error.code, snapshot.retryAt?.toFixed());
if (snapshot.state === 'closed') console.log(snapshot.error?.code);
// @ts-expect-error: there is no welcome before the state is known
console.log(snapshot.welcome);

// Codes narrow.
export function explain(error: SecureWebSocketError): string {
  switch (error.code) {
    case 'rate_limited':
    case 'delivery_unknown':
      return error.code satisfies 'rate_limited' | 'delivery_unknown';
    // @ts-expect-error: no such code
    case 'rate_limit':
      return '';
    default:
      return describe(error);
  }
}

// Events.
socket.addEventListener('message', ({ data }) => console.log(data.type, data.payload));
socket.addEventListener('close', ({ code, willReconnect }) => console.log(code.toFixed(), willReconnect));
socket.addEventListener('anything', (event) => console.log(event.type));
// @ts-expect-error: a message has no code
socket.addEventListener('message', ({ code }) => console.log(code));

// Options of a call.
void socket.send({ type: 'typing' }, { ack: false, signal: new AbortController().signal, timeoutMs: 1_000 });
// @ts-expect-error: no such policy
new SecureWebSocket({ url: 'wss://example.com/ws', authToken: 't', queue: { policy: 'drop-some' } });
// @ts-expect-error: no such choice
new SecureWebSocket({ url: 'wss://example.com/ws', authToken: 't', onLost: 'ignore' });

// Schemas of three libraries, in both directions.
const typed = new SecureWebSocket({
  url: 'wss://example.com/ws',
  authToken: 't',
  ...schemas({
    incoming: {
      chat: z.object({ from: z.string(), at: z.coerce.number() }),
      count: v.number(),
      odd: type({ odd: 'boolean' }),
    },
    outgoing: { chat: z.object({ message: z.string(), at: z.string().transform(Number) }), leave: z.undefined() },
  }),
  onMessage: (message) => {
    if (message.type === 'chat') console.log(message.payload.from.length, message.payload.at.toFixed(), message.seq);
    else if (message.type === 'count') console.log(message.payload.toFixed());
    else console.log(message.payload.odd satisfies boolean);
    // @ts-expect-error: no such type
    if (message.type === 'other') return;
  },
});
void typed.send({ type: 'chat', payload: { message: 'hello', at: '7' } });
void typed.send({ type: 'leave' });
// @ts-expect-error: the input of the schema counts, not its output
void typed.send({ type: 'chat', payload: { message: 'hello', at: 7 } });
// @ts-expect-error: a payload is needed
void typed.send({ type: 'chat' });
// @ts-expect-error: this direction does not know the type
void typed.send({ type: 'count', payload: 1 });
export async function read(): Promise<void> {
  for await (const message of iterate(typed, { maxMessages: 10 })) {
    if (message.type === 'count') console.log(message.payload.toFixed());
    // @ts-expect-error: a number has no length
    if (message.type === 'count') console.log(message.payload.length);
  }
}

// React.
export function Chat(): string {
  const chat = useSecureWebSocket({
    url: 'wss://example.com/ws',
    authToken: 't',
    ...schemas({ incoming: { chat: z.object({ from: z.string() }), count: z.number() } }),
  });
  useMessage(chat.socket, 'chat', ({ payload }) => console.log(payload.from.length));
  useMessage(chat.socket, 'count', ({ payload }) => console.log(payload.toFixed()));
  // @ts-expect-error: no such type
  useMessage(chat.socket, 'other', () => {});
  // @ts-expect-error: the payload of a chat is no number
  useMessage(chat.socket, 'chat', ({ payload }) => console.log(payload.toFixed()));
  void chat.send({ type: 'anything' });
  if (chat.state === 'reconnecting') return chat.error.message;
  // @ts-expect-error: only while it reconnects
  return chat.error.message;
}
export function Untyped(): null {
  const { socket: any } = useSecureWebSocket({ url: 'wss://example.com/ws', auth: 'cookie' });
  useMessage(any, 'whatever', ({ payload }) => console.log(payload));
  return null;
}
