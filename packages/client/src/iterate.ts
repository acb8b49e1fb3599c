/**
 * `for await` over the messages of a socket.
 *
 * @example
 * for await (const message of iterate(socket)) console.log(message.payload);
 *
 * @module
 */
import { SecureWebSocketError } from './errors.js';
import type { IncomingMessage } from './options.js';
import type { SecureWebSocket } from './socket.js';

/** Options of {@link iterate}. */
export interface IterateOptions {
  /** Most messages that may wait to be read. @default 1000 */
  maxMessages?: number | undefined;
}

/**
 * The messages from this call on; ends with the socket, by its error if it has one.
 *
 * @throws SecureWebSocketError `queue_full` from the loop when more than `maxMessages` wait to be read.
 */
export function iterate<In extends IncomingMessage>(
  socket: SecureWebSocket<In, any>,
  { maxMessages = 1_000 }: IterateOptions = {},
): AsyncGenerator<In, void, void> {
  const messages: In[] = [];
  const stop = new AbortController();
  let more = (): void => {};
  socket.addEventListener('statechange', () => more(), stop);
  socket.addEventListener('message', ({ data }) => (messages.push(data as In), more()), stop);

  // Not the function itself: that would listen only once it is read from.
  async function* read(): AsyncGenerator<In, void, void> {
    try {
      for (;;) {
        const { snapshot } = socket;
        if (messages.length > maxMessages) throw new SecureWebSocketError('queue_full');
        const message = messages.shift();
        if (message) yield message;
        else if (snapshot.state !== 'closed') await new Promise<void>((resolve) => (more = resolve));
        else if (snapshot.error) throw snapshot.error;
        else return;
      }
    } finally {
      stop.abort();
    }
  }
  return read();
}
