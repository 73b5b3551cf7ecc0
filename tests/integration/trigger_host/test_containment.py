"""Triggers that stall, kill or fill their host, and hosts that are killed: the others wait on undisturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import trio

from leoflowd.cheap_tasks.trigger_hosts import TriggerHosts
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.errors import LeoflowError
from tests.integration.trigger_host.conftest import SHIM, WITHIN_S, Running, World

WAITS_FOR_FILE = """
    class WaitsForFile(Base):
        async def run(self):
            with open(self.kwargs["file"] + ".starts", "a") as starts:
                starts.write("x")
            while not pathlib.Path(self.kwargs["file"]).exists():
                await asyncio.sleep(0.01)
            yield TriggerEvent(os.getpid())
"""


def starts_of(file: Path) -> int:
    counted = file.with_name(f"{file.name}.starts")
    return len(counted.read_text()) if counted.exists() else 0


async def test_a_killed_host_is_started_again_and_the_event_comes_once(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file) == 1)
        killed = hosts.statistics().hosts[0].pid
        os.kill(killed, signal.SIGKILL)
        await world.until(lambda: starts_of(file) == 2)
        file.touch()
        end = await world.end_of("w1")
    assert end.event != killed
    assert len(world.ends) == 1
    assert hosts.statistics().restarts == 1


async def test_what_a_host_said_before_it_was_killed_counts(world: World, running: Running) -> None:
    world.write("""
        class FiresAndDies(Base):
            async def run(self):
                yield TriggerEvent("said")
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("FiresAndDies"))
        assert (await world.end_of("w1")).event == "said"
        await world.until(lambda: not hosts.statistics().hosts)
    assert len(world.ends) == 1


async def test_a_trigger_that_ends_its_host_is_set_apart_and_fails_at_the_third_time(
    world: World, running: Running
) -> None:
    world.write(
        WAITS_FOR_FILE
        + """
    class Dies(Base):
        async def run(self):
            await asyncio.sleep(0.05)
            os._exit(9)
            yield
"""
    )
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("good", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file) == 1)
        hosts.start("bad", world.call("Dies"))
        end = await world.end_of("bad")
        await world.until(lambda: starts_of(file) == 2)
        file.touch()
        await world.end_of("good")
    assert "ended its trigger host 3 times" in end.error
    assert "exit code 9" in end.error
    assert starts_of(file) == 2  # only the first of the three ends was its own host's


async def test_a_trigger_that_blocks_the_loop_is_named_set_apart_and_fails_at_last(
    world: World, running: Running
) -> None:
    world.config = TriggerHostsConfig(host_silence_s=2.0)
    world.write(
        WAITS_FOR_FILE
        + """
    class Blocks(Base):
        async def run(self):
            await asyncio.sleep(0.05)
            time.sleep(3600)
            yield
"""
    )
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("good", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file) == 1)
        hosts.start("bad", world.call("Blocks"))
        await world.until(lambda: "held up the event loop" in hosts.explain("bad"))
        told = hosts.explain("bad")
        await world.until(lambda: any(host.group == "only bad" for host in hosts.statistics().hosts))
        end = await world.end_of("bad")
        file.touch()
        await world.end_of("good")
    assert "triggers.py:" in told
    assert " in run " in told
    assert "its event loop did not run for 2 s" in end.error
    assert any("triggers.py" in line for line in end.traceback)
    assert starts_of(file) == 2


async def test_a_trigger_that_leaks_is_parted_from_the_others_and_fails(world: World, running: Running) -> None:
    world.config = TriggerHostsConfig(rss_limit_bytes=150 * 1024 * 1024)
    world.write(
        WAITS_FOR_FILE
        + """
    class Leaks(Base):
        async def run(self):
            kept = []
            while True:
                kept.append(bytearray(20_000_000))
                await asyncio.sleep(0.02)
            yield
"""
    )
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("good", world.call("WaitsForFile", file=str(file)))
        hosts.start("bad", world.call("Leaks"))
        end = await world.end_of("bad")
        file.touch()
        await world.end_of("good")
    assert "more than the limit of 157 MB" in end.error


async def test_a_host_that_is_too_large_is_started_again_without_cleanup(world: World, running: Running) -> None:
    world.config = TriggerHostsConfig(rss_limit_bytes=150 * 1024 * 1024)
    world.write("""
        class LeaksOnce(Base):
            async def run(self):
                if not pathlib.Path(self.kwargs["file"]).exists():
                    pathlib.Path(self.kwargs["file"]).touch()
                    self.kept = bytearray(200_000_000)
                    await asyncio.sleep(3600)
                yield TriggerEvent("done")

            async def cleanup(self):
                self.log.info("cleaned up")
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("LeaksOnce", file=str(world.folder / "leaked")))
        assert (await world.end_of("w1")).event == "done"
        await world.until(lambda: "cleaned up" in world.host_logs())
    assert world.host_logs().count("cleaned up") == 1


async def test_a_thousand_triggers_share_one_host(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    async with running() as hosts:
        for index in range(1000):
            hosts.start(f"w{index}", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file) == 1000)
        assert [host.triggers for host in hosts.statistics().hosts] == [1000]
        file.touch()
        await world.until(lambda: len(world.ends) == 1000)
    assert len({end.wait_id for end in world.ends}) == 1000


async def test_starting_what_runs_already_changes_nothing(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    async with running() as hosts:
        for _ in range(2):
            hosts.start("w1", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file))
        file.touch()
        await world.end_of("w1")
    assert starts_of(file) == 1


async def test_a_host_without_triggers_ends(world: World, running: Running) -> None:
    world.config = TriggerHostsConfig(idle_s=0.0)
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    file.touch()
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file=str(file)))
        await world.end_of("w1")
        await world.until(lambda: not hosts.statistics().hosts)
        hosts.start("w2", world.call("WaitsForFile", file=str(file)))
        await world.end_of("w2")
    assert hosts.statistics().restarts == 0


async def test_hosts_end_with_the_component(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file=str(file)))
        await world.until(lambda: starts_of(file))
        pid = hosts.statistics().hosts[0].pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_missing_interpreter_fails_the_trigger_with_its_path(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    world.python = world.folder / "no-python"
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file="-"))
        end = await world.end_of("w1")
    assert end.error.startswith("its trigger host does not start: ")
    assert "no-python" in end.error


async def test_a_host_that_cannot_prepare_shows_the_end_of_its_log(world: World, running: Running) -> None:
    """Told to use the real packages in an interpreter that has none."""
    world.write(WAITS_FOR_FILE)
    world.environment = EnvironmentSpec(connectors=("http",))
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file="-"))
        end = await world.end_of("w1")
    assert "does not start" in end.error
    assert "No module named 'airflow'" in end.traceback[0]


async def test_an_environment_that_cannot_be_built_fails_its_triggers(
    world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(environment: EnvironmentSpec) -> str:
        await trio.lowlevel.checkpoint()
        raise LeoflowError("no such package: nosuch")

    monkeypatch.setattr(world, "_python_for", refuse)
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file="-"))
        end = await world.end_of("w1")
    assert end.error == "the environment of the trigger cannot be built: no such package: nosuch"


async def test_installed_classes_share_a_host_over_all_versions_of_the_code(world: World, running: Running) -> None:
    world.write("")
    async with running() as hosts:
        for digest in ("d1", "d2"):
            call = msgspec.structs.replace(world.call("X", module="airflow.nowhere"), bundle_digest=digest)
            hosts.start(digest, call)
        for digest in ("d1", "d2"):
            await world.end_of(digest)
        assert [host.bundle for host in hosts.statistics().hosts] == [""]


async def test_classes_of_a_project_have_a_host_for_each_version(world: World, running: Running) -> None:
    world.write(WAITS_FOR_FILE)
    file = world.folder / "go"
    file.touch()
    async with running() as hosts:
        for digest in ("d1", "d2"):
            call = msgspec.structs.replace(world.call("WaitsForFile", file=str(file)), bundle_digest=digest)
            hosts.start(digest, call)
        for digest in ("d1", "d2"):
            await world.end_of(digest)
        assert sorted(host.bundle for host in hosts.statistics().hosts) == ["d1", "d2"]


async def test_a_trigger_that_waits_for_our_answer_is_not_silent(
    world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A synchronous question holds the host's loop; a daemon that is slow to answer must not kill it for that."""
    world.config = TriggerHostsConfig(host_silence_s=2.0)
    world.write("""
        from airflow.sdk import Connection

        class Asks(Base):
            async def run(self):
                yield TriggerEvent(Connection.get("api").host)
    """)
    slow: Callable[..., Awaitable[dict[str, object]]]

    async def slow(*_: object) -> dict[str, object]:
        await world.until(lambda: hosts.statistics().stalls)
        await trio.sleep(2 * world.config.host_silence_s + 2)
        return {"connection": {"connection_id": "api", "conn_type": "http", "host": "h"}}

    monkeypatch.setattr(world, "_ask", slow)
    async with running() as started:
        hosts: TriggerHosts = started
        hosts.start("w1", world.call("Asks"))
        assert (await world.end_of("w1")).event == "h"
    assert hosts.statistics().restarts == 0


async def test_the_log_of_a_host_is_turned_over_when_it_is_full(world: World, running: Running) -> None:
    world.config = TriggerHostsConfig(log_max_bytes=1000)
    world.write("""
        class Chatty(Base):
            async def run(self):
                print("y" * 2000, flush=True)
                await asyncio.sleep(3600)
                yield
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Chatty"))
        await world.until(lambda: list((world.folder / "logs").glob("*.log.1")))


async def test_a_noisy_trigger_does_not_fill_the_log_of_its_task(world: World, running: Running) -> None:
    world.write("""
        class Chatty(Base):
            async def run(self):
                for number in range(1000):
                    self.log.info("poll %s", number)
                yield TriggerEvent(1)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Chatty"))
        await world.end_of("w1")
    found = world.events_in_log("w1")
    assert len(found) == 200
    assert "others are in the trigger host's log only" in found[-1]


DAEMON = """
import sys, trio
from pathlib import Path
from leoflowd.cheap_tasks.trigger_host_line import Hello
from leoflowd.cheap_tasks.trigger_host_process import HostProcess, Launch
from leoflowd.config import TriggerHostsConfig

def heard(message):
    if isinstance(message, Hello):
        print(message.pid, flush=True)

launch = Launch(python=sys.executable, runtime="shim", shim=Path(sys.argv[1]), bundle=None, log=Path(sys.argv[2]))
trio.run(HostProcess(launch, config=TriggerHostsConfig(), heard=heard, answer=None).run)
"""


async def test_a_host_dies_with_its_daemon(world: World) -> None:
    command = [sys.executable, "-c", DAEMON, str(SHIM), str(world.folder / "logs" / "host.log")]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    daemon = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env={**os.environ, **paths})
    assert daemon.stdout is not None
    with trio.fail_after(WITHIN_S):
        host = os.pidfd_open(int(await daemon.stdout.receive_some()))
        daemon.kill()
        await daemon.wait()
        await trio.lowlevel.wait_readable(host)
    os.close(host)
    await daemon.stdout.aclose()


async def test_a_full_disk_fails_the_triggers_that_need_it(
    world: World, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only our own errors: anything but them once ended the pool, and the daemon with it."""

    async def refuse(environment: EnvironmentSpec) -> str:
        await trio.lowlevel.checkpoint()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world, "_python_for", refuse)
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file="-"))
        end = await world.end_of("w1")
    assert "No space left on device" in end.error


@pytest.mark.parametrize("value", ["\ud800", object()], ids=["lone surrogate", "no JSON"])
async def test_a_trigger_that_cannot_be_sent_to_its_host_fails_alone(
    world: World, running: Running, value: object
) -> None:
    async with running() as hosts:
        hosts.start("w1", world.call("WaitsForFile", file=value))
        hosts.start("w2", world.call("NoSuchClass"))
        end = await world.end_of("w1")
        other = await world.end_of("w2")
    assert "cannot be sent to its host" in end.error
    assert "No module named 'triggers'" in other.error  # its host has run


async def test_what_an_author_writes_over_the_marker_names_nobody(world: World, running: Running) -> None:
    world.write(
        """
        class Vandal(Base):
            async def run(self):
                marker = sys.argv[sys.argv.index("--marker") + 1]
                os.pwrite(int(marker), b"\\xff" * 64, 0)
                os.kill(os.getpid(), signal.SIGKILL)
                yield TriggerEvent(1)
        """
    )
    async with running() as hosts:
        hosts.start("w1", world.call("Vandal"))
        end = await world.end_of("w1")
    assert end.error
