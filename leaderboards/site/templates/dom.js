// Elements and words. Everything from data goes through text nodes and attributes, never through HTML.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
      else node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) node.append(child);
    return node;
  }

  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  const MINUS = "\u2212";
  const known = (x) => typeof x === "number" && Number.isFinite(x);

  // Three significant digits, or as many decimals as a column wants.
  function num(x, decimals) {
    if (!known(x)) return "–";
    let text;
    if (decimals !== undefined) text = x.toFixed(decimals);
    else if (x !== 0 && (Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3)) text = x.toExponential(1).replace("e+", "e");
    else text = String(Number(x.toPrecision(3)));
    if (Number(text) === 0) text = text.replace("-", "");
    return text.replace(/-/g, MINUS);
  }

  // So many decimals that two values a hundredth of the range apart look different.
  function decimals(range) {
    if (!(range > 0)) return 2;
    return Math.min(4, Math.max(0, 2 - Math.floor(Math.log10(range))));
  }

  function seconds(x) {
    if (!known(x)) return "–";
    if (x < 0.1) return `${num(x * 1000)} ms`;
    if (x < 120) return `${num(x)} s`;
    if (x < 7200) return `${num(x / 60)} min`;
    return `${num(x / 3600)} h`;
  }

  const spread = (c, digits) =>
    known(c.low) && known(c.high) ? `95 % interval ${num(c.low, digits)} to ${num(c.high, digits)}` : "no interval";
  const several = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

  // A metric id breaks where its parts meet: family.variant @genes ~reference #representation.
  function metricName(id, after) {
    const at = id.search(/[@~#]/);
    const head = at > 0 ? id.slice(0, at) : id;
    const rest = at > 0 ? id.slice(at) : "";
    return [
      el("span", { class: "metric" }, head.split(/(?<=[._])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part])), after),
      rest && el("span", { class: "metric-rest" }, rest.split(/(?=[~#])/).flatMap((part, i) => (i ? [el("wbr"), part] : [part]))),
    ];
  }

  const arrow = (direction) => ({ up: "↑", down: "↓", target: "→" })[direction] || "";
  const better = (direction) => ({ up: "higher is better", down: "lower is better", target: "closest to perfect is best" })[direction] || "";
  const link = (href, ...children) => el("a", { href }, children);
  const address = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

  // The name of a model on a board, linked to its conditions where there are any.
  const detailed = (x) => x.detail ?? Boolean(x.cells && Object.keys(x.cells).length);
  const modelLink = (b, x) => (detailed(x) ? link(address("board", b.slug, "model", x.slug), x.model) : el("span", {}, x.model));

  // A source on the web becomes a link, anything else stays text.
  const outside = (text) =>
    /^https?:\/\/[^\s]+$/.test(text) ? el("a", { href: text, rel: "noopener noreferrer" }, text) : String(text);

  function choice(label, options, value, onchange) {
    const select = el("select", { on: { change: () => onchange(select.value) } });
    for (const [key, text] of options) select.append(el("option", { value: key, selected: key === value }, text));
    return el("label", { class: "field" }, el("span", {}, label), select);
  }

  function toggle(label, checked, onchange, attributes) {
    const box = el("input", { type: "checkbox", checked, ...attributes, on: { change: () => onchange(box.checked) } });
    return el("label", { class: "check" }, box, el("span", {}, label));
  }

  const say = (text) => {
    document.getElementById("said").textContent = text;
  };
  const boardTitle = (b) => (b.words && b.words.title) || b.title || `${b.dataset} · ${b.split}`;

  // Draws a part of the page when it comes near the window, or when the page is printed.
  function later(node, draw) {
    let drawn = false;
    const now = () => {
      if (drawn) return;
      drawn = true;
      seen.disconnect();
      draw(node);
    };
    const seen = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && now(), { rootMargin: "300px" });
    seen.observe(node);
    addEventListener("beforeprint", () => node.isConnected && now(), { once: true });
    return node;
  }

  // A letter may have a number behind it: after z comes a1. Many letters are no help to a reader and are counted.
  const lettersOf = (x) => String(x.letters || "").match(/[a-z]\d*/g) || [];
  const shortLetters = (x) => (lettersOf(x).length > 8 ? `${lettersOf(x).slice(0, 3).join("")}… (${lettersOf(x).length})` : x.letters);

  Object.assign(pbench, {
    el, svg, num, known, decimals, seconds, spread, several, lettersOf, shortLetters, metricName, arrow, better, link, address, detailed, modelLink, outside, choice, toggle, say,
    boardTitle, later,
  });
})();
