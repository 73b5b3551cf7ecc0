"""What the two sides tell from names: which classes are the project's, where a stall happened, what is passed on."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec
import pytest

from leoflow_agent.runner import secret_forms
from leoflow_agent.trigger_host import channel
from leoflow_agent.trigger_host.classes import names_dag_file
from leoflow_agent.trigger_host.watchdog import stack_of
from leoflowd.cheap_tasks.trigger_host_line import HostKey
from leoflowd.cheap_tasks.trigger_host_process import (
    MOST_LOGS,
    comes_from_bundle,
    host_environment,
    host_program,
    prune_logs,
)
from leoflowd.contract.waits import TriggerCall

CALL = TriggerCall(
    classpath="",
    kwargs={},
    environment={},
    bundle_digest="d1",
    source_path="jobs/daily.py",
    dag_id="d",
    run_id="r",
    task_id="t",
    map_index=-1,
    try_number=1,
    try_id="i",
)


@pytest.mark.parametrize(
    ("classpath", "is_the_projects"),
    [
        ("mine.Trigger", True),
        ("package.deep.Trigger", True),
        ("daily.Trigger", True),
        ("leoflow_dag_daily.Trigger", True),
        (f"unusual_prefix_{'a1' * 20}_daily.Trigger", True),
        ("unusual_prefix_zz_daily.Trigger", False),
        ("installed.Trigger", False),
        ("airflow.triggers.Trigger", False),
    ],
)
def test_a_class_is_the_projects_when_its_module_is_there(
    tmp_path: Path, classpath: str, is_the_projects: bool
) -> None:
    (tmp_path / "mine.py").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "airflow").mkdir()  # a project cannot take that name away
    assert comes_from_bundle(msgspec.structs.replace(CALL, classpath=classpath), tmp_path) is is_the_projects


@pytest.mark.parametrize("module", ["daily", "leoflow_dag_daily", "unusual_prefix_0f_daily"])
def test_a_dag_file_is_known_by_each_of_its_names(module: str) -> None:
    assert names_dag_file(module, "jobs/daily.py")


def test_another_module_is_no_dag_file() -> None:
    assert not names_dag_file("daily_helpers", "jobs/daily.py")


def test_a_stack_begins_with_the_authors_own_line() -> None:
    found: list[FrameType | None] = []

    def deep() -> None:
        sorted([1], key=lambda _: found.append(sys._getframe()) or 0)

    deep()
    first, second = stack_of(found[0])[:2]
    assert first.startswith(__file__)
    assert first.endswith("in <lambda>")
    assert second.endswith("in deep")


def test_a_stack_of_the_standard_library_alone_is_shown_all_the_same() -> None:
    code = compile("import sys\nframe = sys._getframe()", time.__spec__.origin or "", "exec")
    assert stack_of(None) == []
    namespace: dict[str, FrameType] = {}
    exec(code, namespace)
    assert stack_of(namespace["frame"])


def test_secrets_of_the_daemon_stay_out_of_a_host() -> None:
    source = {"LEOFLOW_SECRETS_KEYS": "k", "AIRFLOW_CONN_API": "http://h", "HOME": "/h", "PATH": "/p"}
    assert host_environment("/venv/bin/python", source) == {
        "AIRFLOW_CONN_API": "http://h",
        "HOME": "/h",
        "PATH": "/venv/bin:/p",
    }


def test_tasks_and_triggers_hide_secrets_of_the_same_length() -> None:
    assert channel._MIN_HIDDEN_LENGTH == secret_forms.MIN_LENGTH


def test_the_program_of_a_host_is_there() -> None:
    assert host_program().is_file()


def test_different_hosts_have_different_logs() -> None:
    key = HostKey("/venv/bin/python", "shim", "d1")
    assert key.name != msgspec.structs.replace(key, group="only w1").name


def test_only_the_newest_logs_are_kept_and_never_the_one_in_use_removed(tmp_path: Path) -> None:
    for index in range(MOST_LOGS + 5):
        file = tmp_path / f"h{index}.log"
        file.touch()
        os.utime(file, (index, index))
    prune_logs(tmp_path, keep=tmp_path / "h0.log")
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == MOST_LOGS
    assert {"h0.log", f"h{MOST_LOGS + 4}.log"} <= left
    assert "h1.log" not in left
