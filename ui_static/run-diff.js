// Two runs of a DAG side by side. Reads GET /api/v2/leoflow/runDiff/<dag>/<run>?other=, and the DAG's latest runs to choose from.
"use strict";
import { el, getJson, moment, show, spanOf, table } from "./page.js";

const RUNS = 50; // to choose from
const asked = new URLSearchParams(location.search);
const dagId = asked.get("dag_id");
const runId = asked.get("run_id");
const other = document.getElementById("other");

const FACTS = [
  ["State", "state"], ["Version", "version_number"], ["Image", "image"], ["Type", "run_type"], ["Started by", "triggering_user_name"],
  ["Logical date", "logical_date", moment], ["Start", "start_date", moment], ["Waited to start", "waited_s", spanOf], ["Duration", "duration_s", spanOf],
];

const path = (text) => encodeURIComponent(text);
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? null));

/** Both sides in one cell, or once where they are the same. */
function both(was, now, mark = "warn") {
  if (was === now) return now;
  return el("span", { class: mark }, was || "–", el("span", { "aria-hidden": "true" }, " → "), el("span", { class: "unseen" }, " to "), now || "–");
}

function facts({ before, after }) {
  const rows = FACTS.flatMap(([label, name, told = String]) => {
    const [was, now] = [before[name], after[name]].map((value) => (value === null ? "" : told(value)));
    const differs = was !== now && told === String; // moments always do
    return was || now ? [[label, was, el("span", { class: differs ? "warn" : "" }, now)]] : [];
  });
  return table(["", before.dag_run_id, after.dag_run_id], rows, "The two runs");
}

function changes(title, found) {
  const rows = Object.entries(found).map(([name, [was, now]]) => [name, text(was), text(now)]);
  return rows.length ? [el("h2", {}, title), table(["", "was", "is"], rows, title)] : [];
}

function states(side) {
  if (side === null) return "";
  const found = Object.entries(side.states);
  return side.is_mapped ? found.map(([state, count]) => `${count} ${state}`).join(", ") : found[0][0];
}

function task(one) {
  const sides = [one.before, one.after];
  const logs = ["before", "after"].map((side) => one.logs?.[side] ?? null);
  const delta = one.duration_delta_s;
  return [
    one.task_id,
    both(...sides.map(states), one.change === "other" ? "" : "bad"),
    both(...sides.map((side) => (side === null ? "" : String(side.try_number)))),
    both(...sides.map((side) => spanOf(side?.duration_s ?? null)), ""),
    delta === null ? "" : el("span", { class: Math.abs(delta) < 1 ? "faint" : "warn" }, `${delta < 0 ? "−" : "+"}${spanOf(Math.abs(delta))}`),
    both(...logs.map((log) => (log === null ? "" : `${log.lines}${log.is_whole ? "" : "+"}`)), ""),
    both(...logs.map((log) => (log === null ? "" : String(log.error_lines))), "bad"),
  ];
}

function code(version) {
  if (version === null) return [el("p", {}, "Both runs are of one version.")];
  if (version.is_empty) return [el("p", {}, "The versions differ in nothing that a run sees.")];
  const lines = [
    ...version.tasks_added.map((id) => `+ task ${id}`),
    ...version.tasks_removed.map((id) => `- task ${id}`),
    ...version.edges_added.map(([up, down]) => `+ edge ${up} >> ${down}`),
    ...version.edges_removed.map(([up, down]) => `- edge ${up} >> ${down}`),
    ...Object.entries(version.tasks_changed).flatMap(([id, found]) => fields(`task ${id}`, found)),
    ...fields("dag", version.dag),
    ...fields("environment", version.environment),
    ...version.source,
  ];
  if (!lines.length) lines.push("another file of the project than the one of the DAG");
  const kind = (line) => ({ "+": "good", "-": "bad" })[line[0]] ?? "";
  return [el("pre", { class: "diff", tabindex: "0", "aria-label": "Differences of the code" }, ...lines.map((line) => el("span", { class: kind(line) }, `${line}\n`)))];
}

const fields = (what, found) => Object.entries(found).map(([name, [was, now]]) => `~ ${what}: ${name}: ${text(was)} -> ${text(now)}`);

async function refresh() {
  const problem = document.getElementById("problem");
  const answer = document.getElementById("answer");
  try {
    const query = other.value ? `?other=${path(other.value)}` : "";
    const found = await getJson(`api/v2/leoflow/runDiff/${path(dagId)}/${path(runId)}${query}`);
    show(document.getElementById("runs"), facts(found));
    show(document.getElementById("given"), ...changes("Params", found.params), ...changes("Configuration", found.conf));
    const heads = ["task", "state", "tries", "duration", "more or less", "log lines", "errors in it"];
    const left = found.tasks_left_out ? [el("p", { class: "faint" }, `${found.tasks_left_out} more tasks changed less.`)] : [];
    show(document.getElementById("tasks"), table(heads, found.tasks.map(task), "Tasks of both runs"), ...left);
    show(document.getElementById("code"), ...code(found.version));
    problem.textContent = document.getElementById("hint").textContent = "";
    answer.hidden = false;
  } catch (error) {
    problem.textContent = error.message;
    answer.hidden = true;
  }
}

/** Fills the choice. Is it worth asking the server for the newest successful run before this one? */
async function offer() {
  const { dag_runs: runs, total_entries: total } = await getJson(`api/v2/dags/${path(dagId)}/dagRuns?limit=${RUNS}&order_by=-run_after`);
  for (const run of runs) {
    if (run.dag_run_id !== runId) other.append(el("option", { value: run.dag_run_id }, `${run.dag_run_id} (${run.state})`));
  }
  const here = runs.findIndex((run) => run.dag_run_id === runId);
  return total > runs.length || runs.some((run, index) => index > here && run.state === "success");
}

async function begin() {
  // without the list there is still the answer
  if (await offer().catch(() => true)) return refresh();
  document.getElementById("hint").textContent = "No run succeeded before this one: choose one to compare it with.";
}

document.getElementById("subject").textContent = `${dagId} / ${runId}`;
other.addEventListener("change", refresh);
begin();
