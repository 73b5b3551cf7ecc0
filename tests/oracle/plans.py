"""Generated DAGs and the outcomes of their tries, as plain data that both sides of the oracle read.

`plan_of(seed)` is the DAG; what a try does follows from (seed, task, map_index, try) alone, so that it means the same
here and inside of Airflow. Standard library only: Airflow's interpreter imports this file too.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

Plan = dict[str, Any]
"""`seed`, `tasks` (upstream first) and `groups`: id -> mapping. A mapping is {"task": id}, {"length": n}, or
{"zip": [{"task": id}, {"task": id}]}; a task is
{id, ups, rule, retries, kind, mapping, group, ignores}; kinds: plain, empty, branch, short, setup, teardown."""

RULES = (
    "all_success", "all_failed", "all_done", "all_done_min_one_success", "all_skipped", "one_success", "one_failed",
    "one_done", "none_failed", "none_failed_min_one_success", "none_skipped", "always",
)  # fmt: skip
"""All but `all_done_setup_success`, which is what a teardown has."""
TASKS_MAX = 8
MAX_LENGTH = 3
IN_GROUP_MAX = 3
WIDE_FROM = 1000
"""Seeds from here on also defer, reschedule, fail for good, and map over zips; those below stay as they were."""


def plan_of(seed: int) -> Plan:
    chance = random.Random(seed)
    is_wide = seed >= WIDE_FROM
    tasks: list[dict[str, Any]] = []
    groups: dict[str, dict[str, Any]] = {}
    count = chance.randint(3, TASKS_MAX)
    while len(tasks) < count:
        if tasks and chance.random() < 0.2:
            _add_group(chance, tasks, groups, is_wide=is_wide)
        else:
            tasks.append(_task(chance, tasks, is_wide=is_wide))
    return repaired({"seed": seed, "tasks": tasks, "groups": groups})


def _task(chance: random.Random, before: list[dict[str, Any]], *, is_wide: bool) -> dict[str, Any]:
    ups = chance.sample([task["id"] for task in before], min(len(before), chance.choice((0, 1, 1, 1, 2, 2, 3))))
    kind = chance.choices(
        ("plain", "empty", "branch", "short", "setup", "teardown"), weights=(60, 8, 10, 8, 8, 6)
    )[0]  # fmt: skip
    mapping = None
    if kind != "empty" and chance.random() < 0.25:
        mapping = _mapping(chance, ups, is_wide=is_wide)
    return {
        "id": f"t{len(before)}",
        "ups": ups,
        "rule": "all_success" if chance.random() < 0.4 else chance.choice(RULES),
        "retries": chance.choice((0, 0, 1)),
        "kind": kind,
        "mapping": mapping,
        "group": None,
        "ignores": chance.random() < 0.5,
    }


def _mapping(chance: random.Random, ups: list[str], *, is_wide: bool) -> dict[str, Any]:
    if is_wide and ups and chance.random() < 0.4:
        return {"zip": [{"task": chance.choice(ups)}, {"task": chance.choice(ups)}]}
    if ups and chance.random() < 0.6:
        return {"task": chance.choice(ups)}
    return {"length": chance.randint(0, MAX_LENGTH)}


def _add_group(
    chance: random.Random, tasks: list[dict[str, Any]], groups: dict[str, dict[str, Any]], *, is_wide: bool
) -> None:
    group_id = f"g{len(groups)}"
    groups[group_id] = _mapping(chance, [task["id"] for task in tasks], is_wide=is_wide)
    for _ in range(chance.randint(1, IN_GROUP_MAX)):
        tasks.append({**_task(chance, tasks, is_wide=is_wide), "mapping": None, "group": group_id})


def repaired(plan: Plan) -> Plan:
    """The plan without what no DAG may have; again after tasks were dropped."""
    tasks = [dict(task) for task in plan["tasks"]]
    by_id = {task["id"]: task for task in tasks}
    groups = {
        name: mapping if by_id.keys() >= tasks_in(mapping) else {"length": 2}
        for name, mapping in plan["groups"].items()
        if any(task["group"] == name for task in tasks)
    }
    for task in tasks:
        task["ups"] = sorted({up for up in task["ups"] if up in by_id})
        _repair_mapping(task, groups, by_id)
        _repair_rule(task, by_id)
    return {"seed": plan["seed"], "tasks": tasks, "groups": groups}


def _repair_mapping(task: dict[str, Any], groups: dict[str, Any], by_id: dict[str, Any]) -> None:
    """What is mapped over comes before; of a group, before its first tasks."""
    group = groups.get(task["group"])
    sources = tasks_in(task["mapping"] or group)
    is_first = not any(by_id[up]["group"] == task["group"] for up in task["ups"])
    if task["mapping"] is not None and not by_id.keys() >= sources:
        task["mapping"] = {"length": 2}
    elif task["mapping"] is not None or (group is not None and is_first):
        task["ups"] = sorted({*task["ups"], *sources})


def tasks_in(mapping: dict[str, Any] | None) -> set[str]:
    """Whose outputs it takes its items from."""
    if mapping is None:
        return set()
    own = {mapping["task"]} if "task" in mapping else set()
    return own.union(*map(tasks_in, mapping.get("zip", ())))


def _repair_rule(task: dict[str, Any], by_id: dict[str, Any]) -> None:
    """A teardown has a setup and its own rule; what follows a setup has all_success."""
    has_setup = any(by_id[up]["kind"] == "setup" for up in task["ups"])
    if task["kind"] == "teardown" and not has_setup:
        task["kind"] = "plain"
    if task["kind"] == "teardown":
        task["rule"] = "all_done_setup_success"
    elif has_setup or task["rule"] == "all_done_setup_success" or (task["group"] and task["rule"] == "always"):
        task["rule"] = "all_success"  # Airflow refuses `always` in a group that maps over a task


def without(plan: Plan, task_id: str) -> Plan:
    """A smaller DAG; what waited for the task waits for what that waited for."""
    gone = next(task for task in plan["tasks"] if task["id"] == task_id)
    tasks = [
        {**task, "ups": [*task["ups"], *gone["ups"]] if task_id in task["ups"] else task["ups"]}
        for task in plan["tasks"]
        if task is not gone
    ]
    return repaired({**plan, "tasks": tasks})


# --- what a try does ---------------------------------------------------------------------------------------------


def outcome_of(plan: Plan, task: dict[str, Any], map_index: int, try_number: int) -> str:
    if task["kind"] == "empty":
        return "success"
    options = ("success",) * 7 + ("failed",) * 3 + ("skipped",)
    if plan["seed"] >= WIDE_FROM:
        options += ("failed_for_good",)
    return _choice(plan, "outcome", task["id"], map_index, try_number, options)


def pause_of(plan: Plan, task: dict[str, Any], map_index: int, try_number: int) -> str | None:
    """How the try gives its process back before it comes to that outcome: `deferred`, `reschedule`, or not at all."""
    if plan["seed"] < WIDE_FROM or task["kind"] == "empty":
        return None
    return _choice(plan, "pause", task["id"], map_index, try_number, (None, None, None, "deferred", "reschedule"))


def returned_by(plan: Plan, task: dict[str, Any], map_index: int) -> list[int] | None:
    """What it returns, if others map over it; an instance of a mapped task may return nothing."""
    length = _choice(plan, "length", task["id"], map_index, 0, (0, 1, 2, 2, MAX_LENGTH))
    return None if length == 0 and map_index >= 0 else list(range(length))


def choice_of(plan: Plan, task: dict[str, Any], map_index: int) -> tuple[dict[str, list[str]], list[str]] | None:
    """What a decider that succeeded pushes as `skipmixin_key`, and whom it skips; None if it decides nothing.

    As `skip_all_except` of a branch, and `ShortCircuitOperator`, work it out of the graph. An instance of a mapped task
    skips nobody at once: what it chose is asked for when their turn comes.
    """
    down = [one["id"] for one in plan["tasks"] if task["id"] in one["ups"]]
    if task["kind"] not in ("branch", "short") or not down:
        return None
    if task["kind"] == "branch":
        chosen = [one for one in down if _choice(plan, "follows", task["id"], map_index, one, (True, False))]
        followed = sorted({*chosen, *(below for one in chosen for below in _below(plan, one))})
        return {"followed": followed}, [one for one in down if one not in followed] if map_index < 0 else []
    if _choice(plan, "condition", task["id"], map_index, 0, (True, False)):
        return None
    teardowns = {one["id"] for one in plan["tasks"] if one["kind"] == "teardown"}
    skipped = [one for one in (_below(plan, task["id"]) if task["ignores"] else down) if one not in teardowns]
    return ({"skipped": skipped}, skipped if map_index < 0 else []) if skipped else None


def _below(plan: Plan, task_id: str) -> list[str]:
    found = {task_id}
    for task in plan["tasks"]:
        if found.intersection(task["ups"]):
            found.add(task["id"])
    return sorted(found - {task_id})


def sources_of(plan: Plan) -> set[str]:
    """Tasks whose output is mapped over."""
    return set().union(*map(tasks_in, (*(task["mapping"] for task in plan["tasks"]), *plan["groups"].values())))


def _choice(plan: Plan, *what: Any) -> Any:
    *key, options = what
    digest = hashlib.sha256(repr((plan["seed"], *key)).encode()).digest()
    return options[int.from_bytes(digest[:4], "big") % len(options)]
