// Small drawings inside tables: an interval on a scale that a column shares, and a score between the two controls.
"use strict";
(() => {
  const { svg, known } = pbench;
  const WIDTH = 76;
  const HEIGHT = 16;
  const PAD = 5;
  const MIDDLE = HEIGHT / 2;

  // The scale of a column holds all means; a few very wide intervals do not squeeze the others, they run into an arrow.
  function scale(cells, extra = []) {
    const means = [...cells.map((c) => c.mean), ...extra].filter(known);
    if (!means.length) return null;
    let low = Math.min(...means);
    let high = Math.max(...means);
    const room = (high - low) * 0.25 || Math.abs(high) * 0.1 || 1;
    const lows = cells.map((c) => c.low).filter(known);
    const highs = cells.map((c) => c.high).filter(known);
    low = Math.max(Math.min(low, ...lows), low - room);
    high = Math.min(Math.max(high, ...highs), high + room);
    return { low, high: high > low ? high : low + 1 };
  }

  const place = (s, x) => PAD + ((x - s.low) / (s.high - s.low)) * (WIDTH - 2 * PAD);
  const round = (x) => Math.round(x * 10) / 10;

  function whisker(cell, s, controls) {
    const drawing = svg("svg", { class: "whisker", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    if (!s) return drawing;
    for (const [name, x] of controls || []) {
      if (known(x) && x >= s.low && x <= s.high) {
        drawing.append(svg("path", { class: `control ${name}`, d: `M${round(place(s, x))} 1V${HEIGHT - 1}` }));
      }
    }
    // A value beyond the scale is an open triangle at its end.
    if (known(cell.mean) && (cell.mean < s.low || cell.mean > s.high)) {
      const [x, d] = cell.mean < s.low ? [1, 5] : [WIDTH - 1, -5];
      drawing.append(svg("path", { class: "beyond", d: `M${x + d} ${MIDDLE - 4}L${x} ${MIDDLE}L${x + d} ${MIDDLE + 4}Z` }));
      return drawing;
    }
    if (known(cell.low) && known(cell.high)) {
      const a = round(place(s, Math.min(Math.max(cell.low, s.low), s.high)));
      const b = round(place(s, Math.min(Math.max(cell.high, s.low), s.high)));
      const left = cell.low < s.low ? `M${a + 3} ${MIDDLE - 3}L${a} ${MIDDLE}L${a + 3} ${MIDDLE + 3}` : `M${a} ${MIDDLE - 3}V${MIDDLE + 3}`;
      const right = cell.high > s.high ? `M${b - 3} ${MIDDLE - 3}L${b} ${MIDDLE}L${b - 3} ${MIDDLE + 3}` : `M${b} ${MIDDLE - 3}V${MIDDLE + 3}`;
      drawing.append(svg("path", { class: "range", d: `M${a} ${MIDDLE}H${b}${left}${right}` }));
    }
    for (const x of cell.seeds || []) {
      if (known(x) && x >= s.low && x <= s.high) drawing.append(svg("circle", { class: "seed", cx: round(place(s, x)), cy: MIDDLE, r: 1.4 }));
    }
    if (known(cell.mean)) drawing.append(svg("circle", { class: "mean", cx: round(place(s, cell.mean)), cy: MIDDLE, r: 3 }));
    return drawing;
  }

  // From the negative control (0) to the positive one (1), with room on both sides.
  const FROM = -0.25;
  const TO = 1.25;
  const share = (x) => (Math.min(Math.max(x, FROM), TO) - FROM) / (TO - FROM);

  function scoreBar(score) {
    const at = (x) => round(share(x) * WIDTH);
    const drawing = svg("svg", { class: "score", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    if (score && known(score.score)) {
      const [a, b] = [Math.min(at(0), at(score.score)), Math.max(at(0), at(score.score))];
      drawing.append(svg("rect", { class: "fill", x: a, y: 4, width: Math.max(1, b - a), height: HEIGHT - 8 }));
      if (known(score.low)) drawing.append(svg("path", { class: "range", d: `M${at(score.low)} ${MIDDLE}H${at(score.high)}` }));
    }
    drawing.append(svg("path", { class: "control negative", d: `M${at(0)} 1V${HEIGHT - 1}` }));
    drawing.append(svg("path", { class: "control positive", d: `M${at(1)} 1V${HEIGHT - 1}` }));
    return drawing;
  }

  Object.assign(pbench, { scale, whisker, scoreBar, share });
})();
