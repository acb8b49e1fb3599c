// What the peer got beside what the operator got: the same refusal, told twice.
import { h } from "./dom.ts";
import type { LogRecord } from "./events.ts";
import { controlOf, reasonOf, refOf } from "./records.ts";

/** The story of an entry in a few words, for where the whole entry has no room. */
export function summary(record: LogRecord): string {
  const words = [controlOf(record), reasonOf(record)].filter((word) => word !== null);
  return words.length > 0 ? words.join(" · ") : "an entry without control and reason";
}

/** Two columns, joined by the reference. */
export function story(peer: readonly string[], record: LogRecord | null, ref: string | null): HTMLElement {
  const shownRef = ref ?? (record === null ? null : refOf(record));
  return h(
    "div",
    { class: "story" },
    h(
      "div",
      { class: "told" },
      h("h4", {}, "The peer got"),
      ...peer.map((text) => h("pre", { tabindex: 0 }, text)),
      peer.length === 0 && h("p", { class: "note" }, "nothing"),
    ),
    shownRef !== null && h("span", { class: "ref-join", title: "The reference that joins both" }, h("code", {}, shownRef)),
    h(
      "div",
      { class: "told operator" },
      h("h4", {}, "The operator got"),
      record === null
        ? h("p", { class: "note" }, "no entry yet")
        : h("div", {}, h("p", { class: "reason" }, summary(record)), h("pre", { tabindex: 0 }, JSON.stringify(record, null, 2))),
    ),
  );
}
