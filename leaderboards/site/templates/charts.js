// Larger drawings made of plain elements, so that they print, follow the theme and fit a phone.
"use strict";
(() => {
  const { el, lettersOf, modelLink, num, known, shortLetters, spread, share } = pbench;
  const percent = (x) => `${(100 * x).toFixed(2)}%`;

  function row(name, track, value, attributes) {
    return el("div", { class: "bar-row", ...attributes }, el("div", { class: "bar-name" }, name), track, el("div", { class: "bar-value" }, value));
  }
  const nameOf = (b, x) => [modelLink(b, x), x.kind === "model" ? null : el("span", { class: "tag" }, x.kind)];

  // Calibrated scores of a metric: 0 the negative control, 1 the positive one.
  function calibration(b, metric) {
    const rows = b.lines
      .filter((x) => x.kind !== "gaming" && x.scores && x.scores[metric] && known(x.scores[metric].score))
      .map((x) => ({ x, s: x.scores[metric] }))
      .sort((p, q) => q.s.score - p.s.score);
    if (!rows.length) return el("p", { class: "lead" }, "No score is defined for this metric.");
    const control = b.controls[metric];
    const ends = el(
      "div",
      { class: "bar-row ends", "aria-hidden": "true" },
      el("div", { class: "bar-name" }),
      el("div", { class: "track" }, el("span", { class: "end", style: { left: percent(share(0)) } }, "0", el("span", { class: "end-name" }, ` ${control.negative || ""}`)), el("span", { class: "end", style: { left: percent(share(1)) } }, "1", el("span", { class: "end-name" }, ` ${control.positive || ""}`))),
      el("div", { class: "bar-value" }),
    );
    return el(
      "div",
      { class: `bars${(b.grey || {})[metric] ? " grey" : ""}` },
      ends,
      rows.map(({ x, s }) => {
        const a = share(Math.min(0, s.score));
        const z = share(Math.max(0, s.score));
        return row(
          nameOf(b, x),
          el(
            "div",
            { class: "track" },
            el("span", { class: "control negative", style: { left: percent(share(0)) } }),
            el("span", { class: "control positive", style: { left: percent(share(1)) } }),
            el("span", { class: "bar", style: { left: percent(a), width: percent(z - a) } }),
            known(s.low) && known(s.high) ? el("span", { class: "ci", style: { left: percent(share(s.low)), width: percent(share(s.high) - share(s.low)) } }) : null,
          ),
          [num(s.score, 2), el("span", { class: "soft small" }, known(s.low) ? ` ${num(s.low, 2)} to ${num(s.high, 2)}` : "")],
          { class: `bar-row ${x.kind}`, title: `${x.model}: ${num(s.score, 2)}, ${spread(s, 2)}` },
        );
      }),
    );
  }

  // Mean ranks, and for each letter a bar over the models that share it: what a bar joins cannot be told apart.
  function difference(b) {
    const rows = b.lines.filter((x) => known(x.mean_rank)).sort((x, y) => x.mean_rank - y.mean_rank);
    if (!rows.length) return el("p", { class: "lead" }, "Nothing is ranked here, so there are no mean ranks.");
    const low = 1;
    const high = Math.max(2, Math.ceil(Math.max(...rows.map((x) => x.mean_rank))));
    const at = (x) => (x - low) / (high - low);
    const groups = Object.fromEntries(rows.map((x) => [x.slug, lettersOf(x)]));
    const all = [...new Set(Object.values(groups).flat())].sort((p, q) => (Number(p.slice(1)) || 0) - (Number(q.slice(1)) || 0) || (p < q ? -1 : 1));
    const span = Object.fromEntries(
      all.map((l) => {
        const members = rows.map((x, i) => (groups[x.slug].includes(l) ? i : -1)).filter((i) => i >= 0);
        return [l, [members[0], members[members.length - 1]]];
      }),
    );
    // A bar over one model joins nothing; bars that do not meet share a lane.
    const lanes = [];
    for (const l of all.filter((l) => span[l][1] > span[l][0]).sort((p, q) => span[p][0] - span[q][0])) {
      const lane = lanes.find((lane) => span[lane[lane.length - 1]][1] < span[l][0]);
      if (lane) lane.push(l);
      else lanes.push([l]);
    }
    const step = Math.max(1, Math.ceil((high - low) / 7));
    const ticks = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => low + i * step);
    return el(
      "div",
      { class: "bars ranks", tabindex: "0", role: "group", "aria-label": "Mean ranks" },
      el("div", { class: "bar-row ends", "aria-hidden": "true" }, el("div", { class: "bar-name" }), el("div", { class: "track inset" }, ticks.map((t) => el("span", { class: "end", style: { left: percent(at(t)) } }, num(t)))), el("div", { class: "bar-value" })),
      rows.map((x, i) =>
        row(
          modelLink(b, x),
          el("div", { class: "track inset" }, el("span", { class: "rail" }), el("span", { class: "dot", style: { left: percent(at(x.mean_rank)) } })),
          [
            el("span", { class: "n" }, num(x.mean_rank, 2)),
            el(
              "span",
              { class: "lanes" },
              lanes.map((lane) => {
                const l = lane.find((l) => span[l][0] <= i && i <= span[l][1]);
                const end = l && (span[l][0] === i ? " first" : span[l][1] === i ? " last" : "");
                return el("span", { class: `lane${l ? ` on${end}` : ""}${l && groups[x.slug].includes(l) ? " member" : ""}`, "aria-hidden": "true" });
              }),
            ),
            el("span", { class: "soft small" }, shortLetters(x)),
          ],
        ),
      ),
    );
  }

  // Answered by the model, answered with something simpler, not answered.
  function coverage(b) {
    const rows = b.lines.filter((x) => x.kind === "model");
    return el(
      "div",
      { class: "bars" },
      rows.map((x) => {
        const asked = x.asked || 1;
        const own = Math.max(0, x.predicted - x.fallback);
        const parts = [[own, "own"], [Math.min(x.fallback, x.predicted), "fallback"], [x.asked - x.predicted, "absent"]];
        const said = [
          x.fallback ? `${x.fallback} by fallback` : "",
          x.status !== "ok" ? `${x.status}: ${x.reason}` : "",
          ...Object.entries(x.absent || {}).map(([why, n]) => `${n} absent: ${why}`),
        ].filter(Boolean);
        let from = 0;
        const track = el("div", { class: "track" });
        for (const [n, kind] of parts) {
          if (n > 0) track.append(el("span", { class: `bar ${kind}`, style: { left: percent(from / asked), width: percent(n / asked) } }));
          from += n;
        }
        return [row(nameOf(b, x), track, `${x.predicted} of ${x.asked}`), said.length ? el("p", { class: "bar-note soft small" }, said.join("; ")) : null];
      }),
      el("p", { class: "soft small keys" }, el("span", { class: "key own" }), " by the model ", el("span", { class: "key fallback" }), " by a fallback ", el("span", { class: "key absent" }), " not answered"),
    );
  }

  Object.assign(pbench, { calibration, difference, coverage });
})();
