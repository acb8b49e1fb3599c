// The demo page of `wsguard serve --dev`: a chat, the guard's view of it, and attacks to try.
import { SecureWebSocket } from "@wsguard/client";
import { attackCards } from "./cards.ts";
import { Chat, type Refused } from "./chat.ts";
import { byId, h } from "./dom.ts";
import { watch } from "./events.ts";
import { lives } from "./lives.ts";
import { Panel } from "./panel.ts";
import { fetchToken, keepName, nameFromHash, partnerOf, socketUrl } from "./people.ts";
import { Records } from "./records.ts";
import { tabs } from "./tabs.ts";

/** How long the stream of an attack's session stays open: its events are all there after a moment. */
const FOLLOW_MS = 2_500;
/** A browser allows about six streams per host; the oldest one of an attack gives way. */
const FOLLOWED_MAX = 2;

const records = new Records();
const panel = new Panel(records);
const followed: { close(): void }[] = [];

async function follow(session: string): Promise<void> {
  while (followed.length >= FOLLOWED_MAX) followed.shift()?.close();
  const stream = watch(session, {
    message: (event) => event.session === session && panel.message(event, "attack"),
    record: (record) => records.add(record) && panel.refusedElsewhere(record),
  });
  followed.push(stream);
  setTimeout(() => {
    stream.close();
    const at = followed.indexOf(stream);
    if (at >= 0) followed.splice(at, 1);
  }, FOLLOW_MS);
  await stream.opened;
}

/** What the person is told about a rejected `send()`: the code and the reference, as the peer got them. */
function refusedBecause(error: unknown): Refused {
  const { code, ref } = (error ?? {}) as { code?: unknown; ref?: unknown };
  return { code: typeof code === "string" ? code : String(error), ref: typeof ref === "string" && ref !== "" ? ref : null };
}

const STATES: Record<string, string> = {
  connecting: "connecting",
  open: "guarded",
  reconnecting: "reconnecting",
  closed: "closed",
};

function enter(name: string): void {
  keepName(name);
  document.title = `${name} · wsguard`;
  const partnerElement = byId("second").querySelector("b");
  if (partnerElement !== null) partnerElement.textContent = partnerOf(name);
  byId("rename").hidden = false;

  let stream: { close(): void } | null = null;
  let welcomed = false;
  /** What keeps a token from coming is told once, and not at each try. */
  let told = false;
  const status = byId("connection");
  const socket = new SecureWebSocket({
    url: socketUrl(),
    authToken: async () => {
      try {
        return (await fetchToken(name)).token;
      } catch (error) {
        if (!told) chat.notice(`No token: ${error instanceof Error ? error.message : String(error)}. Trying again.`);
        told = true;
        throw error;
      }
    },
    onOpen: (welcome) => {
      stream?.close();
      stream = watch(welcome.session, {
        message: (event) => {
          if (event.session !== welcome.session) return;
          panel.message(event, null);
          if (event.state !== null && event.state !== undefined) panel.state(welcome.session, event.state);
        },
        state: (state) => panel.state(welcome.session, state),
        record: (record) => records.add(record) && panel.refusedElsewhere(record),
      });
      panel.show(welcome.session, null);
      chat.identify(welcome.subject);
      chat.become("open");
      told = false;
      // Only once: after a lost connection the focus may be elsewhere for a reason.
      if (!welcomed) chat.focus();
      welcomed = true;
    },
    onMessage: (message) => {
      if (message.type !== "chat") return;
      const { from, message: text, at } = message.payload as { from: string; message: string; at: number };
      chat.receive({ from, message: text, at });
    },
    onStateChange: (state) => {
      status.dataset["status"] = state;
      status.textContent = STATES[state] ?? state;
    },
    onClose: ({ code, willReconnect }) => {
      chat.become(willReconnect ? "away" : "closed");
      if (!willReconnect) chat.notice(`The connection ended with ${code}. Reload to come back.`);
    },
  });
  const chat = new Chat(async (text) => {
    await socket.send({ type: "chat", payload: { message: text } });
  }, refusedBecause);
}

function askForName(): void {
  const dialog = byId<HTMLDialogElement>("welcome");
  const input = byId<HTMLInputElement>("name");
  let entered = false;
  byId("picker-names").replaceChildren(
    ...["Ann", "Bob", "Carol"].map((name) =>
      h("button", { type: "button", class: "chip", click: () => ((input.value = name), input.focus()) }, name),
    ),
  );
  byId("picker").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (name === "") return;
    entered = true;
    dialog.close();
    enter(name);
  });
  const ask = (): void => {
    dialog.showModal();
    input.select();
  };
  // Without a name there is nothing behind the dialog. That it is cancelled can be prevented once, and not twice.
  dialog.addEventListener("close", () => entered || ask());
  ask();
}

byId("second").addEventListener("click", () => {
  const partner = partnerOf(nameFromHash() ?? "Ann");
  open(`${location.pathname}#${partner}`, "_blank", `popup,width=${Math.min(760, screen.availWidth)},height=${Math.min(820, screen.availHeight)}`);
});
byId("rename").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname);
  location.reload();
});
addEventListener("hashchange", () => location.reload());

tabs();
attackCards({ records, follow });
lives({ records, panel, me: () => nameFromHash() ?? "Ann" });
const name = nameFromHash();
if (name === null) askForName();
else enter(name);
