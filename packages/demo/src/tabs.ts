// On narrow windows the areas take turns; on wide ones they stand side by side and the tabs are hidden by the style sheet.

export function tabs(): void {
  const main = document.querySelector("main");
  const all = [...document.querySelectorAll<HTMLButtonElement>("[role=tab]")];
  const choose = (tab: HTMLButtonElement, focus: boolean): void => {
    for (const other of all) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
    }
    if (main !== null) main.dataset["tab"] = tab.dataset["tab"] ?? "chat";
    if (focus) tab.focus();
  };
  for (const tab of all) {
    tab.addEventListener("click", () => choose(tab, false));
    tab.addEventListener("keydown", (event) => {
      // One that is not shown takes no turn.
      const shown = all.filter((other) => other.checkVisibility());
      const [at, last] = [shown.indexOf(tab), shown.length - 1];
      const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
      const target = to === undefined ? undefined : shown[to];
      if (target === undefined) return;
      event.preventDefault();
      choose(target, true);
    });
  }
  // From two columns on the chat is always there, so its tab would be one too many.
  const columns = matchMedia("(min-width: 760px)");
  const adjust = (): void => {
    const tab = columns.matches ? all.find((other) => other.dataset["tab"] === "guard") : all[0];
    if (tab !== undefined && (!columns.matches || main?.dataset["tab"] === "chat")) choose(tab, false);
  };
  columns.addEventListener("change", adjust);
  adjust();
}
