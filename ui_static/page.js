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
export function getJson(path) {
  return call(path, { headers: { Accept: "application/json" } });
}

/** The same for a write; `body` is sent as JSON. */
export function sendJson(method, path, body) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return call(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function call(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    const here = window.top.location;
    here.assign(new URL(`api/v2/auth/login?next=${encodeURIComponent(here.pathname + here.search)}`, document.baseURI));
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    const detail = Array.isArray(body.detail) ? body.detail.map((one) => one.msg).join("; ") : body.detail;
    throw Object.assign(new Error(detail || `${answer.status} ${answer.statusText}`), { status: answer.status, body });
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

/** "14:05:09" in the zone that is chosen in the Airflow UI around us, or else the browser's. */
export function clock(moment) {
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  try {
    return moment.toLocaleTimeString("en-GB", { ...options, timeZone: JSON.parse(localStorage.getItem("timezone")) ?? undefined });
  } catch {
    return moment.toLocaleTimeString("en-GB", options); // a zone that this browser does not know, or no storage
  }
}

/** "3 min ago" for an ISO time. */
export function ago(iso) {
  return `${span((Date.now() - Date.parse(iso)) / 1000)} ago`;
}

/** "in 3 min" for an ISO time to come, "now" for one that has come. */
export function until(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  return seconds < 1 ? "now" : `in ${span(seconds)}`;
}

function span(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(Math.max(0, seconds) / size)} ${unit}`;
}

/** Replace what an element holds; the focus stays on the child with the same `data-key`. */
export function show(element, ...children) {
  const held = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children);
  if (held !== undefined) element.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
}
