// What our pages share: elements without markup strings, and JSON from the API with the login that the UI has.
"use strict";

/** el("p", {class: "faint"}, "text", child): text is always text, never markup. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** JSON of a GET below the base path. A lost login sends the whole window to the login page. */
export async function getJson(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (answer.status === 401) {
    const here = window.top.location;
    here.assign(new URL(`api/v2/auth/login?next=${encodeURIComponent(here.pathname + here.search)}`, document.baseURI));
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Error(typeof body.detail === "string" ? body.detail : `${answer.status} ${answer.statusText}`);
  }
  return answer.json();
}

/** Call `work` now and `seconds` after each end of it, while the page is visible. */
export function repeat(work, seconds) {
  let timer;
  async function round() {
    clearTimeout(timer);
    if (!document.hidden) await work();
    timer = setTimeout(round, seconds * 1000);
  }
  document.addEventListener("visibilitychange", () => document.hidden || round());
  round();
}

/** "3 min ago" for an ISO time. */
export function ago(iso) {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}
