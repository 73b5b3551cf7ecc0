// The daemon's components: state, restarts, statistics. Follows GET /api/v2/leoflow/tree.
"use strict";
import { ago, clock, el, follow } from "./page.js";

const STATES = {
  running: ["good", "●"],
  starting: ["busy", "◐"],
  waiting: ["warn", "◌"],
  stopped: ["faint", "○"],
  failed: ["bad", "✖"],
};

function node(component) {
  const [colour, sign] = STATES[component.state] ?? ["faint", "?"];
  const head = el(
    "div",
    { class: "node-head" },
    el("span", { class: "node-name" }, component.name),
    el("span", { class: colour }, el("span", { "aria-hidden": "true" }, `${sign} `), component.state),
    component.restarts ? el("span", { class: "warn" }, `${component.restarts} restarts`) : null,
    component.since ? el("span", { class: "faint", title: component.since }, ago(component.since)) : null,
    el("span", { class: "faint" }, `on failure: ${component.policy}`),
  );
  const error = component.last_error ? el("p", { class: "error-text bad" }, component.last_error) : null;
  const children = component.children ?? [];
  return el(
    "li",
    {},
    el("div", { class: "node" }, head, ...facts(component.statistics), error),
    children.length ? el("ul", {}, ...children.map(node)) : null,
  );
}

/** Statistics are a record, or a list of records with names: one line each. Nested records become `outer · inner`. */
function facts(statistics) {
  const records = Array.isArray(statistics) ? statistics : [statistics];
  const lines = records.map((record) => [record?.name, flatten(record, "")]).filter(([, rows]) => rows.length > 0);
  return lines.map(([title, rows]) =>
    el(
      "dl",
      { class: "facts" },
      title ? el("div", {}, el("dt", { class: "title" }, title)) : null,
      ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
  );
}

function flatten(value, prefix) {
  if (value === null || value === undefined) return [];
  if (typeof value === "object") {
    return Object.entries(value)
      .filter(([key]) => prefix || key !== "name")
      .flatMap(([key, inner]) => flatten(inner, prefix ? `${prefix} · ${key}` : key));
  }
  return [[(prefix || "value").replaceAll("_", " "), typeof value === "number" ? value.toLocaleString("en") : String(value)]];
}

const problem = document.getElementById("problem");

follow(
  "api/v2/leoflow/tree",
  (answer) => {
    const roots = Array.isArray(answer) ? answer : [answer.tree ?? answer];
    document.getElementById("tree").replaceChildren(...roots.map(node));
    document.getElementById("updated").textContent = `Updated ${clock(new Date())}.`;
    problem.textContent = "";
  },
  (because) => { problem.textContent = `The daemon does not tell: ${because}`; },
);
