// What Monaco completes in Python files: modules, names and arguments of `airflow` and `leoflow`, from the stubs.
"use strict";
import { getJson } from "./page.js";

let known = null;

/** Once; the names are asked for when they are first needed. */
export function registerCompletion(monaco) {
  const fetchKnown = () => (known ??= getJson("leoflow/api/completions").catch(() => (known = null) ?? { modules: {}, callables: {} }));
  monaco.languages.registerCompletionItemProvider("python", {
    triggerCharacters: [".", "(", ",", " "],
    async provideCompletionItems(model, position) {
      const names = await fetchKnown();
      const before = model.getValueInRange({ startLineNumber: 1, startColumn: 1, endLineNumber: position.lineNumber, endColumn: position.column });
      const word = model.getWordUntilPosition(position);
      const range = { startLineNumber: position.lineNumber, endLineNumber: position.lineNumber, startColumn: word.startColumn, endColumn: word.endColumn };
      return { suggestions: suggestionsAt(before, model.getValue(), names).map((one) => ({ ...one, kind: monaco.languages.CompletionItemKind[one.kind], range })) };
    },
  });
  monaco.languages.registerSignatureHelpProvider("python", {
    signatureHelpTriggerCharacters: ["(", ","],
    async provideSignatureHelp(model, position) {
      const names = await fetchKnown();
      const before = model.getValueInRange({ startLineNumber: 1, startColumn: 1, endLineNumber: position.lineNumber, endColumn: position.column });
      const call = openCall(before);
      const made = call && names.callables[makerOf(call.name, model.getValue(), names)];
      if (!made) return null;
      const label = (one) => `${one.name}: ${one.type || "Any"}${one.default ? ` = ${one.default}` : ""}`;
      const parameters = made.arguments.map((one) => ({ label: label(one) }));
      const value = { signatures: [{ label: `${call.name}(${made.arguments.map(label).join(", ")})`, documentation: made.doc, parameters }], activeSignature: 0, activeParameter: 0 };
      return { value, dispose() {} };
    },
  });
}

/** What may stand at the end of `before`, most fitting first. */
function suggestionsAt(before, text, names) {
  const line = before.slice(before.lastIndexOf("\n") + 1);
  const from = /^\s*from\s+([\w.]*)$/.exec(line) ?? /^\s*import\s+([\w.]*)$/.exec(line);
  if (from) return moduleParts(from[1], names);
  const imported = /(?:^|\n)\s*from\s+([\w.]+)\s+import\s+(?:\([^)]*|[^\n(]*)$/.exec(before);
  if (imported) return Object.entries(names.modules[imported[1]] ?? {}).map(([name, made]) => named(name, names.callables[made]));
  const dotted = /(\w+)\.\w*$/.exec(line);
  if (dotted) return (names.callables[makerOf(dotted[1], text, names)]?.members ?? []).map((name) => ({ label: name, insertText: name, kind: "Method" }));
  const call = openCall(before);
  const made = call && names.callables[makerOf(call.name, text, names)];
  const given = new Set(call ? [...call.written.matchAll(/(\w+)\s*=/g)].map((match) => match[1]) : []);
  const asked = made && /(?:^|[(,])\s*\w*$/.test(`(${call.written}`) ? made.arguments.filter((one) => !given.has(one.name)) : [];
  return asked.map((one, index) => ({
    label: `${one.name}=`, insertText: `${one.name}=`, kind: "Field", detail: one.type, sortText: `0${String(index).padStart(3, "0")}`,
    documentation: one.default ? `default: ${one.default}` : "must be given",
  }));
}

/** The next part of each module that begins so. */
function moduleParts(typed, names) {
  const home = typed.slice(0, typed.lastIndexOf(".") + 1);
  const parts = new Set(Object.keys(names.modules).filter((one) => one.startsWith(home)).map((one) => one.slice(home.length).split(".")[0]));
  return [...parts].filter(Boolean).map((name) => ({ label: name, insertText: name, kind: "Module" }));
}

function named(name, made) {
  return { label: name, insertText: name, kind: made ? "Class" : "Variable", documentation: made?.doc ?? "" };
}

/** The call that is still open at the end: its name, and what is written of its arguments. Texts are skipped. */
function openCall(before) {
  const code = before.slice(-4000).replace(/"""[^]*?"""|'''[^]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|#[^\n]*/g, (found) => "_".repeat(found.length));
  let depth = 0;
  for (let at = code.length - 1; at >= 0; at--) {
    if (")]}".includes(code[at])) depth += 1;
    else if ("([{".includes(code[at]) && depth > 0) depth -= 1;
    else if (code[at] === "(") {
      const name = /([\w.]+)\s*$/.exec(code.slice(0, at));
      return name && { name: name[1], written: code.slice(at + 1) };
    } else if ("[{".includes(code[at])) return null;
  }
  return null;
}

/** The key of `callables` for a name of this file, by what the file imports; methods of `task` are as `task` itself. */
function makerOf(name, text, names) {
  const plain = name.split(".")[0];
  for (const [, module, list] of text.matchAll(/^\s*from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)/gm)) {
    for (const [, original, alias] of list.matchAll(/(\w+)(?:\s+as\s+(\w+))?/g)) {
      if ((alias ?? original) === plain) return names.modules[module]?.[original];
    }
  }
  return undefined;
}
