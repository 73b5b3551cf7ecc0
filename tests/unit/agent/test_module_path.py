"""Where the files of a bundle import from, in processes without the shim."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leoflow_agent.runner import module_path
from tests.fakes.dag_trees import plant


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("clone_of_ours", "iniconfig")]:
        del sys.modules[name]


def test_folders_come_behind_what_is_installed(tmp_path: Path) -> None:
    module_path.put(str(plant(tmp_path, {"dags/x.py": ""})), ["dags", "."])
    assert sys.path[-2:] == [f"{tmp_path}/dags", str(tmp_path)]


@pytest.mark.parametrize("init", [{}, {"__init__.py": "NAME = 'x'\n"}])
def test_the_bundle_may_be_a_package(tmp_path: Path, init: dict[str, str]) -> None:
    module_path.put(str(plant(tmp_path, {"lib/parts.py": "HERE = __name__\n", **init})), ["clone_of_ours=."])
    assert importlib.import_module("clone_of_ours.lib.parts").HERE == "clone_of_ours.lib.parts"
    assert getattr(importlib.import_module("clone_of_ours"), "NAME", None) == ("x" if init else None)


def test_an_installed_package_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module_path.put(str(plant(tmp_path, {"__init__.py": "raise RuntimeError"})), ["iniconfig=."])
    monkeypatch.delitem(sys.modules, "iniconfig", raising=False)
    assert importlib.import_module("iniconfig").IniConfig
