"""The template language of waits and inline calls: what the daemon may render without running anyone's code (ADR 13).

A text with `{{ expr }}` parts. An expression is a chain of `or`; its terms are text and number literals and paths such
as `ds`, `params.table`, `dag_run.conf["day"]`, `logical_date.year`. No calls, filters, tests, macros or statements: a
text with any of these is not simple, and its task is rendered by real Jinja in a process of its own.

What is simple renders exactly as Airflow's Jinja does (`test_simple_templates_properties.py` compares the two).
The compiler asks `is_simple`; the scheduler and the cheap-task pool call `names_of` and `render`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import DagRunFacts
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.overriding import override


class TemplateFault(LeoflowError):
    """A template that is not simple, or that names something which this dag run does not have."""


class _Leaf(Enum):
    """What a path ends in, and so what may follow it."""

    PLAIN = "a text or a number: nothing may follow"
    MOMENT = "a date and time: its parts may follow"
    JSON = "whatever the author put there: names and subscripts may follow"


_RUN: Mapping[str, Any] = {
    **dict.fromkeys(("dag_id", "run_id", "run_type", "triggering_user_name"), _Leaf.PLAIN),
    **dict.fromkeys(("run_after", "logical_date", "data_interval_start", "data_interval_end"), _Leaf.MOMENT),
    "conf": _Leaf.JSON,
}
_INSTANCE = dict.fromkeys(("dag_id", "task_id", "run_id", "try_number", "map_index"), _Leaf.PLAIN)
NAMES: Mapping[str, Any] = {
    **dict.fromkeys(("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "run_id"), _Leaf.PLAIN),
    "task_instance_key_str": _Leaf.PLAIN,
    **dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end"), _Leaf.MOMENT),
    **dict.fromkeys(("leoflow_base_time", "leoflow_registered_at"), _Leaf.MOMENT),
    "dag_run": _RUN,
    "dag": {"dag_id": _Leaf.PLAIN},
    "task": {"task_id": _Leaf.PLAIN},
    "ti": _INSTANCE,
    "task_instance": _INSTANCE,
    "params": _Leaf.JSON,
}
"""Every path that the language knows. Airflow's other names (`macros`, `var`, `conn`, ...) need a process."""
MOMENT_PARTS = frozenset({"year", "month", "day", "hour", "minute", "second"})
METHODS = frozenset(name for kind in (dict, list, str, int, float) for name in dir(kind))
"""`conf.items` is a method to Jinja, and an item only if written `conf["items"]`."""
RESERVED = frozenset({"and", "or", "not", "if", "else", "in", "is", "true", "false", "none", "True", "False", "None"})

_NEWLINE = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(
    r"\s*(?:(?P<end>\}\})"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<text>\"[^\"\\]*\"|'[^'\\]*')"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![0-9A-Za-z_.]))"
    r"|(?P<sign>[.\[\]]))",
    re.ASCII,
)


class _Literal(msgspec.Struct, frozen=True):
    value: str | int | float


class _Step(msgspec.Struct, frozen=True):
    """`.key` or, with `is_subscript`, `[key]`: Jinja looks for an item or an attribute first, in that order."""

    key: str | int
    is_subscript: bool


class _Path(msgspec.Struct, frozen=True):
    root: str
    steps: tuple[_Step, ...]

    @override
    def __str__(self) -> str:
        return self.root + "".join(f"[{step.key!r}]" if step.is_subscript else f".{step.key}" for step in self.steps)


_Part = str | tuple[_Literal | _Path, ...]
"""Plain text, or the terms of one `{{ a or b }}`."""


def is_simple(value: Any) -> bool:
    """Whether `render` can do all texts in this JSON value, keys aside: Airflow renders no keys."""
    try:
        for text in _texts(value):
            for part in _parse(text):
                if not isinstance(part, str):
                    _check_paths(part)
    except TemplateFault:
        return False
    return True


def render(value: Any, names: Mapping[str, Any]) -> Any:
    """A copy with every text rendered; raises `TemplateFault` with a sentence for people."""
    if isinstance(value, str):
        return "".join(part if isinstance(part, str) else str(_evaluate(part, names)) for part in _parse(value))
    if isinstance(value, Mapping):
        return {key: render(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, names) for item in value]
    return value


def names_of(
    run: DagRunFacts,
    *,
    task_id: str,
    params: Mapping[str, Any],
    registered_at: datetime,
    try_number: int,
    map_index: int = -1,
) -> dict[str, Any]:
    """Airflow's names for one task instance; without a logical date those that depend on it are missing, as there."""
    instance = {
        "dag_id": run.dag_id,
        "task_id": task_id,
        "run_id": run.run_id,
        "try_number": try_number,
        "map_index": map_index,
    }
    names: dict[str, Any] = {
        "dag": {"dag_id": run.dag_id},
        "task": {"task_id": task_id},
        "ti": instance,
        "task_instance": instance,
        "run_id": run.run_id,
        "task_instance_key_str": f"{run.dag_id}__{task_id}__{run.run_id}",
        "params": dict(params),
        "dag_run": {name: getattr(run, name) for name in _RUN} | {"conf": msgspec.json.decode(run.conf)},
        "leoflow_base_time": run.data_interval_end or run.run_after,
        "leoflow_registered_at": registered_at,
    }
    if run.logical_date is not None:
        names |= _dated(run, run.logical_date)
        names["task_instance_key_str"] = f"{run.dag_id}__{task_id}__{names['ds_nodash']}"
    return names


def _dated(run: DagRunFacts, logical_date: datetime) -> dict[str, Any]:
    ds, ts = logical_date.strftime("%Y-%m-%d"), logical_date.isoformat()
    return {
        "logical_date": logical_date,
        "data_interval_start": run.data_interval_start,
        "data_interval_end": run.data_interval_end,
        "ds": ds,
        "ds_nodash": ds.replace("-", ""),
        "ts": ts,
        "ts_nodash": logical_date.strftime("%Y%m%dT%H%M%S"),
        "ts_nodash_with_tz": ts.replace("-", "").replace(":", ""),
    }


# --- reading -----------------------------------------------------------------------------------------------------


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _parse(text: str) -> Iterator[_Part]:
    """Jinja's treatment of plain text: one newline at the end is dropped, all others become `\\n`."""
    lines = _NEWLINE.split(text)
    if not lines[-1]:
        del lines[-1]
    source = "\n".join(lines)
    if "{%" in source or "{#" in source:
        raise TemplateFault(f"the template {text!r} has statements or comments, which only a task process renders")
    position = 0
    while (start := source.find("{{", position)) >= 0:
        yield source[position:start]
        terms, position = _read_expression(source, start + 2)
        yield terms
    yield source[position:]


def _read_expression(source: str, position: int) -> tuple[tuple[_Literal | _Path, ...], int]:
    if source[position : position + 1] in {"-", "+"}:  # Jinja's control of white space, even before a number
        raise _not_simple(source)
    tokens, end = _tokens(source, position)
    terms: list[_Literal | _Path] = []
    while True:
        terms.append(_read_term(tokens, source))
        if not tokens:
            return tuple(terms), end
        if tokens.pop(0) != ("name", "or"):
            raise _not_simple(source)


def _tokens(source: str, position: int) -> tuple[list[tuple[str, str]], int]:
    found: list[tuple[str, str]] = []
    while (match := _TOKEN.match(source, position)) is not None:
        position = match.end()
        kind = match.lastgroup or ""
        if kind == "end":
            return found, position
        found.append((kind, match[kind]))
    raise _not_simple(source)


def _read_term(tokens: list[tuple[str, str]], source: str) -> _Literal | _Path:
    kind, token = tokens.pop(0) if tokens else ("", "")
    if kind in {"text", "number"}:
        return _Literal(_literal(kind, token))
    if kind != "name" or token in RESERVED:
        raise _not_simple(source)
    steps: list[_Step] = []
    while tokens and tokens[0] in {("sign", "."), ("sign", "[")}:
        steps.append(_read_step(tokens, source))
    return _Path(token, tuple(steps))


def _read_step(tokens: list[tuple[str, str]], source: str) -> _Step:
    _, sign = tokens.pop(0)
    kind, token = tokens.pop(0) if tokens else ("", "")
    if sign == ".":
        if kind != "name":
            raise _not_simple(source)
        return _Step(token, is_subscript=False)
    key = _literal(kind, token) if kind in {"text", "number"} else None
    if isinstance(key, float) or key is None or not tokens or tokens.pop(0) != ("sign", "]"):
        raise _not_simple(source)
    return _Step(key, is_subscript=True)


def _literal(kind: str, token: str) -> str | int | float:
    if kind == "text":
        return token[1:-1]
    return float(token) if "." in token else int(token)


def _not_simple(source: str) -> TemplateFault:
    return TemplateFault(
        f"the template {source!r} is more than names, attributes, subscripts and `or`: only a task process renders it"
    )


def _check_paths(terms: tuple[_Literal | _Path, ...]) -> None:
    for term in terms:
        if isinstance(term, _Path) and not _is_known(term):
            raise TemplateFault(f"the daemon does not know {term}")


def _is_known(path: _Path) -> bool:
    here: Any = NAMES.get(path.root)
    for step in path.steps:
        if isinstance(here, Mapping):
            here = here.get(step.key)
        elif here is _Leaf.MOMENT:
            here = _Leaf.PLAIN if step.key in MOMENT_PARTS else None
        elif here is _Leaf.JSON:
            here = here if step.is_subscript or not _is_attribute(step.key) else None
        else:
            return False
    return isinstance(here, _Leaf)


def _is_attribute(name: str | int) -> bool:
    return str(name).startswith("_") or name in METHODS


# --- evaluating --------------------------------------------------------------------------------------------------


def _evaluate(terms: tuple[_Literal | _Path, ...], names: Mapping[str, Any]) -> Any:
    """The first true value, else the last."""
    value: Any = None
    for term in terms:
        value = term.value if isinstance(term, _Literal) else _look_up(term, names)
        if value:
            break
    return value


def _look_up(path: _Path, names: Mapping[str, Any]) -> Any:
    if not _is_known(path):
        raise TemplateFault(f"the daemon does not know {path}; its task must be rendered in a process")
    if path.root not in names:
        raise TemplateFault(
            f"the dag run has no {path.root}: it was started without a logical date. Start it with one "
            "(`leoflow runs trigger --logical-date`), or use a name that each run has, such as dag_run.run_after"
        )
    value = names[path.root]
    for step in path.steps:
        try:
            value = getattr(value, str(step.key)) if isinstance(value, datetime) else value[step.key]
        except (LookupError, TypeError, AttributeError):
            raise TemplateFault(f"{path} does not exist: nothing is known of {step.key!r} there") from None
    return value
