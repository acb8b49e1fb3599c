// Two gauges of the panel: the ladder of penalties, and how unusual the session behaves. Both as the guard tells them.
import { byId, h } from "./dom.ts";
import type { Anomaly, Ladder } from "./events.ts";

/** Parts of a score that are shown; the smaller ones would not be read. */
const PARTS_MAX = 4;

const RUNGS = {
  calm: "calm",
  warn: "warned",
  slow: "slowed",
  drop: "messages discarded",
} satisfies Record<Ladder["rung"], string>;

export class Gauges {
  readonly #rung = h("strong", {}, "–");
  readonly #weight = h("span", {}, "ladder");
  readonly #fill = h("span", { class: "ladder-fill" });
  readonly #marks = h("span", { class: "ladder-marks" });
  readonly #ladder: HTMLElement;
  readonly #score = h("strong", {}, "–");
  readonly #scoreNote = h("span", {}, "anomaly score");
  readonly #parts = h("ul", { class: "parts", "aria-label": "What made the score" });
  readonly #anomaly: HTMLElement;
  #marked = "";

  constructor() {
    this.#ladder = h(
      "div",
      { class: "gauge", id: "gauge-ladder" },
      h("div", { class: "gauge-head" }, this.#rung, this.#weight),
      h("span", { class: "ladder-bar", "aria-hidden": "true" }, this.#fill, this.#marks),
    );
    this.#anomaly = h(
      "div",
      { class: "gauge", id: "gauge-anomaly", hidden: true },
      h("div", { class: "gauge-head" }, this.#score, this.#scoreNote),
      this.#parts,
    );
    byId("gauges").replaceChildren(this.#ladder, this.#anomaly);
  }

  show(ladder: Ladder, anomaly: Anomaly | null | undefined): void {
    this.#climb(ladder);
    this.#anomaly.hidden = anomaly === null || anomaly === undefined;
    if (anomaly !== null && anomaly !== undefined) this.#judge(anomaly);
  }

  #climb({ rung, weight, slowAt, dropAt, closeAt, offences }: Ladder): void {
    this.#ladder.dataset["rung"] = rung;
    this.#ladder.dataset["weight"] = String(weight);
    this.#rung.textContent = RUNGS[rung];
    const past = offences === 0 ? "" : `, ${offences} ${offences === 1 ? "offence" : "offences"} remembered`;
    this.#weight.textContent = `${weight} of ${closeAt} points on the ladder${past}`;
    this.#fill.style.transform = `scaleX(${Math.min(1, weight / Math.max(1, closeAt))})`;
    const marks = [slowAt, dropAt, closeAt].join();
    if (marks === this.#marked) return;
    this.#marked = marks;
    const mark = (at: number, name: string): HTMLElement => {
      const element = h("i", {}, name);
      element.style.insetInlineStart = `${(100 * at) / Math.max(1, closeAt)}%`;
      return element;
    };
    this.#marks.replaceChildren(mark(slowAt, "slow"), mark(dropAt, "drop"), mark(closeAt, "close"));
  }

  #judge({ score, parts }: Anomaly): void {
    this.#anomaly.dataset["score"] = String(score);
    this.#anomaly.dataset["level"] = score >= 60 ? "high" : score >= 30 ? "some" : "low";
    this.#score.textContent = String(score);
    this.#scoreNote.textContent = parts.length === 0 ? "anomaly score: nothing unusual" : "anomaly score, of 100";
    this.#parts.replaceChildren(
      ...parts.slice(0, PARTS_MAX).map(({ signal, points, seen, usual }) =>
        h(
          "li",
          { "data-signal": signal, title: `${signal}: ${points} points, seen ${seen}, usual ${usual}` },
          h("b", {}, `+${points}`),
          ` ${signal.replaceAll("_", " ")} `,
          h("span", {}, `${seen}, usual ${usual}`),
        ),
      ),
    );
  }
}
