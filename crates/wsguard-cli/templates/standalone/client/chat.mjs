// A chat on a terminal: `npm start`, or `npm start -- wss://chat.example/ws`. Made by `wsguard setup`; yours to change.
import { createInterface } from 'node:readline';
import { SecureWebSocket } from '@wsguard/client';

const url = process.argv[2] ?? 'ws://localhost:3000/ws';
// `test_token` is what `wsguard serve --dev` accepts. Elsewhere: WSGUARD_TOKEN="$(wsguard token …)" npm start
const authToken = process.env.WSGUARD_TOKEN ?? 'test_token';

/** What others write must not move the cursor or colour the screen. */
const plain = (text) => String(text).replace(/\p{Cc}/gu, ' ');

const socket = new SecureWebSocket({
  url,
  authToken,
  onOpen: ({ subject }) => console.log(`connected as ${plain(subject)}; type a line`),
  onMessage: ({ type, payload }) => type === 'chat' && console.log(`${plain(payload.from)}: ${plain(payload.message)}`),
  onClose: ({ error, willReconnect }) => willReconnect && console.error(`lost (${error?.code}); coming back`),
});

const lines = createInterface({ input: process.stdin });
const sending = new Set();
lines.on('line', (message) => {
  if (!message.trim()) return;
  // Resolves when the server has handled the message.
  const sent = socket.send({ type: 'chat', payload: { message } }).catch((error) => console.error(`not sent: ${error.code}`));
  sending.add(sent);
  sent.finally(() => sending.delete(sent));
});
lines.on('close', async () => {
  await Promise.all(sending);
  socket.close();
});
socket.addEventListener('close', ({ error, willReconnect }) => {
  if (willReconnect) return;
  lines.close();
  if (error) {
    console.error(`closed: ${error.code}`);
    process.exitCode = 1;
  }
});
