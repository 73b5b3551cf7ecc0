// Light or dark as the Airflow UI around us (we are in its iframe), or as it was last chosen there, or as the system is.
"use strict";
(() => {
  const root = document.documentElement;

  function frame() {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null; // shown inside another site's page: its document is not ours to read
    }
  }

  function apply() {
    const outer = frame();
    let chosen = outer && ["dark", "light"].find((name) => outer.classList.contains(name));
    if (!chosen) {
      const stored = localStorage.getItem("theme");
      chosen = stored === "dark" || stored === "light" ? stored : "";
    }
    root.classList.toggle("dark", chosen === "dark");
    root.classList.toggle("light", chosen === "light");
  }

  apply();
  const outer = frame();
  if (outer) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  }
})();
