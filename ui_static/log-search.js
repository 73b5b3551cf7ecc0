// A text in the logs of many runs, shown as it is found. Asks GET /leoflow/api/logSearch again and again.
"use strict";
import { el, getJson, moment, show } from "./page.js";

const AT_ONCE = 50; // tries, until somebody asks for more
const byId = (id) => document.getElementById(id);
const form = byId("asked");
const number = (value) => value.toLocaleString("en");
let search = null;

/** The page of the try in the UI, in the window around our frame. */
function address(one) {
  const [dag, run, task] = [one.dag_id, one.dag_run_id, one.task_id].map(encodeURIComponent);
  const mapped = one.map_index >= 0 ? `/mapped/${one.map_index}` : "";
  return `dags/${dag}/runs/${run}/tasks/${task}${mapped}?try_number=${one.try_number}`;
}

/** A text with the places marked that were looked for. */
function marked(text, wanted) {
  const parts = [];
  const [plain, sought] = [text.toLowerCase(), wanted.toLowerCase()];
  let at = 0;
  for (let found = plain.indexOf(sought); found >= 0; found = plain.indexOf(sought, at)) {
    parts.push(text.slice(at, found), el("mark", {}, text.slice(found, found + sought.length)));
    at = found + sought.length;
  }
  return [...parts, text.slice(at)];
}

function lineOf(line, wanted) {
  const level = ["error", "critical"].includes(line.level) ? "bad" : line.level === "warning" ? "warn" : null;
  const at = line.timestamp ? el("time", { datetime: line.timestamp, class: "faint" }, moment(line.timestamp), " ") : null;
  return el("li", { class: level }, at, ...marked(line.text, wanted));
}

function tryOf(one, wanted) {
  const name = one.map_index >= 0 ? `${one.task_id}[${one.map_index}]` : one.task_id;
  const link = el("a", { href: address(one), target: "_top" }, `${one.dag_id} · ${name}`);
  const more = one.has_more ? el("li", { class: "faint" }, "more in its log") : null;
  return el(
    "li",
    {},
    el("p", { class: "node-head" }, link, el("span", {}, `try ${one.try_number}, ${one.state ?? "none"}`), el("span", { class: "faint" }, one.dag_run_id)),
    el("ul", { class: "log" }, ...one.lines.map((line) => lineOf(line, wanted)), more),
  );
}

function tell(end) {
  const back = search.reached ? `, back to ${moment(search.reached.run_after)}` : "";
  const found = search.found === 1 ? "1 try has it" : `${number(search.found)} tries have it`;
  byId("told").textContent = `${end} ${found}; looked at ${number(search.tries)} tries${back}.`;
}

/** Until there are enough, everything was looked at, or somebody stops it or begins another one. */
async function goOn(mine) {
  const enough = mine.found + AT_ONCE;
  byId("stop").hidden = false;
  byId("more").hidden = true;
  tell("Searching:");
  while (search === mine && !mine.isStopped && mine.found < enough) {
    const query = new URLSearchParams(mine.query);
    query.set("limit", enough - mine.found);
    if (mine.cursor) query.set("cursor", mine.cursor);
    const answer = await getJson(`leoflow/api/logSearch?${query}`);
    if (search !== mine) return;
    mine.tries += answer.looked_at.tries;
    mine.found += answer.tries.length;
    mine.reached = answer.reached ?? mine.reached;
    mine.cursor = answer.cursor;
    byId("found").append(...answer.tries.map((one) => tryOf(one, query.get("text"))));
    tell("Searching:");
    if (!answer.cursor) break;
  }
  if (search !== mine) return;
  byId("stop").hidden = true;
  byId("more").hidden = !mine.cursor;
  tell(mine.cursor ? "There may be more:" : "Everything was looked at:");
}

function run(mine) {
  byId("problem").textContent = "";
  goOn(mine).catch((error) => {
    if (search !== mine) return;
    byId("stop").hidden = true;
    byId("more").hidden = !mine.cursor;
    byId("problem").textContent = error.message;
  });
}

function begin() {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  history.replaceState(null, "", `${location.pathname}?${query}`); // can be kept and passed on
  search = { query, found: 0, tries: 0, cursor: null, reached: null, isStopped: false };
  show(byId("found"));
  run(search);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
byId("stop").addEventListener("click", () => { search.isStopped = true; });
byId("more").addEventListener("click", () => {
  search.isStopped = false;
  run(search);
});
for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;
if (form.elements.text.value) begin();
