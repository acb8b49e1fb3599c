// The live panel: what the guard says about each message and about the session. Nothing here comes from page script.
import { byId, h, s } from "./dom.ts";
import type { Bucket, GuardEvent, LogRecord, SessionState } from "./events.ts";
import { bytes, clock, countdown, micros, unitOf } from "./format.ts";
import { Gauges } from "./gauges.ts";
import { codeOf, controlOf, isRefusal, reasonOf, refOf, statusOf, type Records } from "./records.ts";
import { story } from "./story.ts";

const ROWS_MAX = 120;
/** Equal answers of one connection within this time share a row, so that a flood stays readable. */
const MERGE_MS = 400;
/** How far back such a row may be: allowed and refused ones alternate while a bucket refills. */
const MERGE_ROWS = 4;

/** The controls of a message in the contract's order, and how they are called here. */
const CONTROLS: readonly (readonly [id: string, name: string])[] = [
  ["liveness", "liveness"],
  ["rate", "rate"],
  ["scan", "scan"],
  ["csrf", "CSRF"],
  ["authorization", "authorization"],
  ["rate_type", "rate of type"],
  ["schema", "schema"],
  ["content", "content"],
  ["deliver", "delivery"],
];

/** Controls that answer at the place of another one. */
const ALIASES: Record<string, string> = {
  application: "deliver",
  delivery: "deliver",
};
const placeOf = (control: string): number => {
  const plain = control.toLowerCase().replaceAll("-", "_");
  const id = ALIASES[plain] ?? plain;
  return CONTROLS.findIndex(([known]) => known === id);
};

const HANDSHAKE: ReadonlySet<string> = new Set(["upgrade", "handshake_rate", "host", "origin", "credential", "session_cap"]);

interface Ring {
  element: SVGSVGElement;
  set(share: number): void;
}

function ring(): Ring {
  const value = s("circle", { class: "ring-value", cx: 22, cy: 22, r: 18, pathLength: 100 });
  const element = s("svg", { class: "ring", viewBox: "0 0 44 44", "aria-hidden": "true" }, s("circle", { class: "ring-track", cx: 22, cy: 22, r: 18 }), value);
  return { element, set: (share) => (value.style.strokeDashoffset = String(100 - 100 * Math.min(1, Math.max(0, share)))) };
}

/** A time that runs out, drawn as a ring. Its whole is the longest rest it was seen with. */
class Rest {
  readonly element: HTMLElement;
  readonly #ring = ring();
  readonly #value = h("strong", {}, "–");
  #endsAt: number | null = null;
  #whole = 1;

  readonly #name: HTMLElement;
  readonly #label: string;

  constructor(id: string, label: string) {
    this.#label = label;
    this.#name = h("span", {}, label);
    this.element = h("div", { class: "vital", id }, this.#ring.element, h("div", {}, this.#value, this.#name));
  }

  /** `warned`: the client was told that it ends. */
  set(endsAt: number | null, warned: boolean): void {
    if (endsAt !== null && endsAt !== this.#endsAt) this.#whole = Math.max(1, endsAt - Date.now());
    this.#endsAt = endsAt;
    this.element.dataset["warned"] = String(warned);
    this.#name.textContent = warned ? `${this.#label}, client was told` : this.#label;
    this.tick();
  }

  tick(): void {
    if (this.#endsAt === null) return;
    const rest = this.#endsAt - Date.now();
    this.#value.textContent = countdown(rest);
    this.#ring.set(rest / this.#whole);
    this.element.dataset["low"] = String(rest < this.#whole / 5);
  }
}

interface Row {
  element: HTMLElement;
  event: GuardEvent;
  count: number;
  lastAt: number;
  countElement: HTMLElement;
}

export class Panel {
  readonly #records: Records;
  readonly #rows = byId("rows");
  readonly #token = new Rest("vital-token", "left of the token");
  readonly #csrf = new Rest("vital-csrf", "to CSRF rotation");
  readonly #id = h("strong", {}, "–");
  readonly #age = h("span", {}, "session");
  readonly #buckets = new Map<string, { element: HTMLElement; bar: HTMLElement; value: HTMLElement }>();
  readonly #gauges = new Gauges();
  readonly #whose = byId("whose");
  /** The page's own session and its last state, the session that is looked at for a while, and which of them is shown. */
  #own: string | null = null;
  #ownState: SessionState | null = null;
  #guest: string | null = null;
  #shown: string | null = null;
  #startedAt: number | null = null;
  #recent: Row[] = [];

  constructor(records: Records) {
    this.#records = records;
    byId("vitals").replaceChildren(
      h("div", { class: "vital", id: "vital-session" }, h("div", {}, this.#id, this.#age)),
      this.#token.element,
      this.#csrf.element,
    );
    byId("legend").replaceChildren(...CONTROLS.map(([id, name]) => h("li", { "data-control": id }, name)));
    setInterval(() => this.#tick(), 1_000);
    this.#empty();
  }

  /** Shows the state of this session from now on, and no other; `whose` is how it is called, null for the page's own. */
  show(session: string, whose: string | null): void {
    if (whose === null) this.#own = session;
    else this.#guest = session;
    if (whose === null && this.#guest !== null) return;
    this.#shown = session;
    this.#whose.textContent = whose === null ? "your session" : whose;
    this.#whose.dataset["guest"] = String(whose !== null);
    this.#id.textContent = session.length > 12 ? `${session.slice(0, 10)}…` : session;
    this.#id.title = session;
  }

  /** The session of somebody else is no longer of interest. */
  leave(session: string): void {
    if (this.#guest !== session) return;
    this.#guest = null;
    if (this.#own !== null) this.show(this.#own, null);
    if (this.#ownState !== null) this.state(this.#own ?? "", this.#ownState);
  }

  state(session: string, state: SessionState): void {
    if (session === this.#own) this.#ownState = state;
    if (session !== this.#shown) return;
    this.#startedAt = state.sessionStartedAt;
    this.#token.set(state.authExpiresAt, state.expiring);
    this.#csrf.set(state.csrfExpiresAt, false);
    this.#gauges.show(state.ladder, state.anomaly);
    this.#tick();
    for (const bucket of state.buckets) this.#bucket(bucket);
  }

  /** Adds what the guard did with a message; `mark` says of whose, where it is not the page's own. */
  message(event: GuardEvent, mark: string | null): void {
    // Where the log was quicker than the event, the event takes its place, because it says more.
    if (event.ref !== null) this.#rowOf(event.ref)?.remove();
    // Floods of an attack, and the pings and acknowledgements that a client sends by itself.
    const isMerged = (row: Row): boolean => (mark !== null ? event.at - row.lastAt < MERGE_MS : event.type === "" && event.verdict === "allow");
    const alike = this.#recent.find((row) => isAlike(row.event, event) && isMerged(row));
    if (alike) {
      alike.count += 1;
      alike.lastAt = event.at;
      alike.countElement.textContent = `×${alike.count}`;
      alike.element.dataset["many"] = "true";
      return;
    }
    const row = this.#row(event, mark);
    this.#recent.unshift(row);
    this.#recent.length = Math.min(this.#recent.length, MERGE_ROWS);
    this.#show(row.element);
  }

  /** Adds a refusal that no message event tells of: a handshake, or frames that never became a message. */
  refusedElsewhere(record: LogRecord): void {
    const control = controlOf(record);
    const ref = refOf(record);
    if (control === null || !isRefusal(record) || placeOf(control) !== -1 || (ref !== null && this.#rowOf(ref) !== null)) return;
    const detail = h("div", { class: "detail" });
    const what = HANDSHAKE.has(control) ? "handshake" : control === "frame" ? "frame" : "connection";
    const code = codeOf(record);
    const status = statusOf(record);
    const peer = [code, status === null ? null : `HTTP ${status}`].filter((word) => word !== null).join(", ");
    const toggle = expandable(detail, () => [story([peer === "" ? "the connection ended" : peer], record, ref)], [
      h("span", { class: "row-type" }, what),
      h("span", { class: "verdict" }, "refused", h("span", { class: "by" }, control)),
      h("span", { class: "row-reason" }, reasonOf(record) ?? ""),
      h("span", { class: "row-total right" }, "–"),
    ]);
    this.#show(h("li", { "data-verdict": "refuse", "data-control": control, "data-code": code, "data-ref": ref }, toggle, detail));
  }

  #rowOf(ref: string): Element | null {
    return this.#rows.querySelector(`[data-ref="${CSS.escape(ref)}"]`);
  }

  #show(element: HTMLElement): void {
    this.#rows.querySelector(".empty")?.remove();
    this.#rows.prepend(element);
    // Not by style sheet: there it would run again for every row whenever a hidden panel is shown.
    if (element.checkVisibility() && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      element.animate([{ opacity: 0, transform: "translateY(-6px)" }, {}], { duration: 280, easing: "ease-out" });
    }
    while (this.#rows.childElementCount > ROWS_MAX) this.#rows.lastElementChild?.remove();
  }

  #row(event: GuardEvent, mark: string | null): Row {
    const total = event.ns?.total ?? 0;
    const countElement = h("span", { class: "count" });
    const detail = h("div", { class: "detail" });
    const toggle = expandable(detail, () => this.#detail(event), [
      h(
        "span",
        { class: "row-type" },
        // What the guard answers by itself, and what it refused before it knew the type, has none.
        event.type || (event.verdict === "allow" ? "control frame" : "message"),
        event.id !== null && h("span", { class: "row-id" }, `#${event.id}`),
        mark !== null && h("span", { class: "mark" }, mark),
        countElement,
      ),
      h(
        "span",
        { class: "verdict" },
        event.verdict === "allow" ? "allowed" : event.verdict === "close" ? "closed" : "refused",
        event.control !== null && event.verdict !== "allow" && h("span", { class: "by" }, nameOf(event.control)),
      ),
      gates(event),
      h("span", { class: "row-total right" }, total === 0 ? "–" : micros(total)),
    ]);
    const element = h(
      "li",
      { "data-verdict": event.verdict, "data-control": event.control, "data-code": event.code, "data-ref": event.ref },
      toggle,
      detail,
    );
    return { element, event, count: 1, lastAt: event.at, countElement };
  }

  #detail(event: GuardEvent): Node[] {
    const parts = event.ns?.controls ?? [];
    const nodes: Node[] = [
      h("p", { class: "note" }, `${clock(event.at)} · ${bytes(event.bytes)} · session ${event.session.slice(0, 10)}…`),
    ];
    if (parts.length > 0) {
      nodes.push(
        h(
          "dl",
          { class: "times" },
          ...parts.flatMap(([control, ns]) => [
            h("dt", { "data-control": CONTROLS[placeOf(control)]?.[0] ?? control }, nameOf(control)),
            h("dd", {}, `${micros(ns)} µs`),
          ]),
        ),
      );
    }
    if (event.verdict !== "allow") {
      const record = event.ref === null ? null : this.#records.byRef(event.ref);
      const peer = JSON.stringify({ type: "error", id: event.id ?? undefined, payload: { code: event.code, ref: event.ref } });
      nodes.push(story([peer], record, event.ref ?? (record === null ? null : refOf(record))));
    }
    return nodes;
  }

  #bucket(bucket: Bucket): void {
    let shown = this.#buckets.get(bucket.name);
    if (shown === undefined) {
      const bar = h("span", { class: "bucket-fill" });
      const value = h("span", { class: "bucket-value" });
      const element = h("li", { class: "bucket" }, h("span", { class: "bucket-name" }, bucket.name), value, h("span", { class: "bucket-bar" }, bar));
      shown = { element, bar, value };
      this.#buckets.set(bucket.name, shown);
      byId("buckets").append(element);
    }
    const share = Math.min(1, Math.max(0, bucket.used));
    shown.bar.style.transform = `scaleX(${share})`;
    shown.element.dataset["level"] = share > 0.95 ? "full" : share > 0.6 ? "high" : "low";
    const [factor, unit] = bucket.unit === "bytes" ? unitOf(bucket.burst) : [1, ""];
    const amount = (count: number): string => rounded(count / factor);
    shown.value.textContent = `${amount(share * bucket.burst)} of ${amount(bucket.burst)}${unit}, +${amount(bucket.perSecond)}${unit}/s`;
  }

  #tick(): void {
    this.#token.tick();
    this.#csrf.tick();
    if (this.#startedAt !== null) this.#age.textContent = `session for ${countdown(Date.now() - this.#startedAt)}`;
  }

  #empty(): void {
    this.#rows.replaceChildren(h("li", { class: "empty" }, "Say something in the lobby, or press an attack: each message appears here with the controls it went through."));
  }
}

function isAlike(one: GuardEvent, other: GuardEvent): boolean {
  return (
    one.session === other.session && one.type === other.type && one.verdict === other.verdict && one.code === other.code
  );
}

/** The line of a row: a button that fills `detail` when it opens and empties it when it closes. */
function expandable(detail: HTMLElement, fill: () => Node[], children: Node[]): HTMLButtonElement {
  const toggle = h(
    "button",
    {
      type: "button",
      class: "row",
      "aria-expanded": "false",
      click: () => {
        const open = toggle.getAttribute("aria-expanded") !== "true";
        toggle.setAttribute("aria-expanded", String(open));
        detail.replaceChildren(...(open ? fill() : []));
        detail.scrollIntoView({ block: "nearest" });
      },
    },
    ...children,
  );
  return toggle;
}

const rounded = (count: number): string => String(count >= 10 ? Math.round(count) : Number(count.toFixed(1)));

function nameOf(control: string): string {
  return CONTROLS[placeOf(control)]?.[1] ?? control;
}

/** One gate per control: as wide as its time, red where the message was stopped, hollow where it never came. */
function gates(event: GuardEvent): HTMLElement {
  const times = new Map((event.ns?.controls ?? []).map(([control, ns]) => [placeOf(control), ns]));
  const stoppedAt = event.verdict === "allow" || event.control === null ? -1 : placeOf(event.control);
  const bar = h("span", { class: "gates", "aria-hidden": "true" });
  for (const [at, [id, name]] of CONTROLS.entries()) {
    const ns = times.get(at);
    const reached = event.verdict === "allow" || at <= stoppedAt;
    const state = at === stoppedAt ? "stopped" : !reached ? "unreached" : "through";
    const gate = h("i", { "data-control": id, "data-gate": state, title: ns === undefined ? name : `${name}: ${micros(ns)} µs` });
    gate.style.flexGrow = String(state === "unreached" ? 0 : (ns ?? 0));
    bar.append(gate);
  }
  return bar;
}
