"""A room that an import contract does not name may import what it likes: each names every room that it concerns."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
ROOMS = {path.parent.name for path in (REPOSITORY / "leoflowd").glob("*/__init__.py")}
AUTHORS = {"cli", "authoring"}
FOR_ALL = {"config", "telemetry", "supervision"}
"""Modules, not rooms, that anyone above `core` may use."""
MAY_KNOW_SENSORS = {"cheap_tasks", "assembly", "cli", "contract"}
"""`contract` has a contract of its own; `cli` runs a try without a daemon."""


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (found,) = [one for one in settings["tool"]["importlinter"]["contracts"] if one["name"].startswith(name)]
    return found


def rooms(names: list[str]) -> set[str]:
    return {name.removeprefix("leoflowd.") for name in names if name.startswith("leoflowd.")}


def test_every_room_has_its_place_in_the_layers() -> None:
    layers = [*contract("The daemon's layers")["layers"], *contract("The author's side")["layers"]]
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    assert named >= ROOMS


def test_contract_and_what_all_may_use_import_no_room() -> None:
    assert rooms(contract("contract imports nothing")["forbidden_modules"]) >= (ROOMS | FOR_ALL) - {"contract"}
    assert rooms(contract("config, telemetry and supervision")["forbidden_modules"]) >= ROOMS - {"contract"}


def test_the_cli_imports_no_room_of_the_daemon() -> None:
    assert rooms(contract("the cli speaks HTTP")["forbidden_modules"]) >= ROOMS - AUTHORS - {"contract", "core"}


def test_no_room_of_the_cluster_knows_lite_or_the_authors_side() -> None:
    found = contract("nothing of the cluster imports Lite")
    assert rooms(found["source_modules"]) >= ROOMS - AUTHORS - {"lite", "contract", "assembly"}
    assert rooms(found["forbidden_modules"]) >= AUTHORS | {"lite"}


def test_only_the_pool_knows_sensors() -> None:
    found = contract("only the cheap-task pool knows sensors")
    assert rooms(found["source_modules"]) >= ROOMS - MAY_KNOW_SENSORS
    assert set(found["forbidden_modules"]) == {"leoflow_agent", "leoflow_sensors"}


def test_agent_and_sensors_import_no_room_but_the_contract() -> None:
    assert rooms(contract("agent and sensors know")["forbidden_modules"]) >= (ROOMS | FOR_ALL) - {"contract"}
