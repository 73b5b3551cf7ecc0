"""What Lite needs once on a machine: the UI, the default task environment, and what our own pages use if it can be had.

`leoflow setup` shows it with progress, `leoflow lite` calls it at every start: what exists costs nothing and touches
no network. Blocking code; a thread's work for callers on Trio.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.ui_builds import UI_VERSION
from leoflowd.lite.environments import Environments
from leoflowd.lite.npm_packages import prepare_packages
from leoflowd.lite.postgres import reachable_by_others, server_user
from leoflowd.lite.ui_assets import prepare_ui


class Prepared(msgspec.Struct, frozen=True):
    """Where the prepared things are."""

    ui_dir: Path
    python: Path
    """Interpreter of the default environment."""


def prepare(data_dir: Path, say: Callable[[str], None], *, ui_version: str = UI_VERSION) -> Prepared:
    """Make what is missing, side by side: a first start mostly waits for a network.

    Raises `UiUnavailable` or `EnvironmentFailed`, which say what to do, when all of it has ended.
    """
    make_data_dir(data_dir)
    with ThreadPoolExecutor() as threads:
        ui_dir = threads.submit(prepare_ui, data_dir / "ui", progress=say, version=ui_version)
        packages = threads.submit(prepare_packages, data_dir / "packages", progress=say)
        python = threads.submit(Environments(data_dir).ensure, EnvironmentSpec(), say)
    packages.result()
    return Prepared(ui_dir.result(), python.result())


def make_data_dir(data_dir: Path) -> None:
    """The folder that holds everything of this installation, its owner's alone; an older one is closed now (ADR 24).

    As root the embedded Postgres runs as another user, who must pass through it: then others may, and see no names.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    needs_passage = server_user() is not None and reachable_by_others(data_dir.parent)
    data_dir.chmod(0o711 if needs_passage else 0o700)
