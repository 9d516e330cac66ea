// What this is, a card for each board, identification beside prediction, and a search box for boards and models.
"use strict";
(() => {
  const { el, link, address, several, num, scale, whisker, decimals, arrow } = pbench;

  function card(b) {
    const best = b.best || [];
    const shown = best.slice(0, 3).join(", ") + (best.length > 3 ? ` and ${best.length - 3} more` : "");
    const facts = [several(b.models, "model"), several(b.seeds, "seed")];
    if (b.conditions) facts.push(several(b.conditions, "condition"));
    if (b.latents) facts.push(several(b.latents, "latent variable"));
    return el(
      "article",
      { class: "card" },
      el("p", { class: "kicker" }, el("code", {}, b.dataset), " / ", el("code", {}, b.split)),
      el("h3", {}, link(address("board", b.slug), b.title || b.dataset)),
      el(
        "p",
        { class: "best" },
        best.length ? [el("span", { class: "soft" }, best.length > 1 ? "Share rank 1: " : "Rank 1: "), shown] : el("span", { class: "soft" }, "No model is ranked."),
      ),
      el("p", { class: "soft facts-line" }, facts.join(" · ")),
      el(
        "p",
        { class: "tags" },
        el("span", { class: "tag" }, b.simulated ? "simulated" : "real cells"),
        b.grey ? el("span", { class: "tag grey" }, several(b.grey, "grey metric")) : null,
        b.audit === "warn" ? el("span", { class: "tag warn" }, "audit remarks") : el("span", { class: "tag" }, "audit passed"),
      ),
    );
  }

  function beside(index) {
    const { columns, rows } = index.together;
    const infos = columns.map((c) => index.metrics[c.metric] || { direction: "up" });
    const scales = columns.map((c, i) => scale(rows.map((r) => r.cells[i]).filter(Boolean)));
    const made = pbench.table({
      label: "Identification beside prediction",
      noun: "model",
      rows,
      columns: [
        { title: "model", value: (r) => r.model, cell: (r) => link(address("model", r.slug), r.model), class: "name" },
        ...columns.map((c, i) => ({
          title: [el("span", { class: "metric" }, c.label), ` ${arrow(infos[i].direction)}`],
          name: c.label,
          number: true,
          first: infos[i].direction === "down" ? "asc" : "desc",
          value: (r) => r.cells[i] && r.cells[i].mean,
          cell: (r) => {
            const cell = r.cells[i];
            if (!cell) return el("span", { class: "none" }, "–");
            const rank = cell.rank ? el("span", { class: "soft small" }, `rank ${cell.rank}`) : null;
            const told = cell.told ? el("span", { class: "soft small" }, "told") : null;
            return el("a", { class: "value", href: address("board", c.board) }, el("span", { class: "n" }, num(cell.mean, decimals(scales[i] && scales[i].high - scales[i].low))), whisker(cell, scales[i]), rank, told);
          },
        })),
      ],
    });
    return el(
      "section",
      { "aria-labelledby": "together" },
      el("h2", { id: "together" }, "Identification beside prediction"),
      el("p", { class: "lead" }, "Models that were scored both on the latent variables of a generator and on held-out perturbations. A good code does not promise a good prediction, nor the other way round."),
      made.box,
      el(
        "p",
        { class: "legend" },
        rows.some((r) => r.cells.some((c) => c && c.told)) ? "Told: its codes use what was done to the cells. " : "",
        columns.some((c) => c.metric === "seed to seed") ? "Seed to seed: how far the codes of two trainings agree, from the least to the largest agreement." : "",
      ),
    );
  }

  pbench.views.home = (main, index) => {
    const boards = index.boards.map((b) => ({ b, node: card(b), text: [b.title, b.dataset, b.split, b.kind, b.simulated ? "simulated" : "real", ...(b.best || [])].join(" ").toLowerCase() }));
    const groups = [
      ["prediction", "Prediction", "Which model says best what a perturbation that it never saw does to cells."],
      ["identification", "Identification", "How far the codes of models tell what generated the cells. The truth is known here."],
    ]
      .map(([kind, title, lead]) => {
        const own = boards.filter((x) => x.b.kind === kind);
        if (!own.length) return null;
        return { own, node: el("section", { "aria-labelledby": kind }, el("h2", { id: kind }, title), el("p", { class: "lead" }, lead), el("div", { class: "cards" }, own.map((x) => x.node))) };
      })
      .filter(Boolean);
    const models = index.models.map((m) => ({
      text: [m.name, ...(m.prior || [])].join(" ").toLowerCase(),
      node: el("li", {}, link(address("model", m.slug), m.name), m.reference_row ? el("span", { class: "tag" }, "reference") : null),
    }));
    const none = el("p", { class: "lead", hidden: true }, "No board and no model has that in its name.");
    const list = el("section", { "aria-labelledby": "models" }, el("h2", { id: "models" }, "Models"), el("ul", { class: "names" }, models.map((m) => m.node)));
    const box = el("input", { type: "search", id: "search", placeholder: "a data set, a split, a model", autocomplete: "off", spellcheck: "false" });
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (x) => {
        const shown = words.every((w) => x.text.includes(w));
        x.node.hidden = !shown;
        return shown;
      };
      let n = 0;
      for (const group of groups) {
        const shown = group.own.filter(fits).length;
        group.node.hidden = !shown;
        n += shown;
      }
      const m = models.filter(fits).length;
      list.hidden = !m;
      none.hidden = n + m > 0;
      pbench.say(`${several(n, "board")} and ${several(m, "model")} match.`);
    });
    main.append(
      el(
        "div",
        { class: "wide" },
        el(
          "section",
          { class: "hero" },
          el("h1", { tabindex: "-1" }, "Which perturbation predictor to believe"),
          el(
            "p",
            {},
            "Here models predict what happens to cells under perturbations that they never saw. ",
            "Every score stands between two controls, one that knows nothing and one that repeats the experiment; a metric that cannot tell these apart is grey and ranks nothing. ",
            "Models that a test cannot tell apart share a rank.",
          ),
          el("div", { class: "search" }, el("label", { for: "search" }, "Find a board or a model"), box),
        ),
        none,
        groups.map((g) => g.node),
        index.together && index.together.rows.length ? beside(index) : null,
        list,
        left(index),
      ),
    );
    return { title: "Boards" };
  };

  function left(index) {
    const part = (title, lines) => (lines && lines.length ? [el("h3", {}, title), el("ul", {}, lines.map((x) => el("li", {}, x)))] : null);
    const parts = [part("Kept off the boards by the leakage audit", index.refused), part("Records that cannot be read", index.damaged)].filter(Boolean);
    return parts.length ? el("section", {}, el("h2", {}, "Left out"), parts) : null;
  }
})();
