// Compiled and never run: what must type-check, and what must not.
import { SecureWebSocket, SecureWebSocketError, type SecureWebSocketErrorCode } from '@wsguard/client';
import { WebSocket } from 'ws';

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
