// Light or dark: what the reader chose, else what the system asks for. Runs before the first paint.
"use strict";
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  // Storage may be forbidden; then the choice holds until the page is left.
  const remembered = () => {
    try {
      return localStorage.getItem("pbench-theme");
    } catch {
      return null;
    }
  };
  let chosen = remembered();

  function apply() {
    const dark = chosen ? chosen === "dark" : system.matches;
    root.dataset.theme = dark ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-pressed", String(dark));
      button.setAttribute("aria-label", "Dark theme");
      button.textContent = dark ? "Light" : "Dark";
    }
    document.dispatchEvent(new CustomEvent("theme"));
  }

  apply();
  system.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("pbench-theme", chosen);
      } catch {
        // The choice is kept for this visit.
      }
      apply();
    });
  });
})();
