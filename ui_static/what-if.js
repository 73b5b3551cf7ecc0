// The next days of all schedules, as they are and with one changed. Reads GET /leoflow/api/forecast.
"use strict";
import { chosenZone, el, getJson, moment, show, spanOf, table } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const NAMES = 240; // of that, for names at the left
const ROW = 22;
const HEIGHT = 120;
const form = document.getElementById("asked");

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const title = (text) => svg("title", {}, text);
const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });

/** Where things stand on the time line of a forecast. */
function scale(forecast, left) {
  const begin = Date.parse(forecast.begin);
  const buckets = Math.round((Date.parse(forecast.end) - begin) / 1000 / forecast.bucket_s);
  const step = (WIDTH - left) / buckets;
  const at = (bucket) => new Date(begin + bucket * forecast.bucket_s * 1000);
  return { buckets, step, at, x: (bucket) => left + bucket * step };
}

/** The beginnings of days in the chosen zone, as lines with their dates. */
function days(line, height) {
  const day = (at) => at.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: chosenZone() });
  const marks = [];
  for (let bucket = 1; bucket < line.buckets; bucket++) {
    if (day(line.at(bucket)) === day(line.at(bucket - 1))) continue;
    const x = line.x(bucket);
    marks.push(svg("line", { class: "day", x1: x, x2: x, y1: 0, y2: height }), svg("text", { x: x + 3, y: height - 4 }, day(line.at(bucket))));
  }
  return marks;
}

function picture(height, label, ...children) {
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...children);
}

function timeLine(forecast) {
  const line = scale(forecast, NAMES);
  const rows = forecast.dags.filter((dag) => dag.runs_count > 0);
  const height = rows.length * ROW + 20;
  const drawn = rows.flatMap((dag, index) => {
    const y = index * ROW;
    const most = Math.max(...dag.runs.map(([, count]) => count));
    const cells = dag.runs.map(([bucket, count]) =>
      svg(
        "rect",
        { class: "run", x: line.x(bucket), y: y + 4, width: Math.max(2, line.step - 1), height: ROW - 8, opacity: 0.45 + (0.55 * count) / most },
        title(`${dag.dag_id}: ${count} at ${moment(line.at(bucket).toISOString())}`),
      ),
    );
    return [svg("text", { x: 0, y: y + ROW - 7 }, title(dag.dag_id), short(dag.dag_id, 34)), ...cells];
  });
  return picture(height, `When ${rows.length} DAGs run; the table below has the numbers`, ...days(line, height), ...drawn);
}

/** A series as steps; `before`, the same as it is now, as a dashed line; `limit` as a line across, if it is near. */
function steps(forecast, label, series, before, limit) {
  const line = scale(forecast, 40);
  const most = Math.max(...series, ...(before ?? [])) || 1;
  const isNear = limit !== null && limit <= 2 * most;
  const top = isNear ? Math.max(most, limit) : most;
  const y = (value) => 8 + (HEIGHT - 28) * (1 - value / top);
  const outline = (values) => values.map((value, bucket) => `${bucket ? "L" : "M"}${line.x(bucket)} ${y(value)}H${line.x(bucket + 1)}`).join("");
  const drawn = [
    svg("path", { class: "area", d: `${outline(series)}V${y(0)}H${line.x(0)}Z` }),
    svg("path", { class: "series", d: outline(series) }),
  ];
  if (before) drawn.push(svg("path", { class: "before", d: outline(before) }, title("as it is now")));
  if (isNear) {
    drawn.push(svg("line", { class: "limit", x1: line.x(0), x2: WIDTH, y1: y(limit), y2: y(limit) }, title(`${limit} slots`)));
  }
  return picture(HEIGHT, label, ...days(line, HEIGHT), svg("text", { x: 0, y: y(top) + 8 }, number(top)), svg("text", { x: 0, y: y(0) }, "0"), ...drawn);
}

function runsTable(forecast, asIs) {
  const was = new Map(asIs.dags.map((dag) => [dag.dag_id, dag.runs_count]));
  const count = (dag) => {
    const before = was.get(dag.dag_id) ?? 0;
    return before === dag.runs_count ? String(dag.runs_count) : el("strong", {}, `${dag.runs_count} instead of ${before}`);
  };
  const rows = forecast.dags.map((dag) => [
    el("a", { href: `dags/${encodeURIComponent(dag.dag_id)}`, target: "_top" }, dag.dag_id),
    dag.summary ?? "",
    count(dag),
    spanOf(dag.run_s),
    dag.notes.join("; "),
  ]);
  return table(["DAG", "schedule", "runs", "a run takes", ""], rows, "Runs of each DAG");
}

function pool(one, forecast, asIs) {
  const before = asIs === forecast ? null : (asIs.pools.find((other) => other.name === one.name)?.series ?? one.series.map(() => 0));
  const limit = one.slots < 0 ? null : one.slots;
  const peak = one.peak_at === null ? "" : `, at ${moment(one.peak_at)}`;
  const over = one.over_s > 0 ? el("span", { class: "bad" }, ` More than it has for ${spanOf(one.over_s)}: tasks wait.`) : "";
  const told = `at most ${one.peak} of ${limit ?? "any number of"} slots${peak}.`;
  return el("section", {}, el("h3", {}, one.name), el("p", {}, told, over), steps(forecast, `Pool ${one.name}: ${told}`, one.series, before, limit));
}

function polls(forecast, asIs) {
  const { peak_per_s: peak, peak_at: at, series } = forecast.polls;
  const before = asIs === forecast ? null : asIs.polls.series;
  if (!peak && !(before && asIs.polls.peak_per_s)) return [el("p", {}, "No wait of these runs polls.")];
  const told = `at most ${number(peak)} a second${at === null ? "" : `, at ${moment(at)}`}; waits that ask the same question are asked once.`;
  return [el("p", {}, told), steps(forecast, `Polls: ${told}`, series, before, null)];
}

function query() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value.trim()) found.set(name, value.trim());
  return found;
}

async function refresh() {
  const asked = query();
  const problem = document.getElementById("problem");
  const answer = document.getElementById("answer");
  try {
    const { as_is: asIs, changed, dags_left_out: isCut } = await getJson(`leoflow/api/forecast?${asked}`);
    const forecast = changed ?? asIs;
    const runs = forecast.dags.reduce((sum, dag) => sum + dag.runs_count, 0);
    document.getElementById("told").textContent =
      `Runs: ${runs}, DAGs: ${forecast.dags.length}, until ${moment(forecast.end)}` + (changed ? `, if ${asked.get("changed")} were changed; dashed: as it is.` : ".");
    document.getElementById("cut").textContent = isCut ? "Only the first of them are counted: choose by a part of their ids." : "";
    document.getElementById("dag_ids").replaceChildren(...asIs.dags.map((dag) => el("option", { value: dag.dag_id })));
    show(document.getElementById("runs"), timeLine(forecast), runsTable(forecast, asIs));
    show(document.getElementById("pools"), ...(forecast.pools.length ? forecast.pools.map((one) => pool(one, forecast, asIs)) : [el("p", {}, "Nothing is asked for.")]));
    show(document.getElementById("polls"), ...polls(forecast, asIs));
    problem.textContent = "";
    answer.hidden = false;
  } catch (error) {
    problem.textContent = error.message;
    answer.hidden = true;
  }
}

for (const [name, value] of new URLSearchParams(location.search)) {
  if (form.elements[name]) form.elements[name].value = value;
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.replaceState(null, "", `${location.pathname}?${query()}`);
  refresh();
});
document.getElementById("zone").textContent = chosenZone() ?? "your browser's zone";
refresh();
