// A model: what it knows beforehand, and all boards that it is on.
"use strict";
(() => {
  const { el, link, address, num, known } = pbench;

  pbench.views.model = (main, index, slug) => {
    const model = index.models.find((m) => m.slug === slug);
    if (!model) throw new Error(`There is no model with the address ${slug}.`);
    const boards = new Map(index.boards.map((b) => [b.slug, b]));
    const rows = model.boards.map((x) => ({ ...x, board: boards.get(x.slug) })).filter((x) => x.board);
    const made = pbench.table({
      label: `Boards of ${model.name}`,
      rows,
      noun: "board",
      search: (x) => `${x.board.dataset} ${x.board.split} ${x.board.title}`,
      columns: [
        { title: "board", class: "name wide-name", value: (x) => `${x.board.dataset} ${x.board.split}`, cell: (x) => [link(address("board", x.slug), `${x.board.dataset} / ${x.board.split}`), el("span", { class: "soft small block" }, x.board.title)] },
        { title: "kind", value: (x) => x.board.kind },
        { title: "rank", number: true, class: "num", value: (x) => x.rank, cell: (x) => (x.rank ? `${(x.board.best || []).length > 1 && x.rank === 1 ? "=" : ""}${x.rank} of ${x.board.models}` : "–") },
        { title: "primary metric", number: true, class: "num", value: (x) => x.mean, cell: (x) => (known(x.mean) ? [num(x.mean), el("span", { class: "soft small block" }, known(x.low) ? `${num(x.low)} to ${num(x.high)}` : "no interval")] : "–") },
        {
          title: "conditions", value: () => "",
          cell: (x) => (x.board.kind === "prediction" && known(x.mean) ? link(address("board", x.slug, "model", slug), "one by one") : el("span", { class: "none" }, "–")),
        },
      ],
    });
    main.append(
      el(
        "div",
        { class: "wide" },
        el("p", { class: "crumbs" }, link("#/", "Boards"), " / models"),
        el("h1", { tabindex: "-1" }, model.name),
        el("p", { class: "tags" }, el("span", { class: "tag" }, model.reference_row ? "reference row, does not compete" : "model")),
        el("p", { class: "lead" }, (model.prior || []).length ? `Knows beforehand: ${model.prior.join(", ")}.` : "Declares no prior knowledge."),
        made.box,
      ),
    );
    return { title: model.name, leave: () => made.api.destroy() };
  };
})();
