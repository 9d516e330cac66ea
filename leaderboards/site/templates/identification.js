// A board of latent variables: scores over seeds, and which latent variables the codes tell.
"use strict";
(() => {
  const { el, link, address, num, known, decimals, seconds, spread, metricName, arrow, scale, whisker, boardTitle, boardHead, several } = pbench;

  function scoreTable(b, index) {
    const order = [...b.lines].sort((x, y) => (x.kind === y.kind ? 0 : x.kind === "model" ? -1 : 1) || (((y.scores[b.primary] || {}).mean ?? -Infinity) - ((x.scores[b.primary] || {}).mean ?? -Infinity) || ((y.agreement || {}).mean ?? -1) - ((x.agreement || {}).mean ?? -1) || (x.model < y.model ? -1 : 1)));
    const columns = [
      {
        title: "model", class: "name", value: (x) => x.model,
        cell: (x) => [link(address("model", x.slug), x.model), x.kind === "model" ? null : el("span", { class: "tag" }, "reference"), (x.prior || []).length ? el("span", { class: "tag prior", "data-tip": `Prior knowledge: ${x.prior.join(", ")}`, tabindex: "0" }, "prior") : null, x.status === "ok" ? null : el("span", { class: "why", "data-tip": x.reason || null }, x.reason ? `${x.status}: ${x.reason}` : x.status)],
      },
    ];
    const ranks = order.map((x) => x.rank).filter(Boolean);
    if (ranks.length) {
      columns.push({
        title: "rank", number: true, class: "num rank", tip: `By ${b.primary}, over seeds; = marks a rank that several models share.`,
        value: (x) => x.rank,
        cell: (x) => (x.rank ? `${ranks.filter((r) => r === x.rank).length > 1 ? "=" : ""}${x.rank}` : el("span", { class: "none" }, "–")),
      });
    }
    for (const m of b.metrics) {
      const info = index.metrics[m] || {};
      const s = scale(order.map((x) => x.scores[m]).filter((c) => c && known(c.mean)));
      const digits = decimals(s ? s.high - s.low : 0);
      columns.push({
        title: metricName(m, el("span", { class: "arrow" }, arrow(info.direction))),
        name: m, number: true, class: "num", first: info.direction === "down" ? "asc" : "desc",
        tip: `${m}: ${info.formula || ""}`,
        value: (x) => (x.scores[m] || {}).mean,
        cell: (x) => {
          const c = x.scores[m];
          if (!c || !known(c.mean)) return el("span", { class: "none", "data-tip": (c && c.reason) || x.reason || "not defined" }, "–");
          return el("span", { class: "value", "data-tip": `${m}: mean ${num(c.mean, digits)}, ${spread(c, digits)} over ${several((c.seeds || []).length, "seed")}` }, el("span", { class: "n" }, num(c.mean, digits)), whisker(c, s));
        },
      });
    }
    if (b.lines.some((x) => x.agreement)) {
      columns.push({
        title: "agreement", number: true, class: "num", first: "desc", tip: "How far the codes of two trainings agree; the mean over pairs of seeds.",
        value: (x) => (x.agreement || {}).mean,
        cell: (x) => (x.agreement ? [num(x.agreement.mean, 2), known(x.agreement.lowest) ? el("span", { class: "soft small block" }, `${num(x.agreement.lowest, 2)} to ${num(x.agreement.highest, 2)}`) : null] : el("span", { class: "none" }, "–")),
      });
    }
    if (b.lines.some((x) => x.claim)) columns.push({ title: "claims", class: "claim", value: (x) => x.claim, cell: (x) => x.claim || el("span", { class: "none" }, "–") });
    if (b.lines.some((x) => x.told)) columns.push({ title: "is told", tip: "Its codes change when it is not told what was done to the cells.", value: (x) => (x.told ? "yes" : "no"), cell: (x) => (x.told ? "the perturbation" : "nothing") });
    columns.push({ title: "time", number: true, class: "num", tip: "Median seconds of training.", value: (x) => x.seconds, cell: (x) => seconds(x.seconds) });
    return pbench.table({ label: `Models on the latent variables of ${b.dataset}`, rows: order, columns, kind: "board", noun: "model", sorted: ranks.length ? [1, "asc"] : undefined, rowClass: (x) => `${x.kind}${x.status === "ok" ? "" : " absent"}` });
  }

  // Each number is written; its ground is the darker the more of the latent variable is told.
  function heat(b) {
    const rows = b.lines.filter((x) => Object.keys(x.by_latent || {}).length);
    if (!rows.length || !b.latents.length) return null;
    const step = (v) => (known(v) ? Math.max(0, Math.min(5, Math.ceil(v * 5))) : null);
    const made = pbench.table({
      label: "By latent variable",
      rows,
      kind: "heat",
      noun: "model",
      rowClass: (x) => x.kind,
      columns: [
        { title: "model", class: "name", value: (x) => x.model, cell: (x) => [x.model, x.kind === "model" ? null : el("span", { class: "tag" }, "reference")] },
        ...b.latents.map((z) => ({
          title: z, number: true, class: "num", first: "desc", value: (x) => x.by_latent[z],
          cell: (x) => (known(x.by_latent[z]) ? el("span", { class: `heat-${step(x.by_latent[z])}` }, num(x.by_latent[z], 2)) : el("span", { class: "none" }, "–")),
        })),
      ],
    });
    return el("section", { class: "part", "aria-labelledby": "latents" }, el("h2", { id: "latents" }, "By latent variable"), el("p", { class: "lead" }, "How much of each latent variable a nonlinear reader finds in the codes (R²; 1 is all of it, 0 or less nothing)."), made.box);
  }

  pbench.views.identification = (main, index, b) => {
    const made = scoreTable(b, index);
    main.append(
      el("div", { class: "wide" }, boardHead(b)),
      el("div", { class: "full" }, made.box),
      el(
        "div",
        { class: "wide" },
        el("p", { class: "legend" }, b.known === false ? "Nobody knows the latent variables of these cells, so there are no scores; how far two trainings agree can be asked all the same." : "Dot and line: mean over seeds with its 95 % interval; small dots are the seeds. Reference rows are floors and oracles that know the truth; they do not compete."),
        heat(b),
      ),
    );
    performance.mark("board drawn");
    return { title: boardTitle(b), leave: () => made.api.destroy() };
  };
})();
