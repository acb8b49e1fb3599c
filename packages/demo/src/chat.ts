// The lobby: what was said, what is on its way, and what the guard refused.
import { byId, h } from "./dom.ts";
import { clock, short } from "./format.ts";

/** Older messages leave the list, so that a long session stays quick. */
const MESSAGES_MAX = 300;
/** Longer text is cut where it is shown: laying out one endless word takes a browser seconds. */
const CHARACTERS_MAX = 4_000;

/** A message on its way: its element until the server's own broadcast of it arrives. */
interface Pending {
  element: HTMLElement;
  text: string;
}

export interface Refused {
  code: string;
  ref: string | null;
}

export class Chat {
  readonly #list = byId("messages");
  readonly #composer = byId<HTMLFormElement>("composer");
  readonly #text = byId<HTMLTextAreaElement>("text");
  readonly #button = byId<HTMLButtonElement>("send");
  #pending: Pending[] = [];
  #me = "";
  #atEnd = true;

  /** `send` resolves when the guard acknowledged the message and rejects with what the peer got. */
  constructor(send: (text: string) => Promise<void>, refusedBecause: (error: unknown) => Refused) {
    this.#composer.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (text === "") return;
      this.#text.value = "";
      this.#grow();
      this.#atEnd = true;
      const element = this.#add(this.#me, text, Date.now(), "pending");
      const pending = { element, text };
      this.#pending.push(pending);
      send(text).then(
        () => this.#settle(element, "delivered"),
        (error: unknown) => {
          this.#pending = this.#pending.filter((other) => other !== pending);
          const { code, ref } = refusedBecause(error);
          this.#settle(element, "refused");
          // What was refused has a reference; the rest the client says by itself.
          const what = ref !== null ? "refused" : code === "delivery_unknown" ? "may have arrived" : "not sent";
          element.append(
            h("p", { class: "refusal" }, what, h("code", {}, code), ref !== null && h("code", { class: "ref" }, ref)),
          );
        },
      );
    });
    this.#text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#composer.requestSubmit();
    });
    this.#text.addEventListener("input", () => this.#grow());
    const list = this.#list;
    list.addEventListener("scroll", () => {
      this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    });
    // Also when the list comes back from behind another tab, or a keyboard takes half of the window.
    new ResizeObserver(() => this.#follow()).observe(list);
  }

  /** The subject as the server knows it. */
  identify(subject: string): void {
    this.#me = subject;
    byId("chat-me").replaceChildren("You are ", h("strong", {}, subject));
  }

  /** The connection is there, comes back, or does not. While it is away, what is written waits. */
  become(state: "open" | "away" | "closed"): void {
    this.#text.placeholder = { open: "Write to the lobby", away: "Not connected: messages wait", closed: "Not connected" }[state];
    // Before the first welcome nobody knows who writes.
    this.#text.disabled = this.#button.disabled = state === "closed" || this.#me === "";
  }

  focus(): void {
    if (matchMedia("(pointer: fine)").matches) this.#text.focus();
  }

  /** A `chat` frame of the server. */
  receive(payload: { from: string; message: string; at: number }): void {
    if (payload.from === this.#me) {
      // The guard may have neutralised the text, so that it need not equal what was typed: then the oldest is meant.
      const at = this.#pending.findIndex((pending) => pending.text === payload.message);
      const [own] = this.#pending.splice(Math.max(0, at), 1);
      if (own !== undefined) {
        const body = own.element.querySelector(".body");
        if (body !== null) body.textContent = short(payload.message, CHARACTERS_MAX);
        return;
      }
    }
    this.#add(payload.from, payload.message, payload.at, "received");
  }

  /** A line of the page itself, such as a lost connection. */
  notice(text: string): void {
    this.#append(h("li", { class: "notice" }, text));
  }

  #add(from: string, text: string, at: number, state: string): HTMLElement {
    const own = from === this.#me;
    const before = this.#list.lastElementChild;
    const follows = before instanceof HTMLElement && before.dataset["from"] === from;
    const element = h(
      "li",
      { class: "message", "data-message": true, "data-from": from, "data-own": own, "data-follows": follows, "data-status": state },
      h("span", { class: "from" }, own ? "You" : from),
      h(
        "div",
        { class: "bubble" },
        h("span", { class: "body" }, short(text, CHARACTERS_MAX)),
        h("time", { datetime: new Date(at).toISOString() }, clock(at).slice(0, 5)),
        own && h("span", { class: "tick", role: "img", "aria-label": state === "pending" ? "on its way" : "delivered" }),
      ),
    );
    this.#append(element);
    return element;
  }

  #append(element: HTMLElement): void {
    this.#list.append(element);
    while (this.#list.childElementCount > MESSAGES_MAX) this.#list.firstElementChild?.remove();
    this.#follow();
  }

  /** Keeps the newest message in view, unless the person scrolled back. */
  #follow(): void {
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #settle(element: HTMLElement, state: "delivered" | "refused"): void {
    element.dataset["status"] = state;
    element.querySelector(".tick")?.setAttribute("aria-label", state);
    this.#follow();
  }

  #grow(): void {
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 160)}px`;
  }
}
