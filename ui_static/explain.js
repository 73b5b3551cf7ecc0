// Why a task instance is in its state, and what it waits for. Reads GET /api/v2/leoflow/explain/<dag>/<run>/<task>.
// While it waits in the pool the buttons act on its wait.
"use strict";
import { el, getJson, repeat, show } from "./page.js";
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

async function refresh() {
  const problem = document.getElementById("problem");
  try {
    const path = ["dag_id", "run_id", "task_id"].map((name) => encodeURIComponent(subject[name] ?? "")).join("/");
    const mapped = subject.map_index === undefined ? "" : `?map_index=${encodeURIComponent(subject.map_index)}`;
    const answer = await getJson(`api/v2/leoflow/explain/${path}${mapped}`);
    show(document.getElementById("answer"), el("ol", {}, ...answer.because.map((sentence) => el("li", {}, sentence))));
    if (answer.wait_id !== waitId) done.textContent = "";
    waitId = answer.wait_id;
    actions.hidden = waitId === null;
    document.getElementById("wait").href = `leoflow/pool#${waitId}`;
    problem.textContent = "";
  } catch (error) {
    problem.textContent = error.message;
  }
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
repeat(refresh, 3);
