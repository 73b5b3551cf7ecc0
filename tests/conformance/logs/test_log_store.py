"""What every `LogStore` promises to agents, pool and API."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from leoflowd.contract.logs import LogLeg, LogNotStored, LogStore, TryLog

from .conftest import LOG, Place

FIRST, SECOND, THIRD = "try one", "try two", "try three"


async def whole(logs: LogStore, log: TryLog = LOG) -> bytes:
    return await logs.read(log, 0, 1_000_000)


async def test_what_was_appended_is_read_from_any_place(logs: LogStore) -> None:
    assert await logs.append(LOG, 0, b"one\n") == 4
    assert await logs.append(LOG, 4, b"two\n") == 8
    assert await whole(logs) == b"one\ntwo\n"
    assert await logs.read(LOG, 2, 4) == b"e\ntw"
    assert await logs.read(LOG, 6, 100) == b"o\n"
    assert await logs.read(LOG, 8, 100) == b""
    assert await logs.read(LOG, 9, 100) == b""
    assert await logs.size(LOG) == 8


async def test_without_a_log_there_is_nothing_to_read(logs: LogStore) -> None:
    assert await whole(logs) == b""
    assert await logs.size(LOG) == 0
    assert await logs.begin(LOG, FIRST, goes_on=False) == LogLeg(0, 0)


@pytest.mark.parametrize("offset", [0, 2, 4])
async def test_a_chunk_that_comes_again_is_stored_once(logs: LogStore, offset: int) -> None:
    await logs.append(LOG, 0, b"one\n")
    assert await logs.append(LOG, offset, b"one\ntwo\n"[offset:]) == 8
    assert await logs.append(LOG, 0, b"one\n") == 8
    assert await whole(logs) == b"one\ntwo\n"


async def test_a_gap_is_refused_and_changes_nothing(logs: LogStore) -> None:
    await logs.append(LOG, 0, b"one\n")
    with pytest.raises(ValueError, match="leaves a gap after 4"):
        await logs.append(LOG, 5, b"late")
    assert await whole(logs) == b"one\n"


async def test_writers_of_one_log_take_turns_in_the_order_in_which_they_asked(logs: LogStore) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(logs.append, LOG, 2 * number, b"%02d" % number)
            await trio.testing.wait_all_tasks_blocked()
    assert await whole(logs) == b"".join(b"%02d" % number for number in range(50))


async def test_without_room_it_says_so_and_the_chunk_may_come_again(place: Place) -> None:
    place.fill_up()
    with pytest.raises(LogNotStored) as failure:
        await place.logs.append(LOG, 0, b"lost?")
        await place.logs.flush(LOG)
    assert failure.value.errno == place.refusal
    place.logs.write_line(LOG, b"ours\n")  # dropped: what it tells of goes on
    with suppress(LogNotStored):
        await place.logs.flush(LOG)
    place.make_room()
    assert await place.logs.append(LOG, 0, b"lost?") == 5
    assert await whole(place.logs) == b"lost?"


async def test_a_line_of_ours_stands_behind_what_is_there(logs: LogStore) -> None:
    logs.write_line(LOG, b"one\n")
    await logs.append(LOG, 4, b"two\n")
    logs.write_line(LOG, b"three\n")
    assert await whole(logs) == b"one\ntwo\nthree\n"


async def test_a_process_that_comes_again_is_told_what_is_stored(logs: LogStore) -> None:
    assert await logs.begin(LOG, FIRST, goes_on=False) == LogLeg(0, 0)
    await logs.append(LOG, 0, b"one\n")
    assert await logs.begin(LOG, FIRST, goes_on=False) == LogLeg(0, 4)


async def test_each_process_of_a_try_that_goes_on_begins_behind_the_last(logs: LogStore) -> None:
    await logs.append(LOG, 0, b"one\n")
    assert await logs.begin(LOG, SECOND, goes_on=True) == LogLeg(4, 0)
    await logs.append(LOG, 4, b"two\n")
    assert await logs.begin(LOG, SECOND, goes_on=True) == LogLeg(4, 4)  # its first answer was lost
    assert await logs.begin(LOG, SECOND, goes_on=False) == LogLeg(4, 4)  # it came again while it ran
    assert await logs.begin(LOG, THIRD, goes_on=True) == LogLeg(8, 0)
    await logs.append(LOG, 8, b"three\n")
    assert await logs.begin(LOG, THIRD, goes_on=False) == LogLeg(8, 6)


async def test_the_first_process_that_wrote_nothing_leaves_the_beginning_to_the_next(logs: LogStore) -> None:
    assert await logs.begin(LOG, FIRST, goes_on=False) == LogLeg(0, 0)
    assert await logs.begin(LOG, SECOND, goes_on=True) == LogLeg(0, 0)


HOSTILE = ["..", ".", "a/b", "a%2Fb", "x" * 5000, "x" * 4999 + "y", "r#1", "r~1", "ü\u2028", "1", ""]
NEIGHBOURS = (
    [replace(LOG, dag_run_id=2), replace(LOG, try_number=2), replace(LOG, map_index=0), replace(LOG, map_index=1)]
    + [replace(LOG, run_id=name) for name in HOSTILE if name]
    + [replace(LOG, task_id=name) for name in HOSTILE if name]
    + [replace(LOG, dag_id=name) for name in HOSTILE if name]
)


async def test_each_try_has_its_own_log_whatever_the_ids(logs: LogStore) -> None:
    for number, log in enumerate(NEIGHBOURS):
        assert await whole(logs, log) == b""
        await logs.append(log, 0, b"%d" % number)
    assert [await whole(logs, log) for log in NEIGHBOURS] == [b"%d" % number for number in range(len(NEIGHBOURS))]
    assert len({await logs.where(log) for log in NEIGHBOURS}) == len(NEIGHBOURS)


async def test_deleting_a_run_deletes_its_logs_and_no_others(logs: LogStore) -> None:
    own = [LOG, replace(LOG, try_number=2), replace(LOG, task_id="extract", map_index=3)]
    others = [replace(LOG, dag_run_id=2), replace(LOG, run_id="manual/2"), replace(LOG, dag_id="elt")]
    for log in (*own, *others):
        await logs.append(log, 0, b"x")
    await logs.delete_run("etl", "manual/1", dag_run_id=1)
    assert [await whole(logs, log) for log in own] == [b""] * len(own)
    assert [await whole(logs, log) for log in others] == [b"x"] * len(others)
    await logs.delete_run("etl", "manual/1", dag_run_id=1)


async def test_a_straggler_of_a_deleted_run_writes_into_no_other(logs: LogStore) -> None:
    """Its agent had not heard yet; the run was made again under the same name."""
    again = replace(LOG, dag_run_id=2)
    await logs.append(LOG, 0, b"first\n")
    await logs.delete_run("etl", "manual/1", dag_run_id=1)
    await logs.append(LOG, 0, b"first\nlate\n")
    assert await whole(logs, again) == b""
