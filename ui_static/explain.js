// Why a task instance is in its state, and what it waits for. Follows GET /api/v2/leoflow/explain/<dag>/<run>/<task>,
// or of a run or DAG the same with less in its path.
// While it waits in the pool the buttons act on its wait.
"use strict";
import { el, follow, show } from "./page.js";
import { act } from "./waits.js";

const asked = new URLSearchParams(location.search);
const subject = Object.fromEntries(["dag_id", "run_id", "task_id", "map_index"].map((name) => [name, asked.get(name)]));
// the UI leaves its placeholder in place where a page has no such id
for (const [name, value] of Object.entries(subject)) {
  if (value === null || value === "" || value.startsWith("{")) delete subject[name];
}

const actions = document.getElementById("actions");
const done = document.getElementById("done");
let waitId = null;

function showAnswer(answer) {
  show(document.getElementById("answer"), el("ol", {}, ...answer.because.map((sentence) => el("li", {}, sentence))));
  const wait = answer.wait_id ?? null;
  if (wait !== waitId) done.textContent = "";
  waitId = wait;
  actions.hidden = waitId === null;
  document.getElementById("wait").href = `leoflow/pool#${waitId}`;
  document.getElementById("problem").textContent = "";
}

actions.addEventListener("click", async (event) => {
  const action = event.target.dataset.action;
  if (!action) return;
  try {
    done.textContent = await act(waitId, action);
  } catch (error) {
    done.textContent = error.message;
  }
});

document.getElementById("subject").textContent = Object.values(subject).join(" / ");

// a task instance, a run, or a DAG: whatever the page that we are a tab of is about
const named = ["dag_id", "run_id", "task_id"].filter((name) => subject[name] !== undefined);
const path = named.map((name) => encodeURIComponent(subject[name])).join("/");
const mapped = subject.map_index === undefined ? "" : `?map_index=${encodeURIComponent(subject.map_index)}`;
follow(
  `api/v2/leoflow/explain/${path}${mapped}`,
  showAnswer,
  (because) => { document.getElementById("problem").textContent = because; },
);
