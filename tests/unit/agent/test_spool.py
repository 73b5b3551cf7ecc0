"""The folder of a try: one exclusive creation, and what an earlier agent left is read as it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leoflow_agent.spool import AlreadyStarted, Spool, Stop, StoredOutcome
from leoflowd.contract.agent_messages import DagRunFacts, OutcomeKind, TrySpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _spec(try_id="t1"):
    run = DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=NOW)
    return TrySpec(
        try_id=try_id,
        dag_run=run,
        task_id="t",
        try_number=1,
        max_tries=0,
        kind="python",
        operator="o",
        bundle_digest="",
    )


def test_a_folder_is_complete_when_it_appears(tmp_path):
    folder = Spool(tmp_path / "spool").create(_spec(), "secret")
    assert folder.read_spec() == _spec()
    assert folder.read_token() == "secret"
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0


def test_a_try_is_created_once(tmp_path):
    spool = Spool(tmp_path)
    spool.create(_spec(), "secret")
    with pytest.raises(AlreadyStarted):
        spool.create(_spec(), "secret")
    assert [folder.try_id for folder in spool.scan()] == ["t1"]


def test_a_try_id_cannot_leave_the_spool(tmp_path):
    for try_id in ("../x", ".hidden", "a/b"):
        with pytest.raises(ValueError, match="cannot name a folder"):
            Spool(tmp_path).create(_spec(try_id), "secret")


def test_scanning_sweeps_what_was_never_finished(tmp_path):
    spool = Spool(tmp_path)
    (tmp_path / ".t2.17.new").mkdir()
    spool.create(_spec(), "secret").remove()
    assert spool.scan() == ()
    assert list(tmp_path.iterdir()) == []


def test_outcome_and_stop_are_read_back(tmp_path):
    folder = Spool(tmp_path).create(_spec(), "secret")
    assert (folder.read_outcome(), folder.read_stop(), folder.has_outcome()) == (None, None, False)
    outcome = StoredOutcome(kind=OutcomeKind.SKIPPED, because="b", start_date=NOW, end_date=NOW)
    stop = Stop(kind=OutcomeKind.LOST, because="the host stops")
    folder.write_outcome(outcome)
    folder.write_stop(stop)
    assert (folder.read_outcome(), folder.read_stop(), folder.has_outcome()) == (outcome, stop, True)


def test_an_outcome_that_user_code_broke_counts_as_none(tmp_path):
    folder = Spool(tmp_path).create(_spec(), "secret")
    (folder.path / "outcome.json").write_text("{broken")
    assert folder.read_outcome() is None
