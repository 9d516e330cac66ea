// Below a board's table: calibration, mean ranks, cost, coverage, kinds of conditions, what all answered.
"use strict";
(() => {
  const { el, num, known, later, choice, scale, whisker, decimals, modelLink, several, boardTable, inOrder, spread } = pbench;

  function part(id, title, lead, ...content) {
    return el("section", { class: "part", "aria-labelledby": id }, el("h2", { id }, title), lead ? el("p", { class: "lead" }, lead) : null, content);
  }

  function calibrated(b) {
    const metrics = b.metrics.filter((m) => b.controls[m] && b.lines.some((x) => ((x.scores || {})[m] || {}).score !== undefined && known(x.scores[m].score)));
    if (!metrics.length) return null;
    const slot = el("div");
    const said = el("p", { class: "soft small" });
    const show = (m) => {
      const c = b.controls[m];
      slot.replaceChildren(pbench.calibration(b, m));
      said.textContent = [
        `0 is ${c.negative}, 1 is ${c.positive}.`,
        b.grey[m] ? `Grey: ${b.grey[m]}.` : "The two are told apart.",
        known(c.drf) ? `Dynamic range ${num(c.drf)}${known(c.drf_low) ? ` (${num(c.drf_low)} to ${num(c.drf_high)})` : ""}.` : "",
        known(c.bds) ? `The positive control wins on a share of ${num(c.bds)}${known(c.bds_low) ? ` (${num(c.bds_low)} to ${num(c.bds_high)})` : ""} of conditions.` : "",
        known(c.ceiling) ? `Reliability ceiling ${num(c.ceiling)}.` : "",
      ].join(" ");
    };
    show(metrics.includes(b.primary) ? b.primary : metrics[0]);
    const picker = choice("Metric", metrics.map((m) => [m, b.grey[m] ? `${m} (grey)` : m]), metrics.includes(b.primary) ? b.primary : metrics[0], show);
    return part("calibrated", "Between the controls", "Bars start at the negative control, which knows nothing; the solid line is the positive one, which repeats the experiment. Thin lines are 95 % intervals.", picker, slot, said);
  }

  function ranks(b) {
    if (!b.order || !b.lines.some((x) => known(x.mean_rank))) return null;
    const { tests, stability, agreement } = b.order;
    return part(
      "ranks",
      "Mean ranks, and who cannot be told apart",
      `By ${b.primary}, over the conditions that all ranked models answered. Models on one bar share a letter: a test cannot tell them apart.`,
      pbench.difference(b),
      el(
        "p",
        { class: "soft small" },
        known(stability) ? `Stability of the order over resampled conditions: ${num(stability, 2)}. ` : "",
        agreement ? `Headline metrics agree on the order with a mean rank correlation of ${num(agreement.mean, 2)}; the least, ${num(agreement.lowest, 2)}, is between ${(agreement.pair || []).join(" and ")}.` : "",
      ),
      tests && tests.length
        ? el(
            "details",
            { class: "facts", on: { toggle: (e) => fillTests(e.target, tests) } },
            el("summary", {}, several(tests.length, "pairwise test")),
          )
        : null,
    );
  }

  function fillTests(details, tests) {
    if (!details.open || details.querySelector("table")) return;
    details.append(
      pbench.table({
        label: "Pairwise tests",
        rows: tests,
        noun: "test",
        search: ([a, z]) => `${a} ${z}`,
        columns: [
          { title: "model", value: ([a]) => a, class: "name" },
          { title: "against", value: ([, z]) => z },
          { title: "p (Holm)", number: true, class: "num", value: ([, , p]) => p, cell: ([, , p]) => num(p) },
        ],
      }).box,
    );
  }

  function kinds(b, index) {
    if (!b.strata || !b.strata.length) return null;
    const direction = (index.metrics[b.primary] || {}).direction;
    const shown = inOrder(b, b.lines, direction).filter((x) => x.kind !== "gaming" && b.strata.some((s) => s.cells[x.model]));
    const s = scale(b.strata.flatMap((x) => shown.map((l) => x.cells[l.model]).filter(Boolean)));
    const digits = decimals(s ? s.high - s.low : 0);
    const slot = el("div");
    later(slot, () =>
      slot.append(
        pbench.table({
          label: "By kind of condition",
          rows: shown,
          noun: "model",
          rowClass: (x) => x.kind,
          columns: [
            { title: "model", class: "name", value: (x) => x.model, cell: (x) => [modelLink(b, x), x.kind === "model" ? null : el("span", { class: "tag" }, x.kind)] },
            ...b.strata.map((t) => ({
              title: [el("span", { class: "metric-rest" }, t.name), el("span", { class: "metric" }, t.value), el("span", { class: "metric-rest" }, known(t.from) ? `${num(t.from)} to ${num(t.to)}, ` : "", several(t.n, "condition"))],
              name: `${t.name} ${t.value}`,
              class: "num",
              number: true,
              first: direction === "down" ? "asc" : "desc",
              value: (x) => (t.cells[x.model] || {}).mean,
              cell: (x) => {
                const c = t.cells[x.model];
                return c ? el("span", { class: "value", "data-tip": `${num(c.mean, digits)}, ${spread(c, digits)}` }, el("span", { class: "n" }, num(c.mean, digits)), whisker(c, s)) : el("span", { class: "none" }, "–");
              },
            })),
          ],
        }).box,
      ),
    );
    return part("kinds", "By kind of condition", `${b.primary}, apart for parts of the test conditions, all on one scale.`, slot);
  }

  function shared(b, index) {
    if (!b.common || !b.common.length) return null;
    const slot = el("div");
    later(slot, () => slot.append(boardTable(b, index, b.common, b.headline, "On the conditions that every model answered", false).box));
    return part("shared", "On what every model answered", `${several(b.common_n, "condition")} that all of them answered under every seed.`, slot);
  }

  // The parts of a board below its table.
  pbench.findings = (b, index) => {
    const cost = el("div", { class: "plot", role: "img", "aria-label": "Seconds of a job against the primary metric" });
    const covered = el("div");
    const timed = b.lines.filter((x) => known((x.seconds || {}).total) && known((x.cells[b.primary] || {}).mean));
    later(covered, () => covered.append(pbench.coverage(b)));
    if (timed.length) later(cost, () => pbench.plots.cost(cost, b, index, timed));
    return el(
      "div",
      { class: "findings" },
      calibrated(b),
      ranks(b),
      timed.length ? part("cost", "Cost against quality", `Median seconds of a job (fit and predict, logarithmic) against ${b.primary}.`, cost) : null,
      part("coverage", "Coverage", null, covered),
      kinds(b, index),
      shared(b, index),
    );
  };
})();
