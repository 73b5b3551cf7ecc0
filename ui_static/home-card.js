// The card on the home page of the Airflow UI: our page of the schedule's lag, in a frame. The UI loads this as a plugin's React app and
// calls what stands on the window under the plugin's name (api/own/plugins.py).
"use strict";

/** The frame is as high as what it holds. */
function fit(frame) {
  frame?.addEventListener("load", () => {
    const { body } = frame.contentDocument;
    new ResizeObserver(() => { frame.style.height = `${body.offsetHeight}px`; }).observe(body);
  });
}

globalThis.LeoflowHomeCard = function LeoflowHomeCard() {
  const base = document.querySelector("head > base")?.getAttribute("href") ?? "/";
  const style = { border: 0, width: "100%", height: "10rem" };
  return globalThis.React.createElement("iframe", { src: `${base}leoflow/lag?card`, title: "Schedule lag", ref: fit, style });
};
