"""What follows a commit, as data: one list for a step, worked out from its draft, and then carried out by plain calls.

Nothing here waits (ADR 19, ADR 29). Each effect is named after the try, wait or DAG that it is about, so doing it twice
is doing it once; and one that is lost, because an outbox was full or the leader ended, is found by somebody's sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

import msgspec

from leoflowd import telemetry
from leoflowd.contract.states import FINISHED, DagRunState, TaskInstanceState
from leoflowd.contract.waits import NewWait, Waits
from leoflowd.core.try_spec import TryFacts
from leoflowd.scheduler.draft import Draft, executor_of
from leoflowd.scheduler.inbox import Reply
from leoflowd.scheduler.views import Views

log = telemetry.get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """Whoever reported may forget it, but for the waits in `kept`; `refused` says why nothing of it is committed."""

    reply: Reply
    kept: frozenset[str] = frozenset()
    refused: str = ""


class BeginWait(msgspec.Struct, frozen=True):
    """The pool watches this wait. Lost: the pool reads the rows of `wait` again and again."""

    wait: NewWait


class EndWait(msgspec.Struct, frozen=True):
    """Nobody waits for this any more. Lost: likewise."""

    wait_id: str
    dag_run_id: int


class DagFinished(msgspec.Struct, frozen=True):
    """Something in this DAG finished, or was changed by hand: who waits for it may look. Lost: it looks when due."""

    dag_id: str


class RunEnded(msgspec.Struct, frozen=True):
    """There may be room for the next run of this DAG's timetable. Lost: the clock asks every 30 s."""

    dag_id: str


class AssetsCame(msgspec.Struct, frozen=True):
    """This DAG may start a run, since events of assets came. Lost: the clock asks every 30 s."""

    dag_id: str


class Launch(msgspec.Struct, frozen=True):
    """This executor starts the try. Lost: the scheduler's sweep launches again what stays queued."""

    executor: str
    one: TryFacts


class CallBack(msgspec.Struct, frozen=True):
    """There are callbacks to be launched. Lost: their launcher looks at every sweep."""


Effect = Answer | BeginWait | EndWait | DagFinished | RunEnded | AssetsCame | Launch | CallBack

Offer = Callable[[Sequence[TryFacts]], int]
"""An executor's outbox: takes what it has room for, and says how many it has not."""


# --- from a draft to its effects -------------------------------------------------------------------------------------


def effects_of(draft: Draft, views: Views, set_aside: Collection[int]) -> tuple[Effect, ...]:
    """In the order in which they are to be done. After the last part of the step is committed, or left out."""
    return (
        *_answers(draft, set_aside),
        *(BeginWait(wait) for _, wait in draft.begun_waits(views)),
        *_ended_waits(draft, views),
        *(DagFinished(dag_id) for dag_id in sorted(_finished_dags(draft, views))),
        *(RunEnded(dag_id) for dag_id in _ended_runs(draft, views)),
        *(AssetsCame(dag_id) for dag_id in sorted(draft.waiting_dags)),
        *_launches(draft, views),
        *([CallBack()] if draft.callbacks else []),
    )


def _answers(draft: Draft, set_aside: Collection[int]) -> Iterator[Answer]:
    """What concerns a run that is set aside stays with who told it; what is to be decided again is answered then."""
    for event in draft.tries_ended:
        dag_run_id = event.row.dag_run_id
        if dag_run_id in draft.stale:
            continue
        if dag_run_id in set_aside:
            yield Answer(event.reply, refused=f"dag run {dag_run_id} was set aside; its outcomes wait for a person")
        else:
            yield Answer(event.reply)
    for ended in draft.waits_ended:
        if not any(end.dag_run_id in draft.stale for end in ended.ends):
            yield Answer(ended.reply, frozenset(end.id for end in ended.ends if end.dag_run_id in set_aside))


def _ended_waits(draft: Draft, views: Views) -> Iterator[EndWait]:
    for (dag_run_id, i), before in draft.first.items():
        after = views.runs[dag_run_id].view.facts[i]
        if before.wait == "waiting" and (after.wait != "waiting" or after.id != before.id):
            yield EndWait(before.id, dag_run_id)


def _finished_dags(draft: Draft, views: Views) -> set[str]:
    finished = {views.runs[dag_run_id].view.dag_id for dag_run_id in draft.moved_runs} | draft.changed_dags
    for dag_run_id, i in draft.first:
        view = views.runs[dag_run_id].view
        if view.facts[i].state in FINISHED:
            finished.add(view.dag_id)
    return finished


def _ended_runs(draft: Draft, views: Views) -> list[str]:
    ended = [views.runs[dag_run_id].view for dag_run_id in draft.moved_runs]
    dag_ids = {view.dag_id for view in ended if view.state in (DagRunState.SUCCESS, DagRunState.FAILED)}
    return sorted(dag_ids | draft.left_dags)


def _launches(draft: Draft, views: Views) -> Iterator[Launch]:
    for dag_run_id, i in dict.fromkeys(draft.launches):
        loaded = views.runs.get(dag_run_id)
        if loaded is not None and loaded.view.facts[i].state == TaskInstanceState.QUEUED:
            one = loaded.try_facts(i)
            yield Launch(executor_of(loaded.view, i), one)


# --- doing them ------------------------------------------------------------------------------------------------------


class Effects:
    """Hands each to who does it. `offers` are the outboxes by executor; `run_ended` tells the clock, `call_back` the
    launcher of callbacks."""

    def __init__(
        self,
        offers: Mapping[str, Offer],
        waits: Waits,
        run_ended: Callable[[str], None],
        call_back: Callable[[], None],
    ) -> None:
        self._offers = offers
        self._waits = waits
        self._run_ended = run_ended
        self._call_back = call_back
        self.dropped_launches = 0

    def carry_out(self, effects: Iterable[Effect]) -> None:
        begun: list[NewWait] = []
        ended: dict[str, int] = {}
        finished: set[str] = set()
        launches: dict[str, list[TryFacts]] = {}
        for effect in effects:
            match effect:
                case Answer():
                    _answer(effect)
                case BeginWait(wait=wait):
                    begun.append(wait)
                case EndWait(wait_id=wait_id, dag_run_id=dag_run_id):
                    ended[wait_id] = dag_run_id
                case DagFinished(dag_id=dag_id):
                    finished.add(dag_id)
                case RunEnded(dag_id=dag_id) | AssetsCame(dag_id=dag_id):
                    self._run_ended(dag_id)
                case CallBack():
                    self._call_back()
                case Launch(executor=executor, one=one):
                    launches.setdefault(executor, []).append(one)
                case _:
                    assert_never(effect)
        self._tell_pool(begun, ended, finished)
        for executor, tries in launches.items():
            self._launch(executor, tries)

    def _tell_pool(self, begun: list[NewWait], ended: dict[str, int], finished: set[str]) -> None:
        if begun:
            self._waits.register(begun)
        if ended:
            self._waits.withdraw(list(ended), set(ended.values()))
        if finished:
            self._waits.dag_finished(finished)

    def _launch(self, executor: str, tries: list[TryFacts]) -> None:
        dropped = self._offers[executor](tries)
        if dropped:
            self.dropped_launches += dropped
            log.warning("launches_wait_for_the_sweep", executor=executor, count=dropped, reason="its outbox is full")


def _answer(answer: Answer) -> None:
    if answer.refused:
        answer.reply.fail(answer.refused)
    else:
        answer.reply.commit(but=answer.kept)
