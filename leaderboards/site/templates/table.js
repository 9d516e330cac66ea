// Tables that sort and filter (DataTables), with buttons in their heads and a scroll box of their own.
"use strict";
(() => {
  const { el, say, several, known } = pbench;

  // What is not known stays last, whichever way a column is sorted.
  function ordered(compare) {
    return (a, b) => {
      if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
      return compare(a, b);
    };
  }
  DataTable.type("number-or-none", {
    order: { asc: ordered((a, b) => Number(a) - Number(b)), desc: ordered((a, b) => Number(b) - Number(a)) },
  });
  DataTable.type("words", {
    order: { asc: ordered((a, b) => (a < b ? -1 : a > b ? 1 : 0)), desc: ordered((a, b) => (a < b ? 1 : a > b ? -1 : 0)) },
  });
  DataTable.ext.errMode = "throw";

  // columns: {title, name, number, first: "asc"|"desc", value(row), cell(row), class, tip, head: nodes after the title}
  function table({ label, columns, rows, rowClass, search, noun = "row", sorted, kind = "" }) {
    const heads = columns.map((c) => {
      const button = el("button", { type: "button", class: "sort", "data-tip": c.tip }, el("span", {}, c.title));
      return { button, th: el("th", { scope: "col", class: c.class }, el("div", { class: "head" }, button, c.head)) };
    });
    const body = el("tbody");
    for (const row of rows) {
      const tr = el("tr", { class: rowClass ? rowClass(row) : null });
      columns.forEach((c, i) => {
        const cell = document.createElement(i ? "td" : "th");
        if (!i) cell.scope = "row";
        if (c.class) cell.className = c.class;
        const value = c.value(row);
        cell.dataset.order = c.number ? (known(value) ? value : "") : String(value ?? "").toLowerCase();
        cell.dataset.search = i ? "" : search ? search(row) : String(value ?? "");
        const content = c.cell ? c.cell(row) : String(value ?? "–");
        cell.append(...[content].flat(Infinity).filter((x) => x !== null && x !== undefined && x !== false));
        tr.append(cell);
      });
      body.append(tr);
    }
    const node = el("table", { class: kind }, el("caption", { class: "unseen" }, label), el("thead", {}, el("tr", {}, heads.map((h) => h.th))), body);
    const inner = el("div", { class: "scroll", role: "region", "aria-label": `${label}: table`, tabindex: "0" }, node);
    const box = el("div", { class: "frame" }, inner);
    // A soft edge says that there is more to the right.
    const edge = () => box.classList.toggle("more", inner.scrollLeft + inner.clientWidth < inner.scrollWidth - 2);
    inner.addEventListener("scroll", edge, { passive: true });
    new ResizeObserver(edge).observe(inner);
    const api = new DataTable(node, {
      paging: false,
      info: false,
      autoWidth: false,
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
      ordering: { handler: false, indicators: false },
      order: sorted ? [sorted] : [],
      columns: columns.map((c, i) => ({ type: c.number ? "number-or-none" : "words", searchable: i === 0 })),
      language: { emptyTable: "There is nothing here.", zeroRecords: "Nothing matches the filter." },
    });

    const mark = () => {
      const now = api.order()[0];
      heads.forEach(({ th }, i) => {
        const way = now && now[0] === i ? (now[1] === "asc" ? "ascending" : "descending") : null;
        if (way) th.setAttribute("aria-sort", way);
        else th.removeAttribute("aria-sort");
      });
    };
    heads.forEach(({ button }, i) => {
      button.addEventListener("click", () => {
        const now = api.order()[0];
        const first = columns[i].first || "asc";
        const way = now && now[0] === i && now[1] === first ? (first === "asc" ? "desc" : "asc") : first;
        api.order([i, way]).draw();
        mark();
        say(`Sorted by ${columns[i].name || columns[i].title}, ${way === "asc" ? "ascending" : "descending"}.`);
      });
    });
    mark();
    box.addEventListener("keydown", walk);
    return {
      box,
      node,
      api,
      filter(text) {
        api.search(text).draw();
        const shown = api.rows({ search: "applied" }).count();
        say(`${shown} of ${several(rows.length, noun)} shown.`);
        return shown;
      },
      keep(name, keeps) {
        api.search.fixed(name, (text, data, i) => keeps(rows[i])).draw();
      },
    };
  }

  // Arrows walk from link to link between cells, so that Tab need not pass through all of them.
  function walk(event) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const from = step && event.target.closest("tbody td, tbody th");
    if (!from || !event.target.matches("a")) return;
    let cell = from;
    for (;;) {
      let row = cell.parentElement;
      if (step[0]) row = step[0] > 0 ? row.nextElementSibling : row.previousElementSibling;
      cell = row && row.cells[cell.cellIndex + step[1]];
      if (!cell) return;
      const target = cell.querySelector("a");
      if (target) {
        event.preventDefault();
        target.focus();
        return;
      }
    }
  }

  pbench.table = table;
})();
