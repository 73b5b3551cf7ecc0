"""Waiting for files: what counts as there, and where relative paths begin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from leoflow_sensors.file import KIND, FileSpec, folder_of, judge, poke, poke_many, watch
from leoflow_sensors.kinds import NoPredicate, Observation, ProbeFailed, Verdict
from tests.fakes.probe_context import Context, connection


async def look(path: str, *, recursive: bool = False, base: object = None) -> Observation:
    facts = None if base is None else connection("fs", extra={"path": base})
    return await poke(FileSpec(path=path, recursive=recursive), Context(facts))


async def is_there(path: Path | str, *, recursive: bool = False) -> bool:
    return bool((await look(str(path), recursive=recursive)).value)


async def test_a_file_that_is_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert await is_there(tmp_path / "a.csv")
    assert not await is_there(tmp_path / "b.csv")


async def test_an_empty_folder_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    assert not await is_there(tmp_path / "in")


async def test_a_folder_counts_with_a_file_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.csv").touch()
    assert await is_there(tmp_path / "in")


async def test_a_glob_finds_any_match(tmp_path: Path) -> None:
    (tmp_path / "a-1.csv").touch()
    assert await is_there(tmp_path / "*-[0-9].csv")
    assert not await is_there(tmp_path / "*.json")


async def test_a_glob_does_not_find_hidden_files(tmp_path: Path) -> None:
    (tmp_path / ".part").touch()
    assert not await is_there(tmp_path / "*")


async def test_two_stars_mean_any_depth_only_when_recursive(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.csv").touch()
    assert not await is_there(tmp_path / "**" / "x.csv")
    assert await is_there(tmp_path / "**" / "x.csv", recursive=True)


async def test_a_match_that_is_an_empty_folder_does_not_hide_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").touch()
    assert await is_there(tmp_path / "[ab]")


async def test_a_relative_path_begins_at_the_connections_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert (await look("a.csv", base=str(tmp_path))).value


async def test_an_absolute_path_leaves_the_connections_path_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert (await look(str(tmp_path / "a.csv"), base="/elsewhere")).value


@pytest.mark.parametrize("base", [None, ""])
async def test_without_a_base_a_relative_path_begins_at_the_root(tmp_path: Path, base: str | None) -> None:
    (tmp_path / "a.csv").touch()
    assert (await look(str(tmp_path / "a.csv").removeprefix("/"), base=base)).value


async def test_a_base_that_is_no_text_is_an_error() -> None:
    with pytest.raises(ProbeFailed, match="the extra `path` of connection 'its_fs' is no text"):
        await look("a.csv", base=["/data"])


async def test_many_paths_are_looked_at_together(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    found = await poke_many([FileSpec(path=str(tmp_path / name)) for name in "abc"], Context())
    assert [one.value for one in found if isinstance(one, Observation)] == [False, True, False]


async def test_a_look_says_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert (await look(str(tmp_path / "in"))).summary == f"no such file: {tmp_path / 'in'}"
    (tmp_path / "in" / "a").touch()
    assert (await look(str(tmp_path / "in"))).summary == f"found a file in {tmp_path / 'in'}"
    assert (await look(str(tmp_path / "in" / "a"))).summary.startswith(f"found {tmp_path / 'in' / 'a'}, modified 20")


def test_the_event_is_file_triggers() -> None:
    seen = [Observation(value=value, summary="") for value in (True, False)]
    assert [judge(NoPredicate(), one) for one in seen] == [Verdict(met=True, event=True), Verdict(met=False)]


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="file needs a path"):
        msgspec.convert({"path": ""}, FileSpec)


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "folder"),
    [("/in/a.csv", "/in"), ("/in/*/x/a.csv", "/in"), ("/in/2026-[01]*.csv", "/in"), ("/a", "/"), ("/*/a", "/")],
)
def test_the_folder_of_a_path_has_no_wildcards(path: str, folder: str) -> None:
    assert folder_of(path) == folder


def test_paths_of_one_folder_are_one_batch() -> None:
    assert KIND.batch_key is not None
    assert KIND.batch_key(FileSpec(path="/in/a")) == KIND.batch_key(FileSpec(path="/in/b"))
    assert KIND.batch_key(FileSpec(path="/in/a")) != KIND.batch_key(FileSpec(path="/mnt/a"))


def test_the_budget_is_the_folders_below_the_connections_path() -> None:
    assert KIND.target is not None
    assert KIND.target(FileSpec(path="in/a"), connection("fs", extra={"path": "/data"})) == "file:///data/in"


class _Watcher:
    def __init__(self) -> None:
        self.folders: list[str] = []

    def directory(self, path: str, wake: Callable[[], None]) -> Callable[[], None]:
        self.folders.append(path)
        return self.folders.clear


def test_the_folder_is_watched() -> None:
    watcher = _Watcher()
    end = watch(FileSpec(path="/in/*.csv"), watcher, lambda: None)  # type: ignore[arg-type]  # the one source it uses
    assert watcher.folders == ["/in"]
    end()
    assert watcher.folders == []


def test_a_relative_path_is_only_polled() -> None:
    watcher = _Watcher()
    watch(FileSpec(path="in/a"), watcher, lambda: None)()  # type: ignore[arg-type]  # the one source it uses
    assert watcher.folders == []
