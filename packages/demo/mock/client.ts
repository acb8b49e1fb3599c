// Stands for @wsguard/client as long as that package has no sources beside this one: the calls this page makes, no more.

interface Options {
  url: string;
  authToken: () => Promise<string>;
  onOpen(welcome: { session: string; subject: string }): void;
  onMessage(message: { type: string; payload: unknown }): void;
  onStateChange(state: string): void;
  onClose(info: { code: number; willReconnect: boolean }): void;
}

export class SecureWebSocket {
  #socket: WebSocket | null = null;
  #csrf = "";
  #id = 0;
  readonly #waiting = new Map<number, { resolve(): void; reject(error: unknown): void }>();

  constructor(options: Options) {
    void this.#dial(options);
  }

  async #dial(options: Options): Promise<void> {
    options.onStateChange("connecting");
    const socket = new WebSocket(options.url, ["wsguard.v1", `wsguard.bearer.${await options.authToken()}`]);
    this.#socket = socket;
    socket.onmessage = (event) => {
      const frame = JSON.parse(event.data as string);
      if (frame.type === "welcome") {
        this.#csrf = frame.payload.csrfToken;
        options.onStateChange("open");
        options.onOpen(frame.payload);
      } else if (frame.type === "ack") this.#waiting.get(frame.id)?.resolve();
      else if (frame.type === "error") this.#waiting.get(frame.id)?.reject(frame.payload);
      else options.onMessage(frame);
    };
    socket.onclose = (event) => {
      options.onStateChange("closed");
      options.onClose({ code: event.code, willReconnect: false });
    };
  }

  send(message: { type: string; payload: unknown }): Promise<void> {
    this.#id += 1;
    const id = this.#id;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket?.send(JSON.stringify({ ...message, id, csrfToken: this.#csrf }));
    });
  }

  close(): void {
    this.#socket?.close(1000);
  }
}
