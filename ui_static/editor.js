// The editor of the workspace: its tree, one file at a time, and what compiling it gave. Talks to /leoflow/api/files.
"use strict";
import { el, follow, getJson, sendJson, show } from "./page.js";
import { makeSurface } from "./editor_surface.js";

const byId = (id) => document.getElementById(id);
const STORE = "leoflow-editor";
const DRAFTS_MAX = 20;
const CARETS_MAX = 200;

const tree = { entries: [], open: new Set(), chosen: null }; // chosen: the path that the buttons above are about
const files = new Map(); // path -> {text, saved, etag}: what is open or has unsaved changes
let opened = null; // path
let state = { version: -1, is_looking: false, projects: [] };
let savedAt = -1; // version of the last save
let conflict = null; // what is on the disk instead: {text, etag}, or null where nothing is
let surface;

const kept = (name) => JSON.parse(localStorage.getItem(`${STORE}-${name}`) ?? "{}");
const keep = (name, value) => localStorage.setItem(`${STORE}-${name}`, JSON.stringify(value));
const hidden = () => byId("hidden").checked;
const at = (kind, path, query = {}) =>
  `leoflow/api/${kind}/${path.split("/").map(encodeURIComponent).join("/")}?${new URLSearchParams({ hidden: hidden(), ...query })}`;
const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);
const within = (folder, name) => (folder ? `${folder}/${name}` : name);
const isFolder = (path) => tree.entries.some((one) => one.path === path && one.kind === "folder");
const isDirty = (path) => files.has(path) && files.get(path).text !== files.get(path).saved;

/** Whatever a person asked for: what goes wrong is said, and nothing else happens. */
async function attempt(work) {
  byId("problem").textContent = "";
  try {
    return await work();
  } catch (error) {
    byId("problem").textContent = error.message;
    return undefined;
  }
}

// --- the tree -----------------------------------------------------------------------------------------------------

async function loadTree() {
  const listing = await getJson(`leoflow/api/files?hidden=${hidden()}`);
  tree.entries = listing.entries;
  byId("cut").hidden = listing.is_complete;
  showTree();
}

function showTree() {
  const faulty = new Set(state.projects.flatMap((one) => one.findings).filter((one) => !one.is_warning).map((one) => one.path));
  const inside = new Map([["", []]]);
  for (const entry of tree.entries) {
    if (entry.kind === "folder") inside.set(entry.path, []);
    inside.get(folderOf(entry.path))?.push(entry);
  }
  const order = (a, b) => (b.kind === "folder") - (a.kind === "folder") || a.path.localeCompare(b.path);
  const item = (entry) => {
    const isOpen = tree.open.has(entry.path);
    const classes = [isDirty(entry.path) ? "dirty" : "", faulty.has(entry.path) ? "faulty" : ""].join(" ").trim();
    const mark = entry.kind === "folder" ? (isOpen ? "\u25be " : "\u25b8 ") : "";
    const button = el("button", {
      type: "button", "data-path": entry.path, "data-key": entry.path, class: classes || null,
      "aria-expanded": entry.kind === "folder" ? String(isOpen) : null, "aria-current": entry.path === tree.chosen ? "true" : null,
    }, el("span", { "aria-hidden": "true" }, mark), nameOf(entry.path), entry.kind === "link" ? " (link)" : "");
    return el("li", {}, button, isOpen && entry.kind === "folder" ? el("ul", {}, ...inside.get(entry.path).sort(order).map(item)) : null);
  };
  show(byId("files"), ...inside.get("").sort(order).map(item));
  const target = targetFolder();
  byId("target").textContent = target || "the workspace";
  byId("untarget").hidden = !target;
  byId("rename").disabled = byId("remove").disabled = tree.chosen === null;
}

/** The folder that new files go to: the chosen one, or that of the chosen file. */
function targetFolder() {
  if (tree.chosen === null) return "";
  return isFolder(tree.chosen) ? tree.chosen : folderOf(tree.chosen);
}

function reveal(path) {
  for (let folder = folderOf(path); folder; folder = folderOf(folder)) tree.open.add(folder);
}

byId("files").addEventListener("click", (event) => {
  const path = event.target.closest("button")?.dataset.path;
  if (path === undefined) return;
  tree.chosen = path;
  if (isFolder(path)) {
    if (!tree.open.delete(path)) tree.open.add(path);
    showTree();
  } else {
    attempt(() => openFile(path));
  }
});

byId("files").addEventListener("keydown", (event) => {
  const buttons = [...byId("files").querySelectorAll("button")];
  const here = buttons.indexOf(event.target);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    buttons[here + step]?.focus();
    event.preventDefault();
  } else if (event.key === "F2" || event.key === "Delete") {
    tree.chosen = event.target.dataset.path;
    showTree();
    byId(event.key === "F2" ? "rename" : "remove").click();
  }
});

byId("untarget").addEventListener("click", () => {
  tree.chosen = null;
  showTree();
});

// --- one file -----------------------------------------------------------------------------------------------------

async function openFile(path) {
  rememberCaret();
  if (!files.has(path)) {
    const found = await getJson(at("files", path));
    const draft = kept("drafts")[path];
    files.set(path, { text: draft?.text ?? found.text, saved: found.text, etag: draft?.etag ?? found.etag });
  }
  opened = tree.chosen = path;
  endConflict();
  reveal(path);
  surface.open(path, files.get(path).text);
  surface.goTo(kept("carets")[path] ?? { lineNumber: 1, column: 1 });
  keep("last", { path });
  showFile();
}

function showFile() {
  byId("path").textContent = opened ?? "No file is open";
  byId("path").className = opened ? "" : "faint";
  byId("save").disabled = !opened || !isDirty(opened);
  showTree();
  showFindings();
}

function edited() {
  if (!opened) return;
  const file = files.get(opened);
  const wasDirty = isDirty(opened);
  file.text = surface.text();
  keepDraft(opened);
  if (wasDirty !== isDirty(opened)) showFile();
}

/** Unsaved text outlives the page: the frame that we are in is thrown away with every click on the UI around it. */
function keepDraft(path) {
  const { [path]: _, ...others } = kept("drafts");
  const drafts = Object.entries(others).slice(-(DRAFTS_MAX - 1));
  if (isDirty(path)) drafts.push([path, { text: files.get(path).text, etag: files.get(path).etag }]);
  try {
    keep("drafts", Object.fromEntries(drafts));
  } catch {
    keep("drafts", {}); // the browser has no more room
  }
}

function rememberCaret() {
  const caret = opened && surface.caret();
  if (!caret) return;
  const { [opened]: _, ...others } = kept("carets");
  const carets = Object.entries(others).slice(-(CARETS_MAX - 1));
  keep("carets", Object.fromEntries([...carets, [opened, { lineNumber: caret.lineNumber, column: caret.column }]]));
}

async function save() {
  if (!opened || conflict) return;
  const path = opened;
  const file = files.get(path);
  const text = surface.text();
  rememberCaret();
  byId("done").textContent = "Saving";
  try {
    noteSaved(path, text, await sendJson("PUT", at("files", path), { text, etag: file.etag }));
  } catch (error) {
    byId("done").textContent = "";
    if (error.status !== 409) throw error;
    beginConflict(error.body.current ?? null, error.message);
  }
}

function noteSaved(path, text, answer) {
  const file = files.get(path);
  file.saved = text;
  file.etag = answer.etag;
  savedAt = answer.version;
  keepDraft(path);
  byId("done").textContent = "Saved, compiling";
  showFile();
}

byId("save").addEventListener("click", () => attempt(save));
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    attempt(save);
  }
});
window.addEventListener("pagehide", rememberCaret);

// --- two versions -------------------------------------------------------------------------------------------------

function beginConflict(current, message) {
  conflict = { current };
  byId("problem").textContent = message;
  byId("conflict").hidden = false;
  byId("text").hidden = true;
  surface.showBoth(byId("both"), opened, current?.text ?? "", surface.text());
  byId("keep-mine").focus();
}

function endConflict() {
  conflict = null;
  byId("conflict").hidden = true;
  byId("text").hidden = false;
  surface.hideBoth();
  byId("both").replaceChildren();
}

byId("keep-mine").addEventListener("click", () => attempt(async () => {
  files.get(opened).etag = conflict.current?.etag ?? null;
  endConflict();
  await save();
}));
byId("take-theirs").addEventListener("click", () => attempt(async () => {
  const { current } = conflict;
  endConflict();
  if (current === null) return forget(opened);
  files.set(opened, { text: current.text, saved: current.text, etag: current.etag });
  surface.open(opened, current.text);
  keepDraft(opened);
  return showFile();
}));
byId("edit-on").addEventListener("click", endConflict);

/** The file is gone, here at least. */
function forget(path) {
  files.delete(path);
  const { [path]: _, ...drafts } = kept("drafts");
  keep("drafts", drafts);
  surface.close(path);
  if (opened === path) opened = null;
  if (tree.chosen === path) tree.chosen = null;
  showFile();
}

// --- making, renaming, removing -----------------------------------------------------------------------------------

let naming = null; // what to do with the name that is typed

function askName(label, value, work) {
  naming = work;
  byId("naming").hidden = false;
  byId("naming-label").textContent = label;
  byId("name").value = value;
  byId("name").focus();
  byId("name").select();
}

function endNaming() {
  byId("naming").hidden = true;
  naming = null;
}

byId("naming").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("name").value.trim();
  attempt(async () => {
    await naming(name);
    endNaming();
  });
});
byId("naming-cancel").addEventListener("click", endNaming);
byId("naming").addEventListener("keydown", (event) => event.key === "Escape" && endNaming());

const into = (folder) => (folder ? `in ${folder}` : "in the workspace");
byId("new-file").addEventListener("click", () => {
  const folder = targetFolder();
  askName(`Name of the new file ${into(folder)}`, "", async (name) => {
    const path = within(folder, name);
    const answer = await sendJson("PUT", at("files", path), { text: "", etag: null });
    savedAt = answer.version;
    await loadTree();
    await openFile(path);
  });
});
byId("new-folder").addEventListener("click", () => {
  const folder = targetFolder();
  askName(`Name of the new folder ${into(folder)}`, "", async (name) => {
    const path = within(folder, name);
    await sendJson("POST", at("folders", path));
    tree.chosen = path;
    tree.open.add(path);
    reveal(path);
    await loadTree();
  });
});
byId("rename").addEventListener("click", () => {
  const path = tree.chosen;
  askName(`New name of ${path}, in the workspace`, path, async (to) => {
    if (to === path) return;
    const unsaved = [...files.keys()].filter((one) => (one === path || one.startsWith(`${path}/`)) && isDirty(one));
    if (unsaved.length) throw new Error(`Save ${unsaved.join(", ")} first: what is not saved would stay under the old name`);
    await sendJson("PATCH", at("files", path), { to });
    const carets = kept("carets");
    for (const one of [...files.keys(), ...Object.keys(carets)]) {
      if (one !== path && !one.startsWith(`${path}/`)) continue;
      const moved = to + one.slice(path.length);
      if (carets[one]) carets[moved] = carets[one];
      const wasOpened = opened === one;
      if (files.has(one)) forget(one);
      if (wasOpened) opened = moved;
    }
    keep("carets", carets);
    tree.chosen = to;
    reveal(to);
    const reopen = opened !== null && !files.has(opened) ? opened : null;
    opened = reopen ? null : opened;
    await loadTree();
    if (reopen) await openFile(reopen);
  });
});
byId("remove").addEventListener("click", () => attempt(async () => {
  const path = tree.chosen;
  const { files: count } = await getJson(at("file-counts", path));
  if (!(await isRemovalMeant(path, count))) return;
  await sendJson("DELETE", at("files", path, { files: count, name: nameOf(path) }));
  for (const one of [...files.keys()]) if (one === path || one.startsWith(`${path}/`)) forget(one);
  tree.chosen = folderOf(path) || null;
  await loadTree();
}));

/** A folder wants its name typed; the frame that we are in has no modal windows of the browser's own. */
function isRemovalMeant(path, count) {
  const folder = isFolder(path);
  const files = count === 1 ? "1 file" : `${count} files`;
  const said = folder ? `Delete the folder ${path} and all that is in it: ${files}, hidden ones included?` : `Delete the file ${path}?`;
  const typed = folder ? el("input", { id: "typed", autocomplete: "off", spellcheck: "false" }) : null;
  const yes = el("button", { type: "button" }, folder ? `Delete ${files}` : "Delete");
  const no = el("button", { type: "button" }, "No, leave it");
  const dialog = el("dialog", { "aria-labelledby": "removal" }, el("p", { id: "removal" }, said, " This cannot be undone."),
    folder ? el("label", { for: "typed" }, `Type its name, ${nameOf(path)}`) : null, typed, el("div", { class: "actions" }, yes, no));
  if (folder) {
    yes.disabled = true;
    typed.addEventListener("input", () => { yes.disabled = typed.value !== nameOf(path); });
  }
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    yes.addEventListener("click", () => dialog.close("yes"));
    no.addEventListener("click", () => dialog.close(""));
    dialog.showModal();
    if (!folder) no.focus();
  });
}

byId("examples").addEventListener("click", () => attempt(async () => {
  const { folders } = await sendJson("POST", "leoflow/api/examples");
  tree.open.add("examples");
  await loadTree();
  byId("done").textContent = folders.length ? `${folders.length} examples are in examples/` : "All examples are there already";
}));
byId("hidden").addEventListener("change", () => attempt(loadTree));

// --- what compiling gave ------------------------------------------------------------------------------------------

function showState(next) {
  state = next;
  showTree();
  showFindings();
  showOutcome();
}

function showFindings() {
  const findings = state.projects.flatMap((one) => one.findings);
  const paths = new Set([...files.keys(), ...findings.map((one) => one.path)]);
  for (const path of paths) surface.mark(path, findings.filter((one) => one.path === path));
  show(byId("problems"), ...(findings.length ? findings.map(problem) : [el("li", { class: "faint" }, "None.")]));
}

function problem(found, index) {
  const place = el("button", { type: "button", "data-key": `problem-${index}` }, `${found.path}:${found.line}`);
  place.addEventListener("click", () => attempt(async () => {
    if (opened !== found.path) await openFile(found.path);
    surface.goTo({ lineNumber: found.line, column: 1 });
  }));
  const kind = el("span", { class: found.is_warning ? "warn" : "bad" }, found.is_warning ? "Warning " : "Error ");
  return el("li", {}, kind, place, el("p", {}, found.message), found.remedy ? el("p", { class: "faint" }, found.remedy) : null);
}

/** Once the workspace knows of the last save and is done with it. */
function showOutcome() {
  if (savedAt < 0 || state.version <= savedAt || state.is_looking || state.projects.some((one) => one.is_compiling)) return;
  savedAt = -1;
  const mine = state.projects.filter((one) => opened && (one.source === opened || folderOf(one.source) === folderOf(opened)));
  const faults = mine.flatMap((one) => one.findings).filter((one) => !one.is_warning).length;
  const dags = mine.flatMap((one) => one.dag_ids).join(", ");
  byId("done").textContent = faults ? `Saved; ${faults === 1 ? "1 problem" : `${faults} problems`}` : dags ? `Saved and compiled: ${dags}` : "Saved";
  attempt(loadTree);
}

// --- the beginning ------------------------------------------------------------------------------------------------

const hasMonaco = document.body.dataset.hasMonaco === "yes";
surface = await makeSurface(byId("text"), hasMonaco, edited);
byId("without-monaco").hidden = !surface.isPlain;
await attempt(loadTree);
follow("leoflow/api/workspace", showState, () => {}); // what it loses, the next save tells
const last = kept("last").path;
if (last && tree.entries.some((one) => one.path === last && one.kind === "file")) await attempt(() => openFile(last));
