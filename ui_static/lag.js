// How late the scheduler, the queue and the waits are. Follows /leoflow/api/lag. Also the card on the UI's home page, with `?card`.
"use strict";
import { ago, el, follow, moment, show, spanOf, table } from "./page.js";

const WARN_S = 5;
const BAD_S = 60;
const AGES_MS = 5000; // between two looks at the clock: nothing is asked for
const byId = (id) => document.getElementById(id);
const isCard = new URLSearchParams(location.search).has("card");
let lag = null;

/** A duration with the colour of how bad it is; "-" where nothing was measured. */
function span(seconds) {
  if (seconds === null) return "-";
  const colour = seconds >= BAD_S ? "bad" : seconds >= WARN_S ? "warn" : "good";
  return el("span", { class: colour }, seconds < 1 ? `${Math.round(seconds * 1000)} ms` : spanOf(seconds));
}

const words = (seconds) => (seconds === null ? "-" : seconds < 1 ? `${Math.round(seconds * 1000)} ms` : spanOf(seconds));
const since = (iso) => Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
const number = (value) => value.toLocaleString("en");

function tiles() {
  const oldest = lag.oldest_queued_at === null ? null : since(lag.oldest_queued_at);
  const found = [
    ["runs late, median", span(lag.runs_p50_s), lag.runs
      ? `95 % within ${words(lag.runs_p95_s)}, of ${number(lag.runs)}; the last one ${ago(lag.last_run_at)}` : "no scheduled run yet"],
    ["tasks begin after", span(lag.starts_p50_s), lag.starts
      ? `95 % within ${words(lag.starts_p95_s)}, of ${number(lag.starts)}` : "no task began yet"],
    ["queue", number(lag.queued), oldest === null ? `${number(lag.scheduled)} wait for a slot`
      : ["the oldest for ", span(oldest), `; ${number(lag.scheduled)} wait for a slot`]],
  ];
  if (lag.waits) {
    found.push(["waits armed", number(lag.waits.armed), [`${number(lag.waits.due)} are due; late by `, span(lag.waits.lateness_p50_s),
      `, p99 ${words(lag.waits.lateness_p99_s)}`]]);
  }
  return found.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "faint" }, ...[more].flat())));
}

function behind(dag) {
  const href = `dags/${encodeURIComponent(dag.dag_id)}`; // the UI's page, in the window around our frame
  const name = el("a", { href, target: "_top", "data-key": dag.dag_id }, dag.dag_display_name);
  return [name, el("time", { datetime: dag.due_at, title: dag.due_at }, moment(dag.due_at)), span(since(dag.due_at)), dag.because];
}

function draw() {
  if (lag === null) return;
  show(byId("numbers"), ...tiles());
  byId("behind-section").hidden = lag.behind.length === 0;
  byId("on-time").hidden = lag.behind.length > 0;
  if (lag.behind.length) show(byId("behind"), table(["DAG", "due", "late by", "because"], lag.behind.map(behind), "DAGs whose next run is due"));
}

document.body.classList.toggle("card", isCard);
document.body.classList.toggle("framed", window.parent !== window);
follow(
  "leoflow/api/lag",
  (answer) => {
    lag = answer;
    byId("problem").textContent = "";
    draw();
  },
  (because) => { byId("problem").textContent = because; },
);
setInterval(draw, AGES_MS);
