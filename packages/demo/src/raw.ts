// A peer without manners: a browser WebSocket that sends exactly the text it is given.
import { socketUrl } from "./people.ts";

/** A frame of the server, parsed; `payload` is whatever the server put there. */
export interface Frame {
  type: string;
  id?: string | number;
  seq?: number;
  payload?: Record<string, unknown>;
}

export interface Closed {
  code: number;
  reason: string;
}

/** What `welcome` says, as far as this page needs it. */
export interface Welcome {
  session: string;
  csrfToken: string;
  subject: string;
  authExpiresAt: number;
  resumeToken: string | null;
  resumed: boolean;
}

export class RawPeer {
  readonly frames: Frame[] = [];
  /** Set once the connection ended. */
  closed: Closed | null = null;
  readonly #socket: WebSocket;
  readonly #waiting = new Set<() => void>();

  /**
   * Dials with the token as the browser credential of the protocol, `wsguard.bearer.TOKEN`; `resume` is one more entry,
   * `wsguard.resume` or `wsguard.resume.TOKEN.LASTSEQ`.
   */
  constructor(token: string, resume?: string) {
    const entries = ["wsguard.v1", `wsguard.bearer.${token}`];
    this.#socket = new WebSocket(socketUrl(), resume === undefined ? entries : [...entries, resume]);
    this.#socket.addEventListener("message", (event) => {
      if (typeof event.data === "string") this.frames.push(JSON.parse(event.data) as Frame);
      this.#wake();
    });
    this.#socket.addEventListener("close", (event) => {
      this.closed = { code: event.code, reason: event.reason };
      this.#wake();
    });
  }

  /** Waits until a frame fits, the connection ends, or `ms` passed; the frame, or null. */
  async until(fits: (frame: Frame) => boolean, ms = 3_000): Promise<Frame | null> {
    let found: Frame | null = null;
    await this.settle(() => (found = this.frames.find(fits) ?? null) !== null, ms);
    return found;
  }

  /** Waits until `done` holds, the connection ends, or `ms` passed. */
  async settle(done: () => boolean, ms = 3_000): Promise<void> {
    if (done() || this.closed !== null) return;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!done() && this.closed === null) return;
        finish();
      };
      const finish = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      const timer = setTimeout(finish, ms);
      this.#waiting.add(look);
    });
  }

  /** The payload of `welcome`; throws when the guard did not let this peer in. */
  async welcome(): Promise<Welcome> {
    const frame = await this.until((candidate) => candidate.type === "welcome");
    const payload = frame?.payload;
    if (typeof payload?.["session"] !== "string" || typeof payload["csrfToken"] !== "string") {
      throw new Error(this.closed === null ? "no welcome in time" : `closed with ${this.closed.code} before welcome`);
    }
    return {
      session: payload["session"],
      csrfToken: payload["csrfToken"],
      subject: String(payload["subject"]),
      authExpiresAt: Number(payload["authExpiresAt"]),
      resumeToken: typeof payload["resumeToken"] === "string" ? payload["resumeToken"] : null,
      resumed: payload["resumed"] === true,
    };
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#socket.close(1000);
  }

  #wake(): void {
    for (const waiter of [...this.#waiting]) waiter();
  }
}
