// A model on a board: its conditions from worst to best by a metric, and predicted against true change of each.
"use strict";
(() => {
  const { el, link, address, detailed, num, known, decimals, choice, boardTitle, arrow, better, spread } = pbench;

  // The model that others are held against: the additive one, else the negative control, else any reference or any other.
  function baseline(b, metric, own) {
    const there = (name) => b.lines.find((x) => x.model === name && x.model !== own && detailed(x));
    const control = (b.controls || {})[metric] || {};
    return there("additive") || there(control.negative) || b.lines.find((x) => x.kind === "reference" && there(x.model)) || b.lines.find((x) => there(x.model)) || null;
  }

  // How far a value is from the best there can be: the larger the worse.
  function badness(info) {
    if (info.direction === "up") return (x) => -x;
    if (info.direction === "down") return (x) => x;
    return (x) => Math.abs(x - (info.perfect ?? 0));
  }

  // The perturbation, and apart from it what else says which condition it is: context, dose, time.
  function named(condition, index) {
    const label = condition.label ?? String(index);
    const bar = label.indexOf(" | ");
    return bar > 0 ? { label, name: label.slice(0, bar), rest: label.slice(bar + 3) } : { label, name: label, rest: "" };
  }

  function itemsOf(b, file, other, metric, info) {
    const bad = badness(info);
    const others = new Map();
    const simpler = new Set(file.fallback || []);
    if (other) (other.values[metric] || []).forEach((v, i) => others.set(other.conditions[i], v));
    const items = file.conditions.map((index, i) => {
      const condition = b.conditions[index] || {};
      const value = (file.values[metric] || [])[i];
      const beside = others.get(index);
      return {
        index,
        ...named(condition, index),
        context: condition.context,
        fold: condition.fold,
        value: known(value) ? value : null,
        simpler: simpler.has(index),
        absent: (file.absent || {})[String(index)],
        other: known(beside) ? beside : null,
        ahead: known(value) && known(beside) ? bad(beside) - bad(value) : null,
      };
    });
    const last = (d) => (known(d.value) ? 0 : 1);
    return items.sort((p, q) => last(p) - last(q) || (last(p) ? 0 : bad(q.value) - bad(p.value)) || p.index - q.index);
  }

  function genesOf(file, index) {
    const s = (file.shifts || {})[String(index)];
    if (!s || !s.g.length) return null;
    return s.g.map((g, i) => ({ name: file.genes[g], truth: s.t[i], predicted: s.p[i], right: Math.sign(s.t[i]) === Math.sign(s.p[i]) })).filter((g) => known(g.truth) && known(g.predicted));
  }

  pbench.views.perturbations = async (main, index, b, slug, place) => {
    const line = b.lines.find((x) => x.slug === slug);
    if (!line) throw new Error(`No model with the address ${slug} is on this board.`);
    const file = await pbench.load("model", b.slug, slug);
    const valued = file.metrics.filter((m) => (file.values[m] || []).some(known));
    const metrics = valued.length ? valued : file.metrics;
    const state = { metric: null, other: undefined, otherFile: null, items: [], index: null };
    const title = `${line.model} on ${boardTitle(b)}`;
    const comparable = b.lines.filter((x) => x.slug !== slug && x.kind !== "gaming" && detailed(x));

    const list = el("div", { class: "list" });
    const dots = el("div", { class: "plot low", role: "img", "aria-label": "Values of all conditions, from worst to best" });
    const said = el("p", { class: "lead" });
    const heading = el("h2", { id: "condition" });
    const note = el("p", { class: "soft small" });
    const plot = el("div", { class: "plot square", role: "img" });
    const numbers = el("details", { class: "facts" }, el("summary", {}, "The same in numbers"));
    const pickers = el("div", { class: "tools" });
    let made = null;

    const here = (i) => `${address("board", b.slug, "model", slug, String(i))}?metric=${encodeURIComponent(state.metric)}`;
    main.append(
      el(
        "div",
        { class: "wide" },
        el("p", { class: "crumbs" }, link("#/", "Boards"), " / ", link(address("board", b.slug), `${b.dataset} / ${b.split}`), " / ", line.model),
        el("h1", { tabindex: "-1" }, line.model),
        el(
          "p",
          { class: "tags" },
          el("span", { class: "tag" }, line.kind === "model" ? (line.rank ? `rank ${line.rank}` : "not ranked") : line.kind),
          el("span", { class: "tag" }, `${line.predicted} of ${line.asked} conditions`),
          (line.prior || []).map((p) => el("span", { class: "tag" }, p)),
          link(address("model", slug), "all boards of this model"),
        ),
        line.remarks && line.remarks.length ? el("p", { class: "lead" }, `Audit of the model: ${line.remarks.join("; ")}.`) : null,
        pickers,
        said,
        el("div", { class: "split" }, el("section", { class: "side", "aria-labelledby": "list" }, el("h2", { id: "list" }, "Conditions"), list), el("section", { class: "focus", "aria-labelledby": "condition" }, heading, note, plot, numbers)),
        el("section", { class: "part", "aria-labelledby": "all" }, el("h2", { id: "all" }, "All conditions, worst to best"), dots),
      ),
    );

    function condition() {
      const item = state.items.find((d) => d.index === state.index);
      heading.replaceChildren(...(item ? [item.name, item.rest ? el("span", { class: "rest" }, item.rest) : ""] : ["No condition"]));
      for (const a of list.querySelectorAll("a[aria-current]")) a.removeAttribute("aria-current");
      const current = list.querySelector(`a[data-index="${state.index}"]`);
      if (current) {
        current.setAttribute("aria-current", "true");
        const box = current.closest(".scroll");
        const row = current.closest("tr");
        if (row.offsetTop < box.scrollTop + 40 || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = Math.max(0, row.offsetTop - 80);
      }
      const genes = item ? genesOf(file, state.index) : null;
      plot.hidden = numbers.hidden = !genes;
      const value = item && known(item.value) ? `${state.metric} ${num(item.value)}${item.simpler ? ", answered by a fallback" : ""}` : `${state.metric} is not defined here`;
      if (!genes) {
        note.textContent = item ? `${value}. ${Object.keys(file.shifts || {}).length ? `The model did not answer it${item.absent ? ` (${item.absent})` : ""}, so there is no change to show.` : "Changes of genes were not published with these results."}` : "";
      } else {
        const right = genes.filter((g) => g.right).length;
        note.textContent = `${value}. The ${genes.length} genes with the largest true change against control; ${right} of them predicted in the right direction. On the dashed line the prediction is exact.`;
        plot.setAttribute("aria-label", `Predicted against true change of ${genes.length} genes under ${item.label}; the numbers follow`);
        pbench.plots.shift(plot, genes);
        numbers.replaceChildren(numbers.firstElementChild, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ["gene", "true change", "predicted"].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, genes.map((g) => el("tr", {}, el("th", { scope: "row" }, g.name), el("td", { class: "num" }, num(g.truth)), el("td", { class: "num" }, num(g.predicted)))))));
      }
      if (state.items.some((d) => known(d.value))) {
        pbench.plots.dots(dots, {
          items: state.items.filter((d) => known(d.value)), selected: state.index, metric: state.metric, name: line.model,
          other: state.otherFile && state.otherFile.model, open: (d) => (location.hash = here(d.index)),
        });
      }
    }

    function listed() {
      const info = index.metrics[state.metric] || {};
      const digits = decimals(Math.max(...state.items.map((d) => d.value ?? -Infinity)) - Math.min(...state.items.map((d) => d.value ?? Infinity)));
      const columns = [
        { title: "condition", class: "name", value: (d) => d.label, cell: (d) => el("a", { href: here(d.index), "data-index": d.index }, d.name.split(/(?<=\+)/).flatMap((part, i) => (i ? [el("wbr"), part] : [part])), d.rest || d.simpler || d.absent ? el("span", { class: "rest" }, [d.rest, d.simpler ? "by a fallback" : "", d.absent].filter(Boolean).join(", ")) : null) },
        { title: ["value ", arrow(info.direction)], name: state.metric, number: true, class: "num", first: info.direction === "down" ? "desc" : "asc", value: (d) => d.value, cell: (d) => num(d.value, digits) },
      ];
      if (state.otherFile) {
        columns.push({ title: state.otherFile.model, number: true, class: "num", value: (d) => d.other, cell: (d) => num(d.other, digits) });
        columns.push({
          title: "ahead", number: true, class: "num", first: "desc", value: (d) => d.ahead,
          tip: `How much closer to perfect than ${state.otherFile.model}.`,
          cell: (d) => (known(d.ahead) ? [el("span", { class: d.ahead > 0 ? "up" : d.ahead < 0 ? "down" : "", "aria-hidden": "true" }, d.ahead > 0 ? "▲ " : d.ahead < 0 ? "▼ " : ""), num(d.ahead, digits)] : "–"),
        });
      }
      if (made) made.api.destroy();
      made = pbench.table({ label: `Conditions by ${state.metric}`, columns, rows: state.items, noun: "condition", kind: "conditions", sorted: info.direction === "target" ? undefined : [1, columns[1].first] });
      const filter = el("input", { type: "search", placeholder: "Filter conditions", "aria-label": "Filter conditions", autocomplete: "off", spellcheck: "false", on: { input: () => made.filter(filter.value) } });
      list.replaceChildren(filter, made.box);
    }

    async function metricChosen(metric) {
      state.metric = metric;
      if (state.other === undefined) state.other = (baseline(b, metric, line.model) || {}).slug || "";
      const want = state.other;
      state.otherFile = want ? await pbench.load("model", b.slug, want).catch(() => null) : null;
      const info = index.metrics[metric] || {};
      state.items = itemsOf(b, file, state.otherFile, metric, info);
      const cell = line.cells[metric] || {};
      said.replaceChildren(el("code", {}, metric), ` has the mean ${num(cell.mean)}, ${spread(cell)}; ${better(info.direction)}. ${(b.grey || {})[metric] ? `It is grey here and ranks nothing: ${b.grey[metric]}.` : ""}`);
      listed();
    }

    function pick() {
      const go = (m) => (location.hash = `${address("board", b.slug, "model", slug, ...(place.given !== null ? [String(state.index)] : []))}?metric=${encodeURIComponent(m)}`);
      pickers.replaceChildren(
        choice("Metric", metrics.map((m) => [m, (b.grey || {})[m] ? `${m} (grey)` : m]), state.metric, go),
        choice("Beside", [["", "nothing"], ...comparable.map((x) => [x.slug, x.model])], state.other, async (other) => {
          state.other = other;
          await metricChosen(state.metric);
          condition();
        }),
      );
    }

    async function update(now) {
      place = now;
      const asked = metrics.includes(now.metric) ? now.metric : metrics.includes(b.primary) ? b.primary : metrics[0];
      if (asked === undefined) {
        said.textContent = "No value is defined for any condition.";
        return;
      }
      const changed = asked !== state.metric;
      if (changed) await metricChosen(asked);
      const given = now.given === null ? null : state.items.find((d) => d.index === now.given);
      if (now.given !== null && !given) throw new Error(`This board has no condition ${now.given}.`);
      // Opened from the board: the worst condition of which there is something to see.
      state.index = given ? given.index : (state.items.find((d) => known(d.value) && genesOf(file, d.index)) || state.items[0] || {}).index;
      if (changed) pick();
      condition();
    }
    await update(place);
    performance.mark("model drawn");
    return { title, update, key: `${b.slug}/${slug}`, leave: () => made && made.api.destroy() };
  };
})();
