// The pool, live: its numbers, who waits for what, one wait with its actions. Follows /leoflow/api/overview.
"use strict";
import { ago, clock, el, follow, show, until } from "./page.js";
import { act, setPokeInterval } from "./waits.js";

const byId = (id) => document.getElementById(id);
const ONLY = ["dag_id", "run_id", "task_id"];
const SETTLES_MS = 200; // a filter that is being typed
const asked = new URLSearchParams(location.search);
let page = ""; // cursor of the page that is shown; empty = the first
let before = null; // statistics of the last round, for rates

// --- numbers ------------------------------------------------------------------------------------------------------

const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const milliseconds = (seconds) => (seconds === null ? "-" : `${number(seconds * 1000, 1)} ms`);

/** Events per second since the last round; before the second one, nobody knows. */
function rate(pool, name) {
  const seconds = before === null ? 0 : (Date.parse(pool.at) - Date.parse(before.at)) / 1000;
  return seconds <= 0 ? "-" : number(Math.max(0, pool[name] - before[name]) / seconds, 1);
}

/** All waits fall into so many shards (core/pool_shards.py); each daemon shows the numbers of its own. */
const SHARDS = 64;

function showNumbers(pool) {
  const waits = Object.values(pool.waits).reduce((sum, count) => sum + count, 0);
  const served = pool.probes_made + pool.probes_saved;
  const tiles = [
    ["waits", number(waits), `${number(pool.groups)} distinct probes${pool.shards < SHARDS ? `, ${pool.shards} of ${SHARDS} shards` : ""}`],
    ["probes per second", rate(pool, "probes_made"), `${number(pool.probes_in_flight)} run, ${number(pool.ready_groups)} are due`],
    ["waits per probe", pool.probes_made ? number(served / pool.probes_made, 1) : "-", `${number(pool.probes_saved)} probes saved`],
    ["lateness, median", milliseconds(pool.lateness_p50_s), `p99 ${milliseconds(pool.lateness_p99_s)}`],
    ["fired", number(pool.ended_fired), `${number(pool.ended_failed)} failed, ${number(pool.ended_timed_out)} timed out`],
    ["loop stalls", number(pool.stalls), `longest ${milliseconds(pool.longest_stall_s)}`],
  ];
  show(byId("numbers"), ...tiles.map(([name, value, more]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "faint" }, more))));
  showKinds(pool.waits, waits);
  show(byId("targets"), ...orNothing(pool.targets.map(target), 6, "No target was probed yet."));
  byId("quarantine").hidden = pool.quarantined.length === 0;
  show(byId("quarantined"), ...pool.quarantined.map((group) => row(
    group.kind, number(group.waits), group.reason, group.next_probe_at ? until(group.next_probe_at) : "-")));
  before = pool;
}

function showKinds(waits, all) {
  const kinds = Object.entries(waits).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  show(byId("kinds"), ...orNothing(kinds.map(([kind, count]) => el("tr", {},
    el("th", { scope: "row" }, kind),
    el("td", {}, el("progress", { max: all, value: count, "aria-label": `${kind}: ${count} of ${all}` })),
    el("td", { class: "number" }, number(count)))), 3, "Nothing waits."));
  const select = byId("filters").elements.kind;
  for (const [kind] of kinds) {
    if (![...select.options].some((option) => option.value === kind)) select.append(el("option", { value: kind }, kind));
  }
}

function target(found) {
  const isBlocked = found.breaker !== "closed" || found.throttled_until;
  const state = found.throttled_until ? `asked for patience, ${until(found.throttled_until)}`
    : found.breaker === "open" && found.retry_at ? `open, tries ${until(found.retry_at)}` : found.breaker.replace("_", " ");
  const name = found.connection_id ? `${found.target} (${found.connection_id})` : found.target;
  return row(name, el("span", { class: isBlocked ? "bad" : "good" }, state), number(found.in_flight),
    number(found.waiting_groups), number(found.tokens, 1), milliseconds(found.latency_mean_s));
}

function showWatchers(watchers) {
  byId("watching").hidden = watchers.length === 0;
  show(byId("watchers"), ...watchers.map((one) => row(
    one.asset_name, one.name, one.dag_id, one.trigger.split(".").at(-1),
    el("span", { class: one.error ? "bad" : one.is_active && one.is_awaited ? "" : "warn", title: one.trigger }, one.because))));
}

const row = (...cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)));
const orNothing = (rows, columns, text) =>
  rows.length ? rows : [el("tr", {}, el("td", { colspan: columns, class: "faint" }, text))];

// --- the list -----------------------------------------------------------------------------------------------------

function query() {
  const wanted = new URLSearchParams({ limit: "25", cursor: page });
  for (const [name, value] of new FormData(byId("filters"))) if (value) wanted.set(name, value);
  for (const name of ONLY) if (asked.get(name)) wanted.set(name, asked.get(name));
  if (chosen()) wanted.set("wait_id", chosen());
  return wanted;
}

function showWaits(answer) {
  show(byId("waits"), ...orNothing(answer.waits.map(waiting), 6, "Nothing waits here."));
  for (const [id, cursor] of [["previous", answer.previous_cursor], ["next", answer.next_cursor]]) {
    byId(id).disabled = cursor === null;
    byId(id).dataset.cursor = cursor ?? "";
  }
}

function waiting(wait) {
  const href = `leoflow/pool${location.search}#${wait.id}`; // with <base>, a bare #id would leave the page
  const name = el("a", { href, "data-key": wait.id }, `${wait.dag_id} / ${taskName(wait)}`);
  const blocked = wait.blocked_by ?? (wait.is_paused ? "its DAG is paused" : wait.is_elsewhere ? "watched by another daemon" : wait.is_watched ? null : "not watched yet");
  const looks = wait.due_at ?? wait.next_probe_at;
  const cells = [
    el("div", {}, name, el("div", { class: "faint" }, wait.dag_run_id)),
    wait.waits_for,
    wait.last_observation ?? "-",
    el("time", { datetime: wait.registered_at, title: wait.registered_at }, ago(wait.registered_at)),
    blocked ? el("span", { class: "warn" }, blocked) : looks ? until(looks) : "-",
    wait.deadline_at ? until(wait.deadline_at) : "never",
  ];
  return el("tr", wait.id === chosen() ? { "aria-current": "true" } : {}, ...cells.map((cell) => el("td", {}, cell)));
}

const taskName = (wait) => (wait.map_index < 0 ? wait.task_id : `${wait.task_id} [${wait.map_index}]`);

// --- one wait -----------------------------------------------------------------------------------------------------

const chosen = () => decodeURIComponent(location.hash.slice(1));

function showPanel(wait) {
  byId("panel-problem").textContent = wait.detail ?? "";
  if (wait.detail !== undefined) {
    byId("actions").hidden = true;
    return;
  }
  byId("panel-title").textContent = `${wait.dag_id} / ${wait.dag_run_id} / ${taskName(wait)}`;
  byId("actions").hidden = !wait.is_watched;
  show(byId("because"), ...wait.because.map((sentence) => el("li", {}, sentence)));
  const probes = wait.explanation?.probes ?? [];
  show(byId("probes"), ...orNothing(probes.toReversed().map((probe) => row(
    el("time", { datetime: probe.at, title: probe.at }, ago(probe.at)), milliseconds(probe.duration_s),
    el("span", probe.is_error ? { class: "bad" } : {}, probe.summary))), 3, "None is remembered."));
  byId("stored").textContent = JSON.stringify({ probe: wait.probe, terms: wait.terms }, null, 2);
  const seconds = byId("cadence").elements.poke_interval_s;
  if (document.activeElement !== seconds && !seconds.dataset.edited) seconds.value = wait.poke_interval_s;
}

async function carryOut(work) {
  byId("done").textContent = "";
  try {
    byId("done").textContent = await work;
  } catch (error) {
    byId("panel-problem").textContent = error.message;
  }
}

byId("actions").addEventListener("click", (event) => {
  if (event.target.dataset.action) carryOut(act(chosen(), event.target.dataset.action));
});
byId("cadence").addEventListener("submit", (event) => {
  event.preventDefault();
  const seconds = byId("cadence").elements.poke_interval_s;
  delete seconds.dataset.edited;
  carryOut(setPokeInterval(chosen(), seconds.valueAsNumber));
});
byId("cadence").addEventListener("input", (event) => { event.target.dataset.edited = "yes"; });
byId("close").addEventListener("click", () => {
  const id = chosen();
  location.hash = "";
  document.querySelector(`[data-key="${CSS.escape(id)}"]`)?.focus();
});
window.addEventListener("hashchange", () => {
  byId("done").textContent = "";
  delete byId("cadence").elements.poke_interval_s.dataset.edited;
  begin();
  if (chosen()) byId("panel").focus(); // now: behind the answer it would take the focus from whoever has moved on
});

// --- what is followed ---------------------------------------------------------------------------------------------

let end = () => {};
let settling;

function begin() {
  clearTimeout(settling);
  end();
  byId("panel").hidden = chosen() === "";
  end = follow(`leoflow/api/overview?${query()}`, showAll, (because) => { byId("problem").textContent = because; });
}

function showAll({ pool, waits, watchers, wait }) {
  byId("problem").textContent = pool.detail ?? waits.detail ?? watchers.detail ?? "";
  if (pool.detail === undefined) showNumbers(pool);
  if (waits.detail === undefined) showWaits(waits);
  if (watchers.detail === undefined) showWatchers(watchers.watchers);
  if (wait !== undefined) showPanel(wait);
  byId("updated").textContent = `Updated ${clock(new Date())}.`;
}

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", () => {
  page = "";
  clearTimeout(settling);
  settling = setTimeout(begin, SETTLES_MS);
});
for (const id of ["previous", "next"]) {
  byId(id).addEventListener("click", () => { page = byId(id).dataset.cursor; begin(); });
}
begin();
