// The pages of the API: Scalar with our document. Everything that would ask another server is off.
"use strict";
import { el } from "./page.js";

const at = (path) => new URL(path, document.baseURI).href;

// What axe finds in Scalar's own look: too little contrast, and a line that only a mouse can scroll.
const READABLE = `
  body { margin: 0; }
  .sidebar-search-placeholder { color: var(--scalar-color-1); }
  span.overflow-x-auto { overflow: hidden !important; }
  .light-mode { --scalar-color-3: #5c5c5c; --scalar-color-green: #0a6b2d; --scalar-color-blue: #0b5cad; --scalar-color-red: #b3261e; --scalar-color-orange: #8a5a00; --scalar-color-yellow: #705200; --scalar-color-purple: #5b4bb0; }
  .dark-mode { --scalar-color-3: #a4a4a4; --scalar-color-red: #ff9b92; }
`;

function loadScalar() {
  return new Promise((resolve, reject) => {
    const script = el("script", { src: at("leoflow/packages/scalar/standalone.js") });
    script.addEventListener("load", resolve);
    script.addEventListener("error", reject);
    document.head.append(script);
  });
}

if (document.body.dataset.hasScalar === "yes") {
  await loadScalar();
  const scheme = getComputedStyle(document.documentElement).colorScheme;
  document.getElementById("without").remove();
  document.getElementById("style").remove(); // its names are Scalar's too
  window.Scalar.createApiReference("#reference", {
    url: at("openapi.json"),
    baseServerURL: location.origin,
    agent: { disabled: true },
    mcp: { disabled: true },
    telemetry: false,
    proxyUrl: "",
    withDefaultFonts: false,
    hideClientButton: true,
    showDeveloperTools: "never",
    hideDarkModeToggle: true,
    forceDarkModeState: scheme,
    operationTitleSource: "path",
    customCss: READABLE,
  });
} else {
  document.getElementById("why").hidden = false;
}
