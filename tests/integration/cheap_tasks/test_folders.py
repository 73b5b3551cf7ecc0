"""inotify on real folders: what appears wakes whoever waits for it, even if the folder itself has to appear first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.lowlevel

from leoflowd.cheap_tasks.push import Folders
from tests.conftest import PATIENCE_S

AT_MOST_S = PATIENCE_S


class Woken:
    def __init__(self) -> None:
        self.times = 0
        self.event = trio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.event.set()

    async def wait(self) -> None:
        with trio.fail_after(AT_MOST_S):
            await self.event.wait()
        self.event = trio.Event()


@asynccontextmanager
async def watching(folders: Folders) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(folders.run)
        yield
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(AT_MOST_S):
        while not condition():  # noqa: ASYNC110  # the kernel's watches are arranged in a thread, which tells nobody
            await trio.sleep(0.001)


async def settled(folders: Folders, *paths: Path) -> None:
    """Until the kernel watches for all of them."""
    await until(lambda: not folders._stale and all(str(path) in folders._watch_of for path in paths))


async def moved(folders: Folders, path: Path, before: int) -> None:
    """Until the kernel watches another folder for it than `before`."""
    await until(lambda: folders._watch_of.get(str(path)) not in (None, before))


async def test_a_new_file_wakes(tmp_path: Path) -> None:
    folders, woken = Folders(), Woken()
    folders.subscribe(str(tmp_path), woken)
    async with watching(folders):
        await settled(folders, tmp_path)
        (tmp_path / "in.csv").write_text("x")
        await woken.wait()


async def test_a_folder_that_does_not_exist_yet_is_watched_once_it_does(tmp_path: Path) -> None:
    folders, woken = Folders(), Woken()
    deep = tmp_path / "a" / "b"
    folders.subscribe(str(deep), woken)
    async with watching(folders):
        await settled(folders, deep)
        for folder in (tmp_path / "a", deep):
            before = folders._watch_of[str(deep)]
            folder.mkdir()
            await woken.wait()
            await moved(folders, deep, before)
        (deep / "in.csv").write_text("x")
        await woken.wait()


async def test_neighbours_of_a_missing_folder_wake_nobody(tmp_path: Path) -> None:
    folders, woken, other = Folders(), Woken(), Woken()
    folders.subscribe(str(tmp_path / "missing"), woken)
    folders.subscribe(str(tmp_path), other)
    async with watching(folders):
        await settled(folders, tmp_path / "missing", tmp_path)
        (tmp_path / "something else").write_text("x")
        await other.wait()
    assert woken.times == 0


async def test_a_folder_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path) -> None:
    folders, woken = Folders(), Woken()
    folder = tmp_path / "in"
    folder.mkdir()
    folders.subscribe(str(folder), woken)
    async with watching(folders):
        await settled(folders, folder)
        first = folders._watch_of[str(folder)]
        folder.rmdir()
        await woken.wait()
        await moved(folders, folder, first)
        folder.mkdir()
        await woken.wait()


async def test_a_burst_is_one_wake(tmp_path: Path) -> None:
    folders, woken, last = Folders(), Woken(), Woken()
    folders.subscribe(str(tmp_path), woken)
    async with watching(folders):
        await settled(folders, tmp_path)
        for number in range(200):
            (tmp_path / f"{number}").touch()
        await woken.wait()
        folders.subscribe(str(tmp_path), last)
        (tmp_path / "last").touch()
        await last.wait()
    assert woken.times == 2


async def test_whoever_ends_is_woken_no_more_and_leaves_no_watch(tmp_path: Path) -> None:
    folders, woken = Folders(), Woken()
    end = folders.subscribe(str(tmp_path), woken)
    async with watching(folders):
        await settled(folders, tmp_path)
        end()
        await until(lambda: not folders._watch_of)
        (tmp_path / "x").touch()
        await trio.lowlevel.checkpoint()
    assert woken.times == 0
    assert folders._paths_of == {}
