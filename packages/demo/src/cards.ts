// The attack cards: one button each, and after it what came of the attack.
import { ATTACKS, type Attack, type Outcome, type Surroundings } from "./attacks.ts";
import { byId, h } from "./dom.ts";
import { short } from "./format.ts";
import { story, summary } from "./story.ts";

const PEER_CHARACTERS_MAX = 400;

const BADGES = {
  refused: "refused",
  neutralised: "neutralised",
  passed: "passed!",
} satisfies Record<Outcome["state"], string>;

interface Card {
  element: HTMLElement;
  run(): Promise<void>;
}

function card(attack: Attack, around: Surroundings, changed: () => void): Card {
  const badge = h("span", { class: "badge" }, "run");
  const result = h("div", { class: "result", id: `result-${attack.id}`, "aria-live": "polite" });
  const button = h(
    "button",
    { type: "button", class: "attack", click: () => void run() },
    h("span", { class: "attack-title" }, attack.title),
    h("code", { class: "attack-sends" }, attack.sends),
    badge,
  );
  const element = h("li", { class: "card", "data-attack": attack.id, "data-state": "idle" }, button, result);

  const show = (outcome: Outcome): void => {
    const peer = outcome.peer.map((text) => short(text, PEER_CHARACTERS_MAX));
    element.dataset["state"] = outcome.state;
    element.dataset["code"] = outcome.code ?? "";
    element.dataset["close"] = outcome.close?.toString() ?? "";
    element.dataset["ref"] = outcome.ref ?? "";
    badge.textContent = BADGES[outcome.state];
    result.replaceChildren(
      h(
        "dl",
        { class: "answer" },
        h("dt", {}, "Peer"),
        h(
          "dd",
          {},
          outcome.code !== null && h("code", { class: "code" }, outcome.code),
          outcome.close !== null && outcome.code !== String(outcome.close) && h("code", { class: "code" }, `close ${outcome.close}`),
          outcome.code === null && h("code", { class: "code delivered" }, peer[0] ?? "nothing"),
        ),
        h("dt", {}, "Operator"),
        h("dd", {}, operator(outcome)),
        outcome.ref !== null && h("dt", {}, "Ref"),
        outcome.ref !== null && h("dd", {}, h("code", {}, outcome.ref)),
        h("dt", {}, "Unguarded"),
        h("dd", {}, attack.without),
      ),
      outcome.note !== undefined && outcome.note !== "" ? h("p", { class: "note" }, outcome.note) : "",
      h(
        "details",
        {},
        h("summary", {}, "Both stories in full"),
        story(peer, outcome.record, outcome.ref),
      ),
    );
  };

  const run = async (): Promise<void> => {
    if (element.dataset["state"] === "running") return;
    element.dataset["state"] = "running";
    element.dataset["code"] = "";
    badge.textContent = "running";
    try {
      show(await attack.run(around));
    } catch (error) {
      element.dataset["state"] = "idle";
      badge.textContent = "run";
      const reason = error instanceof Error ? error.message : String(error);
      result.replaceChildren(h("p", { class: "problem" }, `Could not run it: ${reason}.`));
    }
    changed();
  };
  return { element, run };
}

/** The operator's side in one line. What was delivered after all need not be in the log: it is counted. */
function operator({ record, state }: Outcome): string {
  if (record !== null) return summary(record);
  return state === "neutralised" ? "counted, since it was delivered" : "no entry";
}

/** Fills the area of attacks and wires "Run all". */
export function attackCards(around: Surroundings): void {
  const score = byId("score");
  const count = (state: string): number => document.querySelectorAll(`[data-attack][data-state="${state}"]`).length;
  const changed = (): void => {
    const [refused, neutralised, passed] = [count("refused"), count("neutralised"), count("passed")];
    const parts = [`${refused} refused`];
    if (neutralised > 0) parts.push(`${neutralised} neutralised`);
    if (passed > 0) parts.push(`${passed} passed`);
    score.textContent = `${parts.join(", ")} of ${ATTACKS.length}`;
  };
  const cards = ATTACKS.map((attack) => card(attack, around, changed));
  byId("cards").replaceChildren(...cards.map(({ element }) => element));
  const runAll = byId<HTMLButtonElement>("run-all");
  runAll.addEventListener("click", async () => {
    runAll.disabled = true;
    for (const { run } of cards) await run();
    runAll.disabled = false;
  });
}
