// Plots that are read by pointing at them: plotly.js, loaded when the first of them comes into view.
"use strict";
(() => {
  const { el, known, better } = pbench;
  const drawn = new Map();

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { ...Object.fromEntries(["ink", "soft", "line", "accent", "second", "raised", "mark"].map((k) => [k, of(k)])), series: of("series").split(/,\s*/) };
  }

  // Names from data reach plotly as text, where it would read a few tags.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function layout(c, more) {
    const axis = { gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, tickcolor: c.line, automargin: true, title: { standoff: 8 } };
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: c.soft },
      margin: { l: 56, r: 16, t: 12, b: 48 },
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { bgcolor: c.raised, bordercolor: c.line, font: { color: c.ink }, align: "left" },
      dragmode: false,
      ...more,
      xaxis: { ...axis, ...more.xaxis },
      yaxis: { ...axis, ...more.yaxis },
    };
  }

  // make(colours) gives traces and layout; it is called again when the theme changes.
  async function draw(node, make, onclick) {
    drawn.set(node, make);
    let Plotly;
    try {
      Plotly = await pbench.plotly();
    } catch (error) {
      node.replaceChildren(el("p", { class: "lead" }, error.message));
      return;
    }
    if (!node.isConnected || drawn.get(node) !== make) return;
    const c = colours();
    const { traces, more } = make(c);
    await Plotly.react(node, traces, layout(c, more), { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false });
    if (onclick && !node.dataset.clicks) {
      node.dataset.clicks = "yes";
      node.on("plotly_click", (event) => onclick(event.points[0]));
    }
    node.dataset.drawn = "yes";
  }

  document.addEventListener("theme", () => {
    for (const [node, make] of drawn) {
      if (!node.isConnected) drawn.delete(node);
      else if (node.dataset.drawn) draw(node, make);
    }
  });

  // Which points get a label: those of most weight first, as far as labels do not lie on each other. In pixels of the plot.
  function labelled(points, most, node, [x0, x1], [y0, y1]) {
    const width = Math.max(120, node.clientWidth - 80);
    const height = Math.max(120, node.clientHeight - 90);
    const dots = points.map((p) => ({ x: ((p.x - x0) / (x1 - x0 || 1)) * width, y: ((p.y - y0) / (y1 - y0 || 1)) * height }));
    const boxes = [];
    const kept = new Set();
    const order = points.map((p, i) => i).sort((a, b) => points[b].weight - points[a].weight);
    for (const i of order) {
      if (kept.size >= most) break;
      const box = { ...dots[i], half: 4 + 3.6 * String(points[i].label).length };
      // The label stands above its point, and on no other label or point.
      const free = boxes.every((o) => Math.abs(o.x - box.x) > o.half + box.half || Math.abs(o.y - box.y) > 17);
      const bare = dots.every((d, j) => j === i || Math.abs(d.x - box.x) > box.half + 4 || d.y < box.y + 5 || d.y > box.y + 22);
      if (free && bare) {
        boxes.push(box);
        kept.add(i);
      }
    }
    return kept;
  }
  const ends = (xs) => [Math.min(...xs), Math.max(...xs)];

  function cost(node, b, index, lines) {
    const m = b.primary;
    const info = index.metrics[m] || {};
    const points = lines.map((x) => ({ x: Math.log10(Math.max(x.seconds.total, 1e-3)), y: x.cells[m].mean, label: x.model, weight: x.kind === "model" ? 1000 - (x.rank || 900) : 0 }));
    const named = labelled(points, 24, node, ends(points.map((p) => p.x)), ends(points.map((p) => p.y)));
    return draw(node, (c) => ({
      traces: ["model", "reference"].map((kind) => {
        const own = lines.map((x, i) => ({ x, i })).filter(({ x }) => x.kind === kind);
        const of = (f) => own.map(({ x }) => f(x.cells[m], x));
        return {
          type: "scatter",
          mode: "markers+text",
          x: own.map(({ x }) => Math.max(x.seconds.total, 1e-3)),
          y: of((cell) => cell.mean),
          text: own.map(({ x, i }) => (named.has(i) ? plain(x.model) : "")),
          customdata: of((cell, x) => plain(x.model)),
          hovertemplate: `%{customdata}<br>%{x:.3g} s<br>%{y:.4g}<extra></extra>`,
          textposition: "top center",
          textfont: { size: 12, color: c.ink },
          cliponaxis: false,
          marker: { size: 9, symbol: kind === "model" ? "circle" : "diamond-open", color: kind === "model" ? c.accent : c.soft, line: { width: kind === "model" ? 0 : 1.5 } },
          error_y: {
            type: "data",
            symmetric: false,
            array: of((cell) => (known(cell.high) ? cell.high - cell.mean : 0)),
            arrayminus: of((cell) => (known(cell.low) ? cell.mean - cell.low : 0)),
            color: c.soft,
            thickness: 1,
            width: 0,
          },
        };
      }),
      more: {
        xaxis: { type: "log", title: { text: "seconds of a job", standoff: 8 }, dtick: 1 },
        yaxis: { title: { text: `${plain(m)}, ${better(info.direction)}`, standoff: 8 } },
      },
    }));
  }

  // Values of all conditions, sorted; beside them those of another model.
  function dots(node, { items, selected, metric, name, other, open }) {
    return draw(
      node,
      (c) => {
        const trace = (key, label, marker) => ({
          type: "scatter",
          mode: "markers",
          name: plain(label),
          x: items.map((_, i) => i + 1),
          y: items.map((d) => d[key]),
          customdata: items.map((d) => plain(d.label)),
          hovertemplate: `%{customdata}<br>${plain(label)} %{y:.4g}<extra></extra>`,
          marker,
        });
        const at = items.findIndex((d) => d.index === selected);
        return {
          traces: [
            other ? trace("other", other, { symbol: "line-ew-open", size: 9, color: c.soft, line: { width: 1.5 } }) : null,
            trace("value", name, { symbol: "circle", size: items.length > 120 ? 5 : 8, color: c.accent }),
          ].filter(Boolean),
          more: {
            margin: { l: 56, r: 12, t: 36, b: 44 },
            showlegend: true,
            legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: c.ink } },
            shapes: at < 0 ? [] : [{ type: "line", x0: at + 1, x1: at + 1, y0: 0, y1: 1, yref: "paper", line: { color: c.mark, width: 1.5, dash: "dot" } }],
            xaxis: { title: { text: "conditions, worst to best", standoff: 8 }, zeroline: false, showgrid: false, range: [0, items.length + 1], tick0: 0, dtick: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((s) => items.length / s <= 12) || 5000 },
            yaxis: { title: { text: plain(metric), standoff: 8 }, zeroline: false },
          },
        };
      },
      (point) => open(items[point.pointIndex ?? point.pointNumber]),
    );
  }

  // Predicted against true change of the genes that changed most.
  function shift(node, genes) {
    const points = genes.map((g) => ({ x: g.truth, y: g.predicted, label: g.name, weight: Math.abs(g.truth) }));
    const all = genes.flatMap((g) => [g.truth, g.predicted, 0]);
    const room = (Math.max(...all) - Math.min(...all)) * 0.08 || 0.1;
    const range = [Math.min(...all) - room, Math.max(...all) + room];
    const named = labelled(points, 16, node, range, range);
    return draw(node, (c) => ({
      traces: [
        [true, "right direction", "circle", c.accent],
        [false, "wrong direction", "diamond-open", c.second],
      ].map(([right, label, symbol, colour]) => {
        const own = genes.map((g, i) => ({ g, i })).filter(({ g }) => g.right === right);
        return {
          type: "scatter",
          mode: "markers+text",
          name: label,
          x: own.map(({ g }) => g.truth),
          y: own.map(({ g }) => g.predicted),
          text: own.map(({ g, i }) => (named.has(i) ? plain(g.name) : "")),
          customdata: own.map(({ g }) => plain(g.name)),
          hovertemplate: "%{customdata}<br>true %{x:.4g}<br>predicted %{y:.4g}<extra></extra>",
          textposition: "top center",
          textfont: { size: 12, color: c.ink },
          cliponaxis: false,
          marker: { size: 9, symbol, color: colour, line: { width: right ? 0 : 2 } },
        };
      }),
      more: {
        margin: { l: 56, r: 20, t: 36, b: 48 },
        showlegend: true,
        legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: c.ink } },
        shapes: [{ type: "line", x0: range[0], y0: range[0], x1: range[1], y1: range[1], line: { color: c.soft, width: 1, dash: "dash" } }],
        xaxis: { title: { text: "true change", standoff: 8 }, range, zerolinecolor: c.soft },
        yaxis: { title: { text: "predicted change", standoff: 8 }, range, zerolinecolor: c.soft },
      },
    }));
  }

  // A metric over releases, a line for each model; markers tell the lines apart as well as colours.
  function releases(node, versions, series) {
    const symbols = ["circle", "square", "diamond", "cross", "triangle-up", "star", "pentagon", "hexagon"];
    const dashes = ["solid", "dash", "dot", "dashdot"];
    return draw(node, (c) => ({
      traces: series.map((s, i) => ({
        type: "scatter",
        mode: "lines+markers",
        name: plain(s.model),
        x: versions.map(plain),
        y: s.means,
        hovertemplate: `${plain(s.model)}<br>%{x}: %{y:.4g}<extra></extra>`,
        line: { width: 1.5, dash: dashes[Math.floor(i / c.series.length) % dashes.length], color: c.series[i % c.series.length] },
        marker: { size: 8, symbol: symbols[i % symbols.length], color: c.series[i % c.series.length] },
      })),
      more: {
        showlegend: true,
        legend: { font: { color: c.ink }, orientation: matchMedia("(max-width: 40rem)").matches ? "h" : "v" },
        xaxis: { type: "category", title: { text: "release", standoff: 8 } },
        yaxis: { title: { text: series.length ? plain(series[0].metric) : "", standoff: 8 } },
      },
    }));
  }

  pbench.plots = { cost, dots, shift, releases };
  pbench.clear = () => {
    for (const node of drawn.keys()) if (window.Plotly && node.dataset.drawn) window.Plotly.purge(node);
    drawn.clear();
  };
})();
