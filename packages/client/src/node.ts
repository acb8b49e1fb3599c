/**
 * The same for Node: where there is no WebSocket, as before version 22, that of the package `ws`.
 *
 * @module
 */
import { createRequire } from 'node:module';
import { SecureWebSocket as Base } from './index.js';
import type { IncomingMessage, OutgoingMessage, SecureWebSocketOptions, WebSocketConstructor } from './options.js';

export * from './index.js';

export class SecureWebSocket<
  In extends IncomingMessage = IncomingMessage,
  Out extends OutgoingMessage = OutgoingMessage,
> extends Base<In, Out> {
  constructor(options: SecureWebSocketOptions<In, Out>) {
    super({ ...options, WebSocket: options.WebSocket ?? globalThis.WebSocket ?? peer() });
  }
}

function peer(): WebSocketConstructor | undefined {
  try {
    return createRequire(import.meta.url)('ws');
  } catch {
    // The socket ends with `unsupported`.
    return undefined;
  }
}
