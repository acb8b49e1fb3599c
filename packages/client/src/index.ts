/**
 * The WebSocket client of wsguard.
 *
 * Importing this has no side effect: no socket, timer or global is touched before a {@link SecureWebSocket} is made.
 *
 * @module
 */
export {
  type ClientErrorCode,
  SecureWebSocketError,
  type SecureWebSocketErrorCode,
  type SecureWebSocketErrorDetails,
} from './errors.js';
export type {
  Ack,
  AuthMethod,
  CloseInfo,
  HealthOptions,
  IncomingMessage,
  Logger,
  OutgoingMessage,
  QueueOptions,
  ReconnectOptions,
  Rtt,
  SecureWebSocketOptions,
  SendOptions,
  Snapshot,
  State,
  Timers,
  TokenContext,
  TokenProvider,
  WebSocketConstructor,
  WebSocketLike,
} from './options.js';
export { CLOSE_CODE, type CloseCodeName, ERROR_CODES, type ErrorCode, type Welcome } from './protocol.js';
export type { SecureWebSocketEvents, SecureWebSocketListener } from './events.js';
export type { Page } from './page.js';
export { SecureWebSocket } from './socket.js';
