"""What Lite needs once is made side by side, and told of when all of it has ended."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from leoflowd.lite import setup
from leoflowd.lite.environments import Environments
from leoflowd.lite.ui_assets import UiUnavailable

PATIENCE_S = 60


def test_all_three_are_made_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other two."""
    together = threading.Barrier(3)

    def made(self: Any = None, *args: Any, **kwargs: Any) -> Path:
        together.wait(PATIENCE_S)
        return tmp_path

    monkeypatch.setattr(setup, "prepare_ui", made)
    monkeypatch.setattr(setup, "prepare_packages", made)
    monkeypatch.setattr(Environments, "ensure", made)
    assert setup.prepare(tmp_path, print) == setup.Prepared(tmp_path, tmp_path)


@pytest.mark.parametrize("failing", ["prepare_ui", "prepare_packages"])
def test_what_cannot_be_made_is_told_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    ended: list[str] = []

    def fails(*args: Any, **kwargs: Any) -> Path:
        raise UiUnavailable("no network")

    def builds(self: Any, *args: Any) -> Path:
        ended.append("environment")
        return tmp_path

    monkeypatch.setattr(setup, "prepare_ui", lambda *args, **kwargs: tmp_path)
    monkeypatch.setattr(setup, "prepare_packages", lambda *args, **kwargs: tmp_path)
    monkeypatch.setattr(Environments, "ensure", builds)
    monkeypatch.setattr(setup, failing, fails)
    with pytest.raises(UiUnavailable, match="no network"):
        setup.prepare(tmp_path, print)
    assert ended == ["environment"]
