"""What `leoflow mcp` answers, kept small: rows cut to their telling fields, logs to their errors and their end.

Pure. An MCP client puts an answer whole into the context of a language model: a log of 8 MB or 5,000 task instances
would push out everything else, so each answer says how much it left out and never exceeds `ANSWER_MAX`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from leoflowd.cli.output import clean, json_line

ANSWER_MAX = 40_000
"""Characters of one answer."""
VALUE_MAX = 2_000
"""Characters of one value in it: a conf, a note, the text of a log line."""
FRAMES_MAX = 6
"""Of a traceback: the innermost."""

ERRORS = frozenset({"error", "critical", "fatal"})
FAILED = ("failed", "upstream_failed")

DAG_FIELDS = (
    "dag_id", "description", "is_paused", "is_stale", "has_import_errors", "timetable_summary",
    "next_dagrun_run_after", "max_active_runs", "owners", "tags",
)  # fmt: skip
RUN_FIELDS = (
    "dag_id", "dag_run_id", "state", "run_type", "run_after", "logical_date", "start_date", "end_date", "duration",
    "conf", "note", "triggered_by", "triggering_user_name",
)  # fmt: skip
INSTANCE_FIELDS = (
    "task_id", "map_index", "state", "try_number", "max_tries", "start_date", "end_date", "duration", "operator",
    "pool", "note",
)  # fmt: skip
WAIT_FIELDS = (
    "id", "dag_id", "dag_run_id", "task_id", "map_index", "kind", "state", "waits_for", "registered_at", "deadline_at",
    "last_observation", "next_probe_at", "due_at", "blocked_by", "is_paused",
)  # fmt: skip


def told(document: Mapping[str, Any]) -> str:
    """The document as JSON of at most `ANSWER_MAX` characters: long values are cut, then the largest list is halved.

    `left_out` names each list that was, and how many of its items are missing.
    """
    answer = {name: _cut_items(value) if isinstance(value, list) else cut(value) for name, value in document.items()}
    left_out: dict[str, int] = {}
    while len(text := json_line({**answer, "left_out": left_out} if left_out else answer)) > ANSWER_MAX:
        lists = {name: len(json_line(value)) for name, value in answer.items() if isinstance(value, list) and value}
        if not lists:
            return text[:ANSWER_MAX]
        largest = max(lists, key=lambda name: lists[name])
        kept = answer[largest][: len(answer[largest]) // 2]
        left_out[largest] = left_out.get(largest, 0) + len(answer[largest]) - len(kept)
        answer[largest] = kept
    return text


def _cut_items(items: Sequence[Any]) -> list[Any]:
    return [{k: cut(v) for k, v in item.items()} if isinstance(item, dict) else cut(item) for item in items]


def cut(value: Any) -> Any:
    """The value, or the beginning of its text, without what a terminal would obey."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > VALUE_MAX:
        return f"{clean(text[:VALUE_MAX])} ... ({len(text) - VALUE_MAX} characters more)"
    return clean(text) if isinstance(value, str) else value


def chosen(row: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Those fields of the row that say something."""
    return {name: row[name] for name in fields if row.get(name) not in (None, [], {}, "")}


def instance_row(row: Mapping[str, Any]) -> dict[str, Any]:
    found = chosen(row, INSTANCE_FIELDS)
    if row["map_index"] < 0:
        found.pop("map_index", None)
    return found


def log_of(lines: Sequence[Mapping[str, Any]], max_chars: int) -> dict[str, Any]:
    """A log in `max_chars`: what it has of errors, up to half of that, the last ones; and then its last lines.

    `lines` are those that the API gives. Markers of groups, which fold lines in the UI, are left out.
    """
    shown = [line for line in lines if not str(line.get("event", "")).startswith(("::group::", "::endgroup::"))]
    errors = [line for line in shown if str(line.get("level", "")).lower() in ERRORS or line.get("error_detail")]
    told_errors = _last_that_fit([line_text(line) for line in errors], max_chars // 2)
    tail = _last_that_fit([line_text(line) for line in shown], max_chars - sum(map(len, told_errors)))
    return {
        "lines_count": len(shown),
        "errors_count": len(errors),
        "errors": told_errors,
        "last_lines": tail,
        "earlier_lines_left_out": len(shown) - len(tail),
    }


def line_text(line: Mapping[str, Any]) -> str:
    """A line with its time and level, and its exception with the innermost frames below it."""
    at, level = str(line.get("timestamp") or "")[:23], str(line.get("level") or "")
    parts = [" ".join(part for part in (at, level.upper(), str(cut(str(line.get("event", ""))))) if part)]
    for error in line.get("error_detail") or ():
        frames = error.get("frames") or []
        parts += [f"  {at['filename']}:{at['lineno']} in {at['name']}" for at in frames[-FRAMES_MAX:]]
        parts.append(f"  {error.get('exc_type')}: {cut(str(error.get('exc_value')))}")
    return clean("\n".join(parts))


def _last_that_fit(texts: Sequence[str], max_chars: int) -> list[str]:
    """In their order; always the last one, for it is cut already."""
    kept: list[str] = []
    room = max_chars
    for text in reversed(texts):
        room -= len(text) + 1
        if kept and room < 0:
            break
        kept.append(text)
    return kept[::-1]


def diff_lists(found: Mapping[str, Any]) -> dict[str, Any]:
    """A diff of versions with its tables as lists, so that `told` can shorten them."""
    answer = dict(found)
    for name in ("dag", "environment"):
        answer[name] = _changes(found[name])
    answer["tasks_changed"] = [
        {"task_id": task_id, "changes": _changes(changes)} for task_id, changes in found["tasks_changed"].items()
    ]
    return answer


def run_diff_lists(found: Mapping[str, Any]) -> dict[str, Any]:
    """A diff of runs, its source line by line."""
    code = found["version"]
    answer = {name: value for name, value in found.items() if name != "version"}
    answer |= {name: _changes(found[name]) for name in ("params", "conf")}
    answer["tasks"] = [{k: v for k, v in task.items() if v is not None} for task in found["tasks"]]
    if code is None:
        return {**answer, "code": "both runs are of one version"}
    return answer | {f"code_{name}": value for name, value in diff_lists(code).items()}


def _changes(changes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [{"field": name, "was": was, "is": now} for name, (was, now) in changes.items()]


def preview_id(dag_id: str, request: Mapping[str, Any], instances: Iterable[Mapping[str, Any]]) -> str:
    """Names what a preview showed: the same request on the same task instances, in the same states and tries."""
    seen = sorted([row["task_id"], row["map_index"], row["state"] or "", row["try_number"]] for row in instances)
    document = json.dumps([dag_id, request, seen], sort_keys=True, default=str)
    return hashlib.sha256(document.encode(errors="surrogatepass")).hexdigest()[:16]
