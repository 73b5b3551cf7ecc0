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

/**
 * Another page in the window around us. The UI keeps our pages in frames that may not lead it elsewhere; a link of its
 * own document may, and we are of one origin.
 */
function leave(address, isApart = false) {
  const link = window.top.document.createElement("a");
  link.href = address;
  if (isApart) link.target = "_blank";
  link.click();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[target=_top]");
  if (!link || window.top === window) return;
  event.preventDefault();
  leave(link.href, event.ctrlKey || event.metaKey);
});

async function call(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    const here = window.top.location;
    leave(new URL(`api/v2/auth/login?next=${encodeURIComponent(here.pathname + here.search)}`, document.baseURI));
  }
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    const detail = said(body.detail) || `${answer.status} ${answer.statusText}`;
    throw Object.assign(new Error(detail), { status: answer.status, body });
  }
  return answer.json();
}

/** What the API says is wrong: one sentence, or a list of faults with their places. */
function said(detail) {
  if (Array.isArray(detail)) return detail.map((fault) => `${fault.loc?.at(-1) ?? "request"}: ${fault.msg}`).join("; ");
  return typeof detail === "string" ? detail : "";
}

const AGAIN_S = 5;

/**
 * Follow the JSON of a GET below the base path: `answered` gets it now and each time that it has changed, `troubled` a
 * sentence when it cannot be had. Nothing is open while the page is out of sight: a browser has few connections to give.
 * Answers the function that ends it.
 */
export function follow(path, answered, troubled) {
  let events;
  let timer;
  let isOver = false;

  function begin() {
    clearTimeout(timer);
    events?.close();
    if (isOver || document.hidden) return;
    const source = new EventSource(path);
    events = source;
    source.addEventListener("message", (event) => answered(JSON.parse(event.data)));
    source.addEventListener("problem", (event) => troubled(said(JSON.parse(event.data).detail)));
    source.addEventListener("error", () => {
      if (source !== events) return;
      if (source.readyState === EventSource.CLOSED) ask();
      else troubled("The server does not answer; it is asked again."); // by the browser, by itself
    });
  }

  /** A refusal: which one? A lost login leads to the login page. */
  async function ask() {
    await getJson(path).then((answer) => isOver || answered(answer), (error) => isOver || troubled(error.message));
    clearTimeout(timer);
    timer = setTimeout(begin, AGAIN_S * 1000);
  }

  document.addEventListener("visibilitychange", begin);
  begin();
  return () => {
    isOver = true;
    document.removeEventListener("visibilitychange", begin);
    begin();
  };
}

const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };

/** The zone that is chosen in the Airflow UI around us; undefined: the browser's. */
export function chosenZone() {
  try {
    const timeZone = JSON.parse(localStorage.getItem("timezone")) ?? undefined;
    new Intl.DateTimeFormat("en-GB", { timeZone });
    return timeZone;
  } catch {
    return undefined; // a zone that this browser does not know, or no storage
  }
}

/** "14:05:09" in the chosen zone. */
export function clock(at) {
  return at.toLocaleTimeString("en-GB", { ...TIME, timeZone: chosenZone() });
}

/** "2026-03-29 14:05:09" in the chosen zone, for an ISO time. */
export function moment(iso) {
  const at = new Date(iso);
  return `${at.toLocaleDateString("sv-SE", { ...DAY, timeZone: chosenZone() })} ${clock(at)}`;
}

/** "1.5 s", "3 min 05 s", "2 h 07 min" for seconds; nothing for null. */
export function spanOf(seconds) {
  if (seconds === null) return "";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [minutes, rest] = [Math.floor(Math.round(seconds) / 60), Math.round(seconds) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60 ? `${minutes} min ${two(rest)} s` : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** A table of rows of texts or elements; the first cell of a row is its head. */
export function table(heads, rows, caption) {
  const cells = ([first, ...rest]) => [el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell))];
  return el(
    "table",
    {},
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, ...heads.map((head) => (head ? el("th", { scope: "col" }, head) : el("td"))))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row)))),
  );
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
