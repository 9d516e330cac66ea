// The way from an address to a page. Addresses: #/, #/board/B, #/board/B/model/M[/condition], #/model/M, #/history, #/about.
"use strict";
(() => {
  const { el, link } = pbench;
  const main = document.getElementById("main");
  let view = null;
  let turn = 0;

  function parsed() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    let parts;
    try {
      parts = path.split("/").filter(Boolean).map(decodeURIComponent);
    } catch {
      parts = [path];
    }
    return { parts, query: new URLSearchParams(query || "") };
  }

  const MISSING = "There is no page with this address.";

  async function show() {
    const mine = ++turn;
    const { parts, query } = parsed();
    const index = pbench.get("index");
    const [kind, a, b, c, d] = parts;
    let place = null;
    if (kind === "board" && b === "model") {
      if (d !== undefined && !/^\d{1,6}$/.test(d)) return failed(new Error(MISSING));
      place = { given: d === undefined ? null : Number(d), metric: query.get("metric") };
      // Another condition of the same model: the page stays, the scatter changes.
      if (view && view.update && view.key === `${a}/${c}`) {
        try {
          await view.update(place);
          if (mine === turn) document.documentElement.dataset.ready = location.hash;
        } catch (error) {
          failed(error);
        }
        return;
      }
    }
    try {
      if (!index) throw new Error("The file data/index.js is not there, or does not load.");
      const page = el("div", { class: "page" });
      const loaded = kind === "board" ? await pbench.load("board", a || "") : null;
      if (mine !== turn) return;
      leave();
      main.replaceChildren(page);
      let made;
      if (!kind) made = pbench.views.home(page, index);
      else if (kind === "board" && b === "model" && c) made = await pbench.views.perturbations(page, index, loaded, c, place);
      else if (kind === "board" && !b && loaded.kind === "identification") made = pbench.views.identification(page, index, loaded);
      else if (kind === "board" && !b) made = pbench.views.board(page, index, loaded);
      else if (kind === "model" && a && !b) made = pbench.views.model(page, index, a);
      else if (kind === "history" && !a) made = pbench.views.history(page, index);
      else if (kind === "about" && !a) made = pbench.views.about(page, index);
      else throw new Error(MISSING);
      if (mine !== turn) {
        if (made.leave) made.leave();
        return;
      }
      view = made;
      arrived(kind || "home", made.title);
    } catch (error) {
      if (mine === turn) failed(error);
    }
  }

  function leave() {
    if (view && view.leave) view.leave();
    view = null;
    pbench.clear();
    hideTip();
  }

  function arrived(kind, title) {
    document.title = `${title} · pbench`;
    const page = { board: "home", model: "home" }[kind] || kind;
    for (const a of document.querySelectorAll("nav [data-page]")) {
      if (a.dataset.page === page) a.setAttribute("aria-current", "page");
      else a.removeAttribute("aria-current");
    }
    if (!first) {
      scrollTo(0, 0);
      main.querySelector("h1")?.focus({ preventScroll: true });
    }
    first = false;
    document.documentElement.dataset.ready = location.hash || "#/";
  }
  let first = true;

  function failed(error) {
    leave();
    main.replaceChildren(el("div", { class: "wide" }, el("h1", { tabindex: "-1" }, "Nothing to show"), el("p", {}, error.message), el("p", {}, link("#/", "All boards"))));
    arrived("", "Nothing to show");
  }

  // One note for whatever says more when pointed at or reached by keyboard.
  const tip = document.getElementById("tip");
  let tipped = null;
  function showTip(target) {
    tipped = target;
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    const at = target.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
    tip.style.top = `${at.bottom + height + 10 > innerHeight ? Math.max(8, at.top - height - 6) : at.bottom + 6}px`;
  }
  function hideTip() {
    if (tipped) tipped.removeAttribute("aria-describedby");
    tipped = null;
    tip.hidden = true;
  }
  document.addEventListener("mouseover", (e) => {
    const target = e.target.closest("[data-tip]");
    if (target !== tipped) {
      hideTip();
      if (target) showTip(target);
    }
  });
  document.addEventListener("focusin", (e) => {
    const target = e.target.closest("[data-tip]");
    hideTip();
    if (target && target.matches(":focus-visible")) showTip(target);
  });
  document.addEventListener("focusout", hideTip);
  document.addEventListener("scroll", hideTip, true);
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") hideTip();
  });

  // The hash is the address of the page, so the skip link moves the focus itself.
  document.querySelector(".skip").addEventListener("click", (e) => {
    e.preventDefault();
    main.focus();
  });
  // A click beside a value opens it as well; where a cell has no page of its own, that of its row.
  document.addEventListener("click", (e) => {
    if (e.target.closest("a, button, input, label, select") || !getSelection().isCollapsed) return;
    const cell = e.target.closest(".board tbody td, .board tbody th, .conditions tbody td, .conditions tbody th");
    const target = cell?.querySelector("a") || cell?.parentElement.querySelector("a");
    if (target) target.click();
  });

  const index = pbench.get("index");
  document.getElementById("foot").append(el("p", {}, `pbench ${index ? index.pbench : ""} · BSD-3-Clause · made from the published records alone`), el("p", {}, link("#/about", "How to read and cite")));
  addEventListener("hashchange", show);
  show();
})();
