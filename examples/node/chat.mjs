// A chat on a terminal: `node chat.mjs ws://localhost:3000/ws test_token`.
import { createInterface } from 'node:readline';
import { inspect } from 'node:util';
import { SecureWebSocket } from '@wsguard/client';

const [url = 'ws://localhost:3000/ws', token = 'test_token'] = process.argv.slice(2);

const lines = createInterface({ input: process.stdin });
const socket = new SecureWebSocket({
  url,
  // A real program asks its login service here, each time, so that the socket outlives the token.
  authToken: async () => token,
  onOpen: ({ subject }) => console.log(`connected as ${subject}`),
  onMessage: ({ type, payload }) => {
    // inspect: what others write must not move the cursor or colour the screen.
    if (type === 'chat') console.log(`${payload.from}: ${inspect(payload.message)}`);
  },
  onClose: ({ code, error, willReconnect }) => {
    if (willReconnect) return console.log(`! lost (${code}), coming back`);
    lines.close();
    if (!error) return;
    console.log(`! closed: ${error.code} (ref ${error.ref ?? 'none'})`);
    process.exitCode = 1;
  },
});

for await (const message of lines) {
  // Resolves when the server has handled the message, also where the connection was lost in between.
  await socket
    .send({ type: 'chat', payload: { message } })
    .catch((error) => console.log(`! not sent: ${error.code} (ref ${error.ref ?? 'none'})`));
}
socket.close();
