"""Which kinds there are: ours, and those of installed distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflow_sensors import BrokenKind, load_kinds

KIND = """
from leoflow_sensors.kinds import KindSpec, NoPredicate, SensorKind

class TideSpec(KindSpec, frozen=True, kw_only=True):
    harbour: str

async def poke(spec, context): ...

KIND = SensorKind(name={name!r}, spec=TideSpec, predicate=NoPredicate, describe=str, {functions})
"""


class Site:
    """A folder on the import path, into which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self, name: str, code: str, attribute: str = "KIND") -> None:
        module = f"kind_of_{name}_{self._folder.name}".replace("-", "_")
        (self._folder / f"{module}.py").write_text(code)
        info = self._folder / f"leoflow_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: leoflow-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[leoflow.sensors]\n{name} = {module}:{attribute}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)


def test_all_kinds_of_adr_13_are_there() -> None:
    assert set(load_kinds()) == {
        "time",
        "time_of_day",
        "day_of_week",
        "external_task",
        "file",
        "http",
        "sql",
        "redis_key",
        "object_key",
        "kubernetes_object",
        "webhook",
    }


def test_every_kind_is_either_timed_or_probed() -> None:
    assert [name for name, kind in load_kinds().items() if (kind.due_at is None) == (kind.poke is None)] == []


def test_a_kind_that_takes_many_says_which_go_together() -> None:
    assert [name for name, kind in load_kinds().items() if (kind.poke_many is None) != (kind.batch_key is None)] == []


def test_a_distribution_adds_a_kind(site: Site) -> None:
    site.install("tide", KIND.format(name="tide", functions="poke=poke"))
    assert load_kinds()["tide"].name == "tide"


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        (
            "tide",
            "import no_such_library",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("tide", "OTHER = 1", "cannot be imported: AttributeError"),
        ("tide", "KIND = 'tide'", "it is a str, not a leoflow_sensors.kinds.SensorKind"),
        ("tide", KIND.format(name="ebb", functions="poke=poke"), "it calls itself 'ebb'"),
        ("tide", KIND.format(name="tide", functions=""), "must have either `poke` or `due_at`"),
        ("file", KIND.format(name="file", functions="poke=poke"), "there is a kind 'file' already"),
    ],
)
def test_a_broken_kind_names_its_distribution_and_what_is_wrong(site: Site, name: str, code: str, why: str) -> None:
    site.install(name, code)
    with pytest.raises(BrokenKind) as caught:
        load_kinds()
    assert why in str(caught.value)
    assert f"Update or uninstall leoflow-{name}, then start the daemon again" in str(caught.value)
