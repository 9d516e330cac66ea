// How to read a board, what each metric is, how to cite.
"use strict";
(() => {
  const { el, num, better } = pbench;

  const READ = [
    ["Controls", "Each metric is held against two predictions that are no models. The negative control knows nothing of the perturbation. The positive one repeats the experiment: another half of the same cells. A score is 0 at the negative and 1 at the positive control."],
    ["Grey", "A metric that cannot tell its controls apart says nothing about models. It stays on the board, grey, with the reason, and ranks nothing."],
    ["Shared ranks", "Models are ordered by the primary metric. Those that a paired test cannot tell from the best of their group share its rank, written with =. Letters say the same pair by pair: two models with a letter in common are not told apart."],
    ["Intervals", "Perturbations are what is resampled, not cells: a line is the 95 % interval of the mean over perturbations. On boards of latent variables it is the interval over seeds."],
    ["Coverage", "A model may have no answer for a perturbation. That is counted and never filled in. A fallback is an answer by something simpler than the model. Only models that answered everything are ranked."],
    ["Reference rows", "Oracles, duplicates and trivial predictions. They show what could be reached and what costs nothing; they do not compete."],
    ["Gaming", "Predictions made to please metrics rather than to be right. They are hidden at first, and show which metric can be pleased."],
    ["Not defined", "A dash is a value that does not exist, such as the correlation with a constant. It is never counted as zero."],
  ];

  pbench.views.about = (main, index) => {
    const metrics = Object.entries(index.metrics);
    const made = pbench.table({
      label: "Metrics",
      rows: metrics,
      noun: "metric",
      columns: [
        { title: "metric", class: "name", value: ([id]) => id, cell: ([id]) => el("code", {}, id.split(/(?=[@~#])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]))) },
        { title: "best", value: ([, m]) => m.direction, cell: ([, m]) => better(m.direction) },
        { title: "perfect", number: true, class: "num", value: ([, m]) => m.perfect, cell: ([, m]) => num(m.perfect) },
        { title: "one value for each", value: ([, m]) => m.level },
        { title: "version", number: true, class: "num", value: ([, m]) => m.version, cell: ([, m]) => String(m.version ?? "–") },
        { title: "formula", class: "prose", value: ([, m]) => m.formula, cell: ([, m]) => [m.formula, m.caveats ? el("span", { class: "block small" }, m.caveats) : null] },
      ],
    });
    main.append(
      el(
        "div",
        { class: "wide" },
        el("p", { class: "crumbs" }, "About"),
        el("h1", { tabindex: "-1" }, "How to read a board"),
        el("dl", { class: "read" }, READ.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
        el("h2", {}, "How to cite"),
        el("p", { class: "measure" }, `Cite the board by data set, split and version (pbench ${index.pbench}), the paper of the data set that its page names, and the software with the paper that it comes from:`),
        el("pre", { class: "cite", tabindex: "0", role: "group", "aria-label": "citation" }, `pbench: which single-cell perturbation predictor to believe, version ${index.pbench}.\nLearning Latent Dynamical Causal Processes for Single-Cell Perturbation Prediction.\narXiv:2605.25581, 2026.`),
        el("h2", {}, "Licence"),
        el("p", { class: "measure" }, "pbench is free software under the BSD 3-Clause licence. Each data set has a licence of its own, which its board names. Tables are drawn by DataTables and plots by plotly.js, both under the MIT licence. This page asks no other host for anything and keeps nothing but your choice of light or dark."),
        el("h2", {}, "Metrics"),
        made.box,
      ),
    );
    return { title: "About", leave: () => made.api.destroy() };
  };
})();
