// A board of predictions: below its heading (heading.js) the table, and below that what the findings say (findings.js).
"use strict";
(() => {
  const { el, address, detailed, modelLink, num, known, decimals, seconds, shortLetters, spread, several, metricName, arrow, better, scale, whisker, scoreBar, choice, toggle, boardTitle } = pbench;

  const groupOf = { model: 0, reference: 1, gaming: 2 };
  // Where nothing is ranked the better mean goes first; what has no scores goes last.
  function inOrder(b, lines, direction) {
    const key = (x) => [groupOf[x.kind] ?? 0, x.status === "ok" ? 0 : 1, x.rank ?? 1e9];
    const mean = (x) => (x.cells[b.primary] || {}).mean;
    return [...lines].sort((x, y) => {
      const [a, c] = [key(x), key(y)];
      for (let i = 0; i < a.length; i++) if (a[i] !== c[i]) return a[i] - c[i];
      if (known(mean(x)) !== known(mean(y))) return known(mean(x)) ? -1 : 1;
      const d = known(mean(x)) ? mean(x) - mean(y) : 0;
      return (direction === "up" ? -d : d) || (x.model < y.model ? -1 : 1);
    });
  }

  // Why a model has no values; cut after two lines in the table, and in full under coverage.
  const unsaid = (x) => (x.reason ? `${x.status}: ${x.reason}` : x.status);

  function nameCell(b, x) {
    const parts = [modelLink(b, x)];
    if (x.kind === "reference") parts.push(el("span", { class: "tag" }, "reference"));
    if (x.kind === "gaming") {
      const over = x.outranks || [];
      parts.push(el("span", { class: "tag" }, "games metrics"), over.length ? el("span", { class: "why" }, `pleases ${over.join(", ")}`) : null);
    }
    if ((x.prior || []).length) parts.push(el("span", { class: "tag prior", "data-tip": `Prior knowledge: ${x.prior.join(", ")}`, tabindex: "0" }, "prior"));
    if (x.status !== "ok") parts.push(el("span", { class: "why", "data-tip": unsaid(x) }, unsaid(x)));
    return parts;
  }

  function metricColumn(b, index, m, lines, drawn) {
    const info = index.metrics[m] || {};
    const grey = (b.grey || {})[m];
    const control = (b.controls || {})[m] || {};
    const marks = [
      ["negative", control.negative_mean],
      ["positive", control.positive_mean],
    ];
    // The scale is that of models and controls; a reference row far from them runs out of it.
    const own = lines.filter((x) => x.kind === "model").map((x) => x.cells[m]).filter((c) => c && known(c.mean));
    const s = scale(own, marks.map(([, x]) => x));
    const digits = decimals(s ? s.high - s.low : 0);
    return {
      title: metricName(m, el("span", { class: "arrow" }, arrow(info.direction))),
      name: m,
      tip: `${m}: ${info.formula || ""} ${better(info.direction)}, perfect ${num(info.perfect)}. ${info.caveats || ""}`.trim(),
      head: grey ? el("span", { class: "tag grey", tabindex: "0", "data-tip": `Grey, ranks nothing: ${grey}` }, "grey") : null,
      class: grey ? "num grey" : "num",
      number: true,
      first: info.direction === "down" ? "asc" : "desc",
      value: (x) => x.cells[m] && x.cells[m].mean,
      cell: (x) => {
        const c = x.cells[m];
        if (!c || !known(c.mean)) return el("span", { class: "none", "data-tip": why(c, x) }, "–");
        return el(
          detailed(x) ? "a" : "span",
          { class: "value", href: detailed(x) && `${address("board", b.slug, "model", x.slug)}?metric=${encodeURIComponent(m)}`, "data-tip": tip(m, c, digits), tabindex: detailed(x) && "-1" },
          el("span", { class: "n" }, num(c.mean, digits), c.defined < c.asked ? el("sup", {}, "†") : null),
          drawn ? whisker(c, s, marks) : null,
        );
      },
    };
  }

  const reasons = (c) => Object.entries((c && c.reasons) || {}).map(([why, n]) => `${why} (${n})`).join(", ");
  const why = (c, x) => (x.status !== "ok" ? unsaid(x) : `not defined${reasons(c) ? `: ${reasons(c)}` : ""}`);
  function tip(m, c, digits) {
    const parts = [`${m}: mean ${num(c.mean, digits)}, ${spread(c, digits)}, median ${num(c.median, digits)}`];
    if (known(c.seed_sd)) parts.push(`sd over seeds ${num(c.seed_sd)}`);
    if (c.defined < c.asked) parts.push(`† defined on ${c.defined} of ${c.asked}${reasons(c) ? `: ${reasons(c)}` : ""}`);
    return parts.join("; ");
  }

  function boardTable(b, index, lines, metrics, label, ranked = true) {
    const direction = (index.metrics[b.primary] || {}).direction;
    const rows = inOrder(b, lines, direction);
    const tied = {};
    for (const x of rows) if (x.rank) tied[x.rank] = (tied[x.rank] || 0) + 1;
    const columns = [{ title: "model", value: (x) => x.model, cell: (x) => nameCell(b, x), class: "name" }];
    const anyRank = rows.some((x) => x.rank);
    const rank = {
      title: "rank",
      number: true,
      class: "num rank",
      tip: `By ${b.primary}; = marks a rank that several models share, as a paired test cannot tell them from the best of their group.`,
      value: (x) => x.rank,
      cell: (x) => (x.rank ? `${tied[x.rank] > 1 ? "=" : ""}${x.rank}` : el("span", { class: "none", "data-tip": x.kind === "model" ? "not ranked" : "does not compete" }, "–")),
    };
    if (anyRank) columns.push(rank);
    if (rows.some((x) => x.letters)) {
      columns.push({ title: "letters", class: "letters", tip: "Models that share a letter cannot be told apart.", value: (x) => x.letters, cell: (x) => (x.letters ? el("span", { title: x.letters }, shortLetters(x)) : el("span", { class: "none" }, "–")) });
    }
    if (rows.some((x) => known(((x.scores || {})[b.primary] || {}).score))) {
      columns.push({
        title: "score",
        class: "num",
        number: true,
        first: "desc",
        tip: `Calibrated ${b.primary}: 0 is the negative control, 1 the positive one.`,
        value: (x) => (x.scores[b.primary] || {}).score,
        cell: (x) => {
          const s = x.scores[b.primary];
          if (!s || !known(s.score)) return el("span", { class: "none", "data-tip": (s && s.reason) || "not calibrated" }, "–");
          return el("span", { class: "value", "data-tip": `${num(s.score, 2)} of the way from the negative to the positive control, ${spread(s, 2)}` }, el("span", { class: "n" }, num(s.score, 2)), scoreBar(s));
        },
      });
    }
    // Thousands of intervals would make the table slow, and nobody looks at so many: then numbers alone.
    const drawn = rows.length * metrics.length <= 3000;
    for (const m of metrics) columns.push(metricColumn(b, index, m, rows, drawn));
    columns.push({
      title: "coverage",
      number: true,
      first: "desc",
      class: "num",
      tip: "Conditions answered of conditions asked.",
      value: (x) => (x.asked ? x.predicted / x.asked : null),
      cell: (x) => [x.fallback ? el("span", { class: "soft small", "data-tip": `${x.fallback} of them answered with something simpler` }, `${x.fallback} fallback `) : null, `${x.predicted}/${x.asked}`],
    });
    if (ranked) {
      columns.push({ title: "time", number: true, class: "num", tip: "Median seconds of a job: fit and predict.", value: (x) => (x.seconds || {}).total, cell: (x) => seconds((x.seconds || {}).total) });
    }
    return pbench.table({
      label,
      columns,
      rows,
      noun: "row",
      kind: "board",
      sorted: anyRank ? [1, "asc"] : undefined,
      search: (x) => [x.model, ...(x.prior || []), x.status === "ok" ? "" : x.status].join(" "),
      rowClass: (x) => `${x.kind}${x.status === "ok" ? "" : " absent"}`,
    });
  }

  Object.assign(pbench, { boardTable, inOrder });

  // Which metrics can be shown together: the headline, each family (what stands before a dot or a mark), all of them.
  function metricGroups(b) {
    const groups = new Map([["headline", ["headline", b.headline]]]);
    if (b.metrics.length === b.headline.length) return groups;
    for (const m of b.metrics) {
      const family = m.split(/[.@~#]/)[0];
      const key = `family ${family}`;
      if (!groups.has(key)) groups.set(key, [family, []]);
      groups.get(key)[1].push(m);
    }
    groups.set("all", ["all", b.metrics]);
    return groups;
  }

  pbench.views.board = (main, index, b) => {
    const groups = metricGroups(b);
    const state = { text: "", references: true, columns: "headline", gaming: false };
    const slot = el("div", { class: "table-slot" });
    const count = el("span", { class: "soft small count" });
    let made = null;
    const gamers = b.lines.some((x) => x.kind === "gaming");

    function show() {
      if (made) made.api.destroy();
      const metrics = groups.get(state.columns)[1];
      made = boardTable(b, index, b.lines, metrics, `Models on ${b.dataset}, ${b.split}`);
      slot.replaceChildren(made.box);
      narrow();
    }
    function narrow() {
      made.keep("kind", (x) => (x.kind !== "reference" || state.references) && (x.kind !== "gaming" || state.gaming));
      count.textContent = `${several(made.filter(state.text), "row")}`;
    }
    const filter = el("input", { type: "search", placeholder: "Filter models", "aria-label": "Filter models", autocomplete: "off", spellcheck: "false" });
    filter.addEventListener("input", () => {
      state.text = filter.value;
      narrow();
    });
    const set = (name, redo) => (value) => {
      state[name] = value;
      redo();
    };
    main.append(
      el(
        "div",
        { class: "wide" },
        pbench.boardHead(b),
        el(
          "div",
          { class: "tools" },
          filter,
          toggle("Hide reference rows", false, (hide) => set("references", narrow)(!hide), { id: "hide-references" }),
          groups.size > 1 ? choice("Metrics", [...groups].map(([key, [name, own]]) => [key, `${name} (${own.length})`]), "headline", set("columns", show)) : null,
          gamers ? toggle("Show gaming", false, set("gaming", narrow), { id: "show-gaming" }) : null,
          count,
        ),
      ),
      el("div", { class: "wide" }, b.lines.some((x) => x.rank) ? null : el("p", { class: "lead" }, `No model is ranked here: ${(b.grey || {})[b.primary] ? `${b.primary} is grey, as ${b.grey[b.primary]}` : `none answered everything, or ${b.primary} is not there`}.`)),
      el("div", { class: "full" }, slot),
      el("div", { class: "wide" }, legend(b), pbench.findings(b, index)),
    );
    show();
    performance.mark("board drawn");
    return { title: boardTitle(b), leave: () => made.api.destroy() };
  };

  function legend(b) {
    const grey = Object.entries(b.grey || {});
    const shown = grey.filter(([m]) => b.headline.includes(m));
    const rest = grey.filter(([m]) => !b.headline.includes(m));
    const item = ([m, reason]) => el("li", {}, el("code", {}, m), `: ${reason}`);
    return el(
      "div",
      { class: "legend" },
      el(
        "p",
        {},
        "Dot and line: mean over test conditions with its 95 % interval; an arrowhead says that it goes on beyond the scale. ",
        el("span", { class: "key negative" }),
        " dashed, the negative control; ",
        el("span", { class: "key positive" }),
        " solid, the positive control. † not defined on all conditions. A click on a value opens its conditions.",
      ),
      grey.length
        ? el("details", { open: shown.length > 0 && shown.length <= 3 }, el("summary", {}, `${several(grey.length, "metric is", "metrics are")} grey and rank${grey.length === 1 ? "s" : ""} nothing`), el("ul", {}, shown.map(item), rest.map(item)))
        : null,
    );
  }
})();
