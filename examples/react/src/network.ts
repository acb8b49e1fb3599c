// A network to play with: it can be unplugged, and it can forge one token. The client does not know that it is there.

const connections = new Set<PlayWebSocket>();
let plugged = true;
let forge = false;

/** Pulls the plug, or puts it back. */
export function plug(into: boolean): void {
  plugged = into;
  if (!into) for (const connection of connections) connection.pull();
  // What a browser does when a cable is plugged in.
  dispatchEvent(new Event(into ? 'online' : 'offline'));
}

/** The next message carries a CSRF token that somebody made up. */
export function forgeNextToken(): void {
  forge = true;
}

export class PlayWebSocket extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    connections.add(this);
    this.addEventListener('close', () => connections.delete(this));
    if (!plugged) queueMicrotask(() => this.pull());
  }

  override send(text: string): void {
    if (forge && text.startsWith('{"csrfToken"')) {
      forge = false;
      text = JSON.stringify({ ...JSON.parse(text), csrfToken: 'made-up' });
    }
    super.send(text);
  }

  /** The connection is gone, and nobody said goodbye. */
  pull(): void {
    const { onclose } = this;
    this.onmessage = this.onclose = null;
    super.close(4000);
    onclose?.call(this, new CloseEvent('close', { code: 1006 }));
  }
}
