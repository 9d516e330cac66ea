// A metric over releases: a line for each model.
"use strict";
(() => {
  const { el, num, choice } = pbench;
  const MOST = 12;

  pbench.views.history = (main, index) => {
    const { versions, series } = index.history || { versions: [], series: [] };
    const references = new Set(index.models.filter((m) => m.reference_row).map((m) => m.name));
    const titles = new Map(index.boards.map((b) => [b.slug, `${b.dataset} / ${b.split}${b.kind === "identification" ? " (identification)" : ""}`]));
    const pairs = [...new Map(series.map((s) => [JSON.stringify([s.board, s.metric]), s])).keys()];
    const wide = el("div", { class: "wide" }, el("p", { class: "crumbs" }, "History"), el("h1", { tabindex: "-1" }, "Numbers across releases"), el("p", { class: "lead" }, "The published means of headline metrics, frozen at each release. A number moves when the data, a metric's version or the model behind it does."));
    main.append(wide);
    if (!pairs.length) {
      wide.append(el("p", {}, "No release has been published yet."));
      return { title: "History" };
    }
    const plot = el("div", { class: "plot", role: "img", "aria-label": "A line for each model over releases; the numbers follow" });
    const slot = el("div");
    const said = el("p", { class: "soft small" });
    let made = null;
    const show = (key) => {
      const [board, metric] = JSON.parse(key);
      const own = series.filter((s) => s.board === board && s.metric === metric);
      // The best of the newest release are drawn; the table holds all.
      const direction = (index.metrics[metric] || {}).direction;
      const newest = (s) => s.means.findLast((x) => x !== null) ?? 0;
      const drawn = own.filter((s) => !references.has(s.model)).sort((p, q) => (direction === "up" ? newest(q) - newest(p) : newest(p) - newest(q))).slice(0, MOST);
      said.textContent = drawn.length < own.length ? `${drawn.length < MOST ? "Reference rows are not drawn" : `The ${MOST} best models are drawn`}; the table holds all ${own.length}.` : "";
      pbench.plots.releases(plot, versions, drawn);
      if (made) made.api.destroy();
      made = pbench.table({
        label: `${metric} on ${titles.get(board) || board}`,
        rows: own,
        noun: "model",
        columns: [{ title: "model", class: "name", value: (s) => s.model }, ...versions.map((v, i) => ({ title: v, number: true, class: "num", value: (s) => s.means[i], cell: (s) => num(s.means[i]) }))],
      });
      slot.replaceChildren(made.box);
    };
    const name = (key) => {
      const [board, metric] = JSON.parse(key);
      return `${titles.get(board) || board}: ${metric}`;
    };
    wide.append(el("div", { class: "tools" }, choice("Board and metric", pairs.map((k) => [k, name(k)]), pairs[0], show)), said, plot, slot);
    show(pairs[0]);
    return { title: "History", leave: () => made && made.api.destroy() };
  };
})();
