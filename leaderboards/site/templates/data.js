// The data files are scripts that call pbench.put: fetch() reads nothing from file://.
"use strict";
window.pbench = (() => {
  const store = new Map();
  const waiting = new Map();
  const SLUG = /^[a-z0-9][a-z0-9.-]*$/i;

  function script(src) {
    return new Promise((resolve, reject) => {
      const tag = document.createElement("script");
      tag.src = src;
      tag.onload = resolve;
      tag.onerror = () => reject(new Error(`The file ${src} is not there, or does not load.`));
      document.head.append(tag);
    });
  }

  function once(key, make) {
    if (!waiting.has(key)) {
      const made = make();
      waiting.set(key, made);
      // What failed may be tried again.
      made.catch(() => waiting.delete(key));
    }
    return waiting.get(key);
  }

  return {
    put: (key, value) => store.set(key, value),
    has: (key) => store.has(key),
    get: (key) => store.get(key),
    // Names come out of the address: only what can be a slug becomes part of a path.
    load(...parts) {
      const key = parts.join("/");
      if (store.has(key)) return Promise.resolve(store.get(key));
      if (!parts.every((part) => SLUG.test(part))) return Promise.reject(new Error(`There is no page with the address ${key}.`));
      return once(key, () =>
        script(`data/${key}.js`).then(() => {
          if (!store.has(key)) throw new Error(`The file data/${key}.js holds something else.`);
          return store.get(key);
        }),
      );
    },
    plotly: () => once("plotly", () => script("assets/plotly.js").then(() => window.Plotly)),
    views: {},
  };
})();
