// Above every board: its title, what may be concluded, the command that makes it again, the facts about the data.
"use strict";
(() => {
  const { el, link, known, several, outside, boardTitle } = pbench;

  function head(b) {
    const words = b.words || {};
    const card = b.card || {};
    const short = (id) => String(id).slice(0, 12);
    const fact = (name, value) => (value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length) ? null : el("div", {}, el("dt", {}, name), el("dd", {}, value)));
    const findings = ((b.audit || {}).findings || []).filter((f) => f.status !== "pass");
    return [
      el("p", { class: "crumbs" }, link("#/", "Boards"), " / ", el("code", {}, b.dataset), " / ", el("code", {}, b.split)),
      el("h1", { tabindex: "-1" }, boardTitle(b)),
      el(
        "p",
        { class: "tags" },
        el("span", { class: "tag" }, card.simulated ? "simulated" : "real cells"),
        b.conditions ? el("span", { class: "tag" }, several(b.conditions.length, "test condition")) : null,
        el("span", { class: "tag" }, several(b.seeds.length, "seed")),
        el("span", { class: `tag ${b.audit.status === "warn" ? "warn" : ""}` }, b.audit.status === "warn" ? "leakage audit: remarks" : `leakage audit: ${b.audit.status}`),
      ),
      words.may || words.may_not
        ? el(
            "div",
            { class: "conclude" },
            el("div", { class: "may" }, el("h2", {}, "You may conclude"), el("p", {}, words.may)),
            el("div", { class: "may-not" }, el("h2", {}, "You may not conclude"), el("ul", {}, String(words.may_not || "").split("\n").filter(Boolean).map((x) => el("li", {}, x)))),
          )
        : null,
      words.command ? command(words.command) : null,
      el(
        "details",
        { class: "facts" },
        el("summary", {}, "The data, its licence, and what the audit found"),
        el(
          "dl",
          {},
          fact("Data", card.title),
          fact("Source", card.source && outside(card.source)),
          fact("Licence", card.licence),
          fact("Citation", card.citation),
          fact("Scale", card.scale),
          fact("Modality", card.modality),
          fact("Cells and genes", known(card.n_cells) ? `${card.n_cells.toLocaleString("en")} cells, ${(card.n_genes ?? 0).toLocaleString("en")} genes` : null),
          fact("Contexts", b.contexts > 1 ? b.contexts : null),
          fact("Seeds", b.seeds.join(", ")),
          fact("Identity", [el("code", {}, `data ${short(b.data_id)}`), ", ", el("code", {}, `split ${(b.split_ids || []).map(short).join(" ")}`)]),
          fact("Made with", (b.versions || []).join(", ")),
          fact("Known defects", (card.known_defects || []).length ? el("ul", {}, card.known_defects.map((d) => el("li", {}, d))) : null),
          fact("Audit", findings.length ? el("ul", {}, findings.map((f) => el("li", {}, el("strong", {}, f.name), `: ${f.detail}`))) : `status ${b.audit.status}`),
        ),
      ),
    ];
  }

  function command(text) {
    const code = el("code", {}, text);
    const button = el("button", {
      type: "button",
      class: "quiet",
      on: {
        click: async () => {
          try {
            await navigator.clipboard.writeText(text);
            button.textContent = "Copied";
          } catch {
            // Without the right to copy, the text is at least selected.
            getSelection().selectAllChildren(code);
            button.textContent = "Selected";
          }
          setTimeout(() => (button.textContent = "Copy"), 2000);
        },
      },
    }, "Copy");
    return el("div", { class: "command" }, el("span", { class: "soft small" }, "Makes this board again"), el("pre", { tabindex: "0", role: "group", "aria-label": "command" }, code), button);
  }

  pbench.boardHead = head;
})();
