"""One trigger in a real host: what it may do, and what is reported of it."""

from __future__ import annotations

import msgspec

from leoflowd.contract.waits import TriggerCall
from tests.integration.trigger_host.conftest import Running, World


async def test_the_event_of_a_trigger_arrives_in_the_xcom_form(world: World, running: Running) -> None:
    world.write("""
        class Fires(Base):
            async def run(self):
                await asyncio.sleep(0)
                yield TriggerEvent((self.kwargs["number"], {"a"}))
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Fires", number=7))
        end = await world.end_of("w1")
    text = {"__classname__": "builtins.set", "__version__": 1, "__data__": ["a"]}
    assert end.event == {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [7, text]}
    assert end.end is None


async def test_arguments_come_back_from_the_xcom_form(world: World, running: Running) -> None:
    world.write("""
        class Fires(Base):
            async def run(self):
                yield TriggerEvent(repr(self.kwargs["value"]))
    """)
    envelope = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}
    async with running() as hosts:
        hosts.start("w1", world.call("Fires", value=envelope))
        assert (await world.end_of("w1")).event == "(1, 2)"


async def test_a_second_event_is_ignored_and_logged(world: World, running: Running) -> None:
    world.write("""
        class Twice(Base):
            async def run(self):
                yield TriggerEvent("first")
                yield TriggerEvent("second")
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Twice"))
        await world.until(lambda: "another event, which is ignored" in world.host_logs())
    assert [end.event for end in world.ends] == ["first"]


async def test_a_trigger_that_goes_on_after_its_event_is_ended(world: World, running: Running) -> None:
    world.write("""
        class GoesOn(Base):
            async def run(self):
                yield TriggerEvent("first")
                await asyncio.sleep(3600)

            async def cleanup(self):
                pathlib.Path(self.kwargs["file"]).touch()
    """)
    file = world.folder / "cleaned"
    async with running() as hosts:
        hosts.start("w1", world.call("GoesOn", file=str(file)))
        await world.until(file.exists)
    assert [end.event for end in world.ends] == ["first"]


def repeating(call: TriggerCall) -> TriggerCall:
    return msgspec.structs.replace(call, repeats=True)


async def test_a_trigger_that_watches_goes_on_when_its_event_is_taken(world: World, running: Running) -> None:
    world.write("""
        class Counts(Base):
            async def run(self):
                assert self.task_instance is None
                for number in range(3):
                    yield TriggerEvent(number)
                    pathlib.Path(self.kwargs["file"]).write_text(f"after {number}")
    """)
    file = world.folder / "progress"
    async with running() as hosts:
        hosts.start("w1", repeating(world.call("Counts", file=str(file))))
        for number in range(3):
            await world.until(lambda number=number: len(world.ends) > number)
            assert (file.read_text() if number else "", number) == (f"after {number - 1}" if number else "", number)
            hosts.go_on("w1")
        await world.until(lambda: len(world.ends) == 4)
        assert hosts.statistics().triggers == 0
    assert [(one.event, one.end) for one in world.ends] == [(0, None), (1, None), (2, None), (None, "ended")]


async def test_a_trigger_that_watches_may_fail_after_its_events(world: World, running: Running) -> None:
    world.write("""
        class Breaks(Base):
            async def run(self):
                yield TriggerEvent("first")
                raise ValueError("queue is gone")
    """)
    async with running() as hosts:
        hosts.start("w1", repeating(world.call("Breaks")))
        await world.until(lambda: world.ends)
        hosts.go_on("w1")
        await world.until(lambda: len(world.ends) == 2)
    assert [(one.event, one.error) for one in world.ends] == [("first", ""), (None, "ValueError: queue is gone")]


async def test_files_of_one_folder_are_watched_for_and_deleted(world: World, running: Running) -> None:
    """On the shim; with Airflow's packages its own class runs."""
    module = "airflow.providers.standard.triggers.file"
    inbox = world.folder / "inbox"
    async with running() as hosts:
        for name in ("a", "b"):
            call = world.call(
                "DirectoryFileDeleteTrigger", module=module, directory=str(inbox), filename=name, poke_interval=0.01
            )
            hosts.start(name, repeating(call))
        alone = world.call("FileDeleteTrigger", module=module, filepath=str(world.folder / "c"), poke_interval=0.01)
        hosts.start("c", alone)
        inbox.mkdir()
        (inbox / "a").touch()
        (world.folder / "c").touch()
        await world.until(lambda: len(world.ends) == 2)
    found = {one.wait_id: one.event for one in world.ends}
    assert found == {"a": {"filepath": str(inbox / "a")}, "c": True}
    assert not (inbox / "a").exists()
    assert not (world.folder / "c").exists()


async def test_an_error_in_init_is_a_failure_with_its_traceback(world: World, running: Running) -> None:
    world.write("""
        class Broken(Base):
            def __init__(self, **kwargs):
                raise ValueError("no such queue")
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Broken"))
        end = await world.end_of("w1")
    assert end.error == "ValueError: no such queue"
    assert any("triggers.py" in line and "__init__" in line for line in end.traceback)


async def test_an_error_in_run_is_a_failure_with_its_traceback(world: World, running: Running) -> None:
    world.write("""
        class Broken(Base):
            async def run(self):
                await asyncio.sleep(0)
                raise RuntimeError("gone")
                yield
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Broken"))
        end = await world.end_of("w1")
    assert end.error == "RuntimeError: gone"
    assert any("in run" in line for line in end.traceback)


async def test_a_trigger_that_ends_without_an_event_has_failed(world: World, running: Running) -> None:
    world.write("""
        class Silent(Base):
            async def run(self):
                if False:
                    yield
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Silent"))
        end = await world.end_of("w1")
    assert end.error == "The trigger ended without an event; a trigger must yield a TriggerEvent"


async def test_an_event_that_cannot_be_stored_is_a_failure(world: World, running: Running) -> None:
    world.write("""
        class Strange(Base):
            async def run(self):
                yield TriggerEvent(object())
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Strange"))
        assert "the event of the trigger is of type builtins.object" in (await world.end_of("w1")).error


async def test_an_event_that_is_too_large_is_a_failure(world: World, running: Running) -> None:
    world.write("""
        class Large(Base):
            async def run(self):
                yield TriggerEvent("x" * 2_000_000)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Large"))
        assert "more than the limit" in (await world.end_of("w1")).error


async def test_what_is_yielded_must_be_an_event(world: World, running: Running) -> None:
    world.write("""
        class Strange(Base):
            async def run(self):
                yield 7
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Strange"))
        assert "it must yield a TriggerEvent" in (await world.end_of("w1")).error


async def test_sys_exit_in_a_trigger_fails_only_that_trigger(world: World, running: Running) -> None:
    world.write("""
        class Exits(Base):
            async def run(self):
                await asyncio.sleep(0)
                sys.exit(3)
                yield

        class Fires(Base):
            async def run(self):
                while not pathlib.Path(self.kwargs["file"]).exists():
                    await asyncio.sleep(0.01)
                yield TriggerEvent(os.getpid())
    """)
    file = world.folder / "go"
    async with running() as hosts:
        hosts.start("w1", world.call("Fires", file=str(file)))
        hosts.start("w2", world.call("Exits"))
        assert (await world.end_of("w2")).error == "SystemExit: 3"
        file.touch()
        assert (await world.end_of("w1")).event == hosts.statistics().hosts[0].pid
    assert hosts.statistics().restarts == 0


async def test_sys_exit_while_loading_fails_only_that_trigger(world: World, running: Running) -> None:
    world.write("sys.exit(3)")
    async with running() as hosts:
        hosts.start("w1", world.call("Any"))
        assert (await world.end_of("w1")).error == "ImportError: loading triggers called sys.exit(3)"
    assert hosts.statistics().restarts == 0


async def test_a_class_that_does_not_exist_is_a_failure(world: World, running: Running) -> None:
    world.write("")
    async with running() as hosts:
        hosts.start("w1", world.call("Missing"))
        assert "has no attribute 'Missing'" in (await world.end_of("w1")).error


async def test_a_trigger_may_be_defined_in_the_dag_file(world: World, running: Running) -> None:
    world.write(
        """
        from airflow.sdk import DAG

        class Fires(Base):
            async def run(self):
                yield TriggerEvent(type(self).__module__)

        with DAG("d"):
            pass
        """,
        name="dag.py",
    )
    async with running() as hosts:
        hosts.start("w1", world.call("Fires", module="dag"))
        assert (await world.end_of("w1")).event == "dag"


async def test_a_trigger_may_end_its_task_with_xcoms(world: World, running: Running) -> None:
    world.write("""
        class Ends(Base):
            async def run(self):
                yield TaskSuccessEvent(xcoms={"return_value": 5})
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Ends"))
        end = await world.end_of("w1")
    assert (end.end, end.event) == ("success", {"return_value": 5})


async def test_a_trigger_may_skip_its_task(world: World, running: Running) -> None:
    world.write("""
        class Ends(Base):
            async def run(self):
                yield TaskSkippedEvent()
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Ends"))
        end = await world.end_of("w1")
    assert (end.end, end.event) == ("skipped", {})


async def test_cancelling_runs_cleanup_and_reports_nothing(world: World, running: Running) -> None:
    world.write("""
        class Waits(Base):
            async def run(self):
                self.log.info("waiting")
                await asyncio.sleep(3600)
                yield

            async def cleanup(self):
                await asyncio.sleep(0)
                pathlib.Path(self.kwargs["file"]).touch()
    """)
    file = world.folder / "cleaned"
    async with running() as hosts:
        hosts.start("w1", world.call("Waits", file=str(file)))
        await world.until(lambda: "waiting" in world.events_in_log("w1"))
        hosts.cancel("w1")
        await world.until(file.exists)
    assert world.ends == []
    assert hosts.statistics().triggers == 0


async def test_cleanup_runs_after_the_event(world: World, running: Running) -> None:
    world.write("""
        class Fires(Base):
            async def run(self):
                yield TriggerEvent(1)

            async def cleanup(self):
                pathlib.Path(self.kwargs["file"]).touch()
    """)
    file = world.folder / "cleaned"
    async with running() as hosts:
        hosts.start("w1", world.call("Fires", file=str(file)))
        await world.until(file.exists)
    assert world.ends[0].event == 1


async def test_a_connection_is_asked_of_the_daemon_and_hidden_in_the_log(world: World, running: Running) -> None:
    world.write("""
        from airflow.sdk import Connection

        class Asks(Base):
            async def run(self):
                connection = Connection.get("api")
                self.log.info("the password is %s", connection.password)
                yield TriggerEvent(connection.host)
    """)
    world.answer = {"connection": {"connection_id": "api", "conn_type": "http", "host": "h", "password": "sesame-open"}}
    async with running() as hosts:
        hosts.start("w1", world.call("Asks"))
        assert (await world.end_of("w1")).event == "h"
    assert world.questions == [("task_of_Asks", "connection", {"connection_id": "api"})]
    assert "the password is ***" in world.events_in_log("w1")
    assert "sesame-open" not in world.host_logs()


async def test_a_variable_is_asked_of_the_daemon_and_a_secret_one_hidden(world: World, running: Running) -> None:
    world.write("""
        from airflow.sdk import Variable

        class Asks(Base):
            async def run(self):
                self.log.info("the token is %s", Variable.get("api_token"))
                yield TriggerEvent(len(Variable.get("api_token")))
    """)
    world.answer = {"value": "sesame-open"}
    async with running() as hosts:
        hosts.start("w1", world.call("Asks"))
        assert (await world.end_of("w1")).event == len("sesame-open")
    assert world.questions[0] == ("task_of_Asks", "variable", {"key": "api_token"})
    assert "the token is ***" in world.events_in_log("w1")
    assert "sesame-open" not in world.host_logs()


async def test_a_question_from_a_thread_is_answered_too(world: World, running: Running) -> None:
    world.write("""
        from airflow.sdk import Connection

        class Asks(Base):
            async def run(self):
                connection = await asyncio.to_thread(Connection.get, "api")
                yield TriggerEvent(connection.host)
    """)
    world.answer = {"connection": {"connection_id": "api", "conn_type": "http", "host": "h"}}
    async with running() as hosts:
        hosts.start("w1", world.call("Asks"))
        assert (await world.end_of("w1")).event == "h"


async def test_log_lines_name_their_trigger_also_from_its_own_tasks(world: World, running: Running) -> None:
    world.write("""
        async def child(text):
            logging.getLogger("mine").warning("%s", text)

        class Logs(Base):
            async def run(self):
                await asyncio.create_task(child(self.kwargs["text"]))
                yield TriggerEvent(1)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Logs", text="one"))
        hosts.start("w2", world.call("Logs", text="two"))
        await world.end_of("w1")
        await world.end_of("w2")
    assert (world.events_in_log("w1"), world.events_in_log("w2")) == (["one"], ["two"])


async def test_triggers_with_one_stream_key_share_one_poll_loop(world: World, running: Running) -> None:
    world.write("""
        class Shares(Base):
            def shared_stream_key(self):
                return ("numbers", self.kwargs["source"])

            @classmethod
            async def open_shared_stream(cls, kwargs):
                with open(kwargs["source"], "a") as opened:
                    opened.write("opened ")
                number = 0
                while True:
                    yield number
                    number += 1
                    await asyncio.sleep(0.01)

            async def filter_shared_stream(self, stream):
                async for number in stream:
                    if number >= self.kwargs["wanted"]:
                        yield TriggerEvent("seen")
                        return
    """)
    source = world.folder / "source"
    async with running() as hosts:
        for index in range(20):
            hosts.start(f"w{index}", world.call("Shares", source=str(source), wanted=50))
        for index in range(20):
            assert (await world.end_of(f"w{index}")).event == "seen"
    assert source.read_text() == "opened "


async def test_the_failure_of_a_shared_stream_fails_all_who_read_it(world: World, running: Running) -> None:
    world.write("""
        class Shares(Base):
            def shared_stream_key(self):
                return "key"

            @classmethod
            async def open_shared_stream(cls, kwargs):
                await asyncio.sleep(0.05)
                raise PermissionError("no entry")
                yield

            async def filter_shared_stream(self, stream):
                async for item in stream:
                    yield TriggerEvent(item)
    """)
    async with running() as hosts:
        hosts.start("w1", world.call("Shares"))
        hosts.start("w2", world.call("Shares"))
        assert (await world.end_of("w1")).error == "PermissionError: no entry"
        assert (await world.end_of("w2")).error == "PermissionError: no entry"


async def test_a_trigger_of_a_tree_is_found_beside_its_dags(world: World, running: Running) -> None:
    (world.project / "plugins").mkdir(parents=True)
    source = """
        from include.names import NAME

        class Fires(Base):
            async def run(self):
                yield TriggerEvent(NAME)
    """
    world.write(source, "plugins/waiting.py")
    (world.project / "include").mkdir()
    (world.project / "include" / "names.py").write_text("NAME = 'from include'\n")
    async with running() as hosts:
        call = world.call("Fires", module="waiting")
        hosts.start("w1", msgspec.structs.replace(call, import_paths=("dags", "plugins", "."), source_path="dags/x.py"))
        assert (await world.end_of("w1")).event == "from include"
