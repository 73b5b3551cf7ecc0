// Where a text is edited: Monaco, or a plain text field where it could not be had. Both offer the same few things.
"use strict";
import { el } from "./page.js";
import { registerCompletion } from "./editor_completion.js";

const LANGUAGES = {
  py: "python", pyi: "python", sql: "sql", yaml: "yaml", yml: "yaml", md: "markdown", sh: "shell", bash: "shell",
  json: "json", ini: "ini", cfg: "ini", toml: "ini", dockerfile: "dockerfile", xml: "xml", r: "r",
};
const languageOf = (path) => LANGUAGES[path.split("/").at(-1).toLowerCase().split(".").at(-1)] ?? "plaintext";

/** A surface in `place`. `changed()` is called after each edit of the text that is shown. */
export async function makeSurface(place, hasMonaco, changed) {
  if (hasMonaco) {
    try {
      return monacoSurface(await loadMonaco(), place, changed);
    } catch (error) {
      console.warn("monaco-editor does not start", error);
    }
  }
  return plainSurface(place, changed);
}

// --- Monaco -------------------------------------------------------------------------------------------------------

function loadMonaco() {
  const home = new URL("leoflow/packages/monaco/vs", document.baseURI).href;
  return new Promise((resolve, reject) => {
    const script = el("script", { src: `${home}/loader.js` });
    script.addEventListener("error", () => reject(new Error("its loader cannot be read")));
    script.addEventListener("load", () => {
      window.require.config({ paths: { vs: home } });
      window.require(["vs/editor/editor.main"], () => resolve(window.monaco), reject);
    });
    document.head.append(script);
  });
}

function monacoSurface(monaco, place, changed) {
  registerCompletion(monaco);
  followTheme(monaco);
  const options = { acceptSuggestionOnEnter: "smart", automaticLayout: true, fontSize: 13, minimap: { enabled: false }, scrollBeyondLastLine: false, insertSpaces: true, tabSize: 4 };
  const editor = monaco.editor.create(place, { ...options, model: null, ariaLabel: "Text of the file" });
  const uriOf = (path) => monaco.Uri.from({ scheme: "workspace", path: `/${path}` });
  const modelOf = (path) => monaco.editor.getModel(uriOf(path));
  let diff = null;
  editor.onDidChangeModelContent(changed);
  return {
    isPlain: false,
    open(path, text) {
      const model = modelOf(path) ?? monaco.editor.createModel(text, languageOf(path), uriOf(path));
      if (model.getValue() !== text) model.setValue(text);
      editor.setModel(model);
    },
    close(path) {
      modelOf(path)?.dispose();
    },
    text: () => editor.getValue(),
    caret: () => editor.getPosition(),
    goTo(caret) {
      editor.setPosition(caret);
      editor.revealPositionInCenterIfOutsideViewport(caret);
      editor.focus();
    },
    mark(path, findings) {
      const model = modelOf(path);
      if (model) monaco.editor.setModelMarkers(model, "leoflow", findings.map((one) => marker(monaco, model, one)));
    },
    showBoth(where, path, theirs, mine) {
      this.hideBoth();
      diff = monaco.editor.createDiffEditor(where, { ...options, readOnly: true, originalAriaLabel: "On the disk", modifiedAriaLabel: "Yours" });
      const language = languageOf(path);
      diff.setModel({ original: monaco.editor.createModel(theirs, language), modified: monaco.editor.createModel(mine, language) });
    },
    hideBoth() {
      const models = diff?.getModel();
      diff?.dispose();
      models?.original.dispose();
      models?.modified.dispose();
      diff = null;
    },
  };
}

function marker(monaco, model, found) {
  const line = Math.min(Math.max(1, found.line), model.getLineCount());
  return {
    severity: found.is_warning ? monaco.MarkerSeverity.Warning : monaco.MarkerSeverity.Error,
    message: found.remedy ? `${found.message}\n${found.remedy}` : found.message,
    source: "leoflow",
    startLineNumber: line,
    endLineNumber: line,
    startColumn: model.getLineFirstNonWhitespaceColumn(line) || 1,
    endColumn: model.getLineMaxColumn(line),
  };
}

/** Monaco's own two themes on the ground of our pages. */
function followTheme(monaco) {
  const root = document.documentElement;
  const apply = () => {
    const style = getComputedStyle(root);
    const isDark = style.colorScheme === "dark";
    const full = style.getPropertyValue("--ground").trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3");
    monaco.editor.defineTheme("leoflow", { base: isDark ? "vs-dark" : "vs", inherit: true, rules: [], colors: { "editor.background": full } });
    monaco.editor.setTheme("leoflow");
  };
  apply();
  new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["class"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}

// --- a plain field ------------------------------------------------------------------------------------------------

function plainSurface(place, changed) {
  const area = el("textarea", { "aria-label": "Text of the file", spellcheck: "false", disabled: "" });
  place.append(area);
  area.addEventListener("input", changed);
  const startOf = (line) => area.value.split("\n").slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  return {
    isPlain: true,
    open(path, text) {
      area.disabled = false;
      area.value = text;
    },
    close() {
      area.value = "";
      area.disabled = true;
    },
    text: () => area.value,
    caret() {
      const before = area.value.slice(0, area.selectionStart).split("\n");
      return { lineNumber: before.length, column: before.at(-1).length + 1 };
    },
    goTo({ lineNumber, column }) {
      area.focus();
      area.setSelectionRange(startOf(lineNumber) + column - 1, startOf(lineNumber) + column - 1);
    },
    mark() {},
    showBoth(where, path, theirs, mine) {
      const field = (label, text) => {
        const made = el("textarea", { "aria-label": label, readonly: "" });
        made.value = text;
        return made;
      };
      where.replaceChildren(field("On the disk", theirs), field("Yours", mine));
    },
    hideBoth() {},
  };
}
