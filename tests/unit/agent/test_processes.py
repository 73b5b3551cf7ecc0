"""What the kernel says about the processes of a try."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leoflow_agent.processes import is_group_frozen


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """A process that leads a group, and its child in it."""
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    assert leader.stdout is not None
    with leader.stdout:
        yield leader.pid, int(leader.stdout.readline())
    signal_all(leader.pid, signal.SIGKILL)
    leader.wait()


def signal_all(group: int, number: int) -> None:
    subprocess.run(["kill", f"-{number}", "--", f"-{group}"], check=True)


def _stop(pid: int) -> None:
    """Returns when the process has stopped."""
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    while "\nState:\tT" not in Path(f"/proc/{pid}/status").read_text():
        pass


def test_a_group_is_frozen_when_all_of_it_is(pair):
    leader, child = pair
    assert not is_group_frozen(leader)
    _stop(leader)
    assert not is_group_frozen(leader)  # a child still works
    _stop(child)
    assert is_group_frozen(leader)


def test_a_leader_that_waits_for_its_stopped_child_is_not_frozen(pair):
    leader, child = pair
    _stop(child)
    assert not is_group_frozen(leader)


def test_a_group_that_is_gone_is_not_frozen():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not is_group_frozen(ended.pid)
