// What the pool page and the explain page do with a wait: ask once more where it cannot be undone, then send.
"use strict";
import { el, sendJson } from "./page.js";

const QUESTIONS = {
  fire: "Go on as if the condition were met?",
  fail: "End this wait as failed?",
};
const DONE = {
  probe: "A probe was asked for.",
  fire: "Fired: the scheduler moves the task now.",
  fail: "Failed: the scheduler moves the task now.",
};
const path = (id) => `leoflow/api/waits/${encodeURIComponent(id)}`;

/** Carry out probe, fire or fail; answers with a sentence, empty when the person changed their mind. */
export async function act(id, action) {
  if (QUESTIONS[action] && !(await isConfirmed(QUESTIONS[action]))) return "";
  await sendJson("POST", `${path(id)}/${action}`);
  return DONE[action];
}

export async function setPokeInterval(id, seconds) {
  await sendJson("PATCH", path(id), { poke_interval_s: seconds });
  return `It is probed every ${seconds} s from now on.`;
}

// The UI shows our pages in a sandbox without modal windows, so confirm() would always say no.
function isConfirmed(question) {
  const yes = el("button", { type: "button" }, "Yes");
  const no = el("button", { type: "button", autofocus: "" }, "No, leave it");
  const label = el("p", { id: "question" }, question);
  const dialog = el("dialog", { "aria-labelledby": "question" }, label, el("div", { class: "actions" }, yes, no));
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    yes.addEventListener("click", () => dialog.close("yes"));
    no.addEventListener("click", () => dialog.close(""));
    dialog.showModal();
  });
}
