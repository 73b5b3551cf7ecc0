"""One step in the making: what is to be planned, written and answered.

`reading` and `deciding` fill it; `committing` writes its batch, and `effects` is what follows from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

import msgspec

from leoflowd import telemetry
from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.asset_spec import AssetRecord
from leoflowd.contract.callback_spec import NewCallback
from leoflowd.contract.states import FINISHED, LIVE, TaskInstanceState
from leoflowd.contract.waits import NewWait
from leoflowd.contract.xcoms import XCom
from leoflowd.core.asset_events import events_of, refused_records
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.try_spec import HTTP_KIND
from leoflowd.scheduler.inbox import TryEnded, WaitsEnded
from leoflowd.scheduler.views import Views
from leoflowd.store.asset_events import AssetEventWrite
from leoflowd.store.run_views import LoadedRun, Quota
from leoflowd.store.transitions import Batch, EndedTry, Expansion, InstanceWrite, RunWrite
from leoflowd.store.waits import FiredWait, WaitWrite

log = telemetry.get_logger(__name__)

EXECUTOR = "process"
INLINE = "inline"
"""The cheap-task pool's HTTP tasks: tries without an agent."""

Place = tuple[int, int]
"""A dag run's id, and the position of one of its task instances in the view."""


def executor_of(view: RunView, i: int) -> str:
    """Who runs the tries of this instance."""
    spec = view.node_of(i).spec
    is_call = spec.kind == HTTP_KIND or (spec.http is not None and view.items_of(i) is not None)
    return INLINE if is_call else EXECUTOR


class Report:
    """What an agent said beside the state."""

    __slots__ = ("hostname", "pid", "rendered")

    def __init__(self) -> None:
        self.hostname: str | None = None
        self.pid: int | None = None
        self.rendered: dict[str, object] | None = None


class Draft:
    """Filled while deciding; `drop` takes one dag run out of it again, so that the others go on."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.revisions: dict[int, int] = {}
        self.moved_runs: set[int] = set()
        self.first: dict[Place, InstanceFacts] = {}
        self.added: dict[Place, list[Place]] = {}
        """Of nodes that were expanded, by run and node: their new instances, which `first` has as they began."""
        self.reports: dict[Place, Report] = {}
        self.ended_tries: dict[str, tuple[int, InstanceFacts]] = {}
        self.xcoms: list[XCom] = []
        self.asset_records: dict[Place, tuple[AssetRecord, ...]] = {}
        """What tries that succeeded said of their outlets."""
        self.waiting_dags: set[str] = set()
        """DAGs for which events of assets were committed."""
        self.waits: dict[Place, NewWait] = {}
        self.fired: dict[Place, FiredWait] = {}
        self.tries_ended: list[TryEnded] = []
        self.lost_tries: dict[str, Outcome] = {}
        """By the id of the try: nobody said how it ended."""
        self.waits_ended: list[WaitsEnded] = []
        self.callbacks: list[NewCallback] = []
        self.launches: list[Place] = []
        self.to_plan: dict[int, set[int] | None] = {}
        self.to_start: set[Quota] = set()
        self.starting: list[LoadedRun] = []
        """Queued runs that were read because there may be room for them."""
        self.read_again: set[int] = set()
        """Runs that somebody else changed."""
        self.changed_dags: set[str] = set()
        """DAGs in which somebody else changed something."""
        self.left_dags: set[str] = set()
        """DAGs of runs that ended, or were deleted, by someone else's hand."""
        self.just_read: set[int] = set()
        """Runs that this step has read anew."""
        self.quarantined: dict[int, str] = {}
        self.taken_up: set[int] = set()
        """Runs that were set aside once and have been read again."""
        self.stale: dict[int, int] = {}
        """Runs that somebody changed since they were read, with the revision that was planned on."""

    @property
    def touched(self) -> set[int]:
        return set(self.revisions)

    def drop(self, dag_run_id: int) -> None:
        """Nothing of this run is to be written or done."""
        self.revisions.pop(dag_run_id, None)
        self.to_plan.pop(dag_run_id, None)
        self.moved_runs.discard(dag_run_id)
        self.first = {place: before for place, before in self.first.items() if place[0] != dag_run_id}
        self.added = {node: places for node, places in self.added.items() if node[0] != dag_run_id}
        self.ended_tries = {key: ended for key, ended in self.ended_tries.items() if ended[0] != dag_run_id}
        self.asset_records = {place: said for place, said in self.asset_records.items() if place[0] != dag_run_id}
        self.xcoms = [xcom for xcom in self.xcoms if xcom.dag_run_id != dag_run_id]
        self.callbacks = [callback for callback in self.callbacks if callback.dag_run_id != dag_run_id]
        self.launches = [place for place in self.launches if place[0] != dag_run_id]
        self.waits = {place: wait for place, wait in self.waits.items() if place[0] != dag_run_id}
        self.fired = {place: fired for place, fired in self.fired.items() if place[0] != dag_run_id}
        self.starting = [loaded for loaded in self.starting if loaded.view.dag_run_id != dag_run_id]

    def touch(self, dag_run_id: int, revision: int) -> None:
        self.revisions.setdefault(dag_run_id, revision)

    def changed(self, dag_run_id: int, i: int, before: InstanceFacts) -> None:
        self.first.setdefault((dag_run_id, i), before)

    def expanded(self, view: RunView, node: int, added: Collection[int]) -> None:
        """All instances of the node are written by the keys that they have now."""
        for i in view.instances_of(node):
            place, facts = (view.dag_run_id, i), view.facts[i]
            before = self.first.get(place, facts)
            self.first[place] = msgspec.structs.replace(before, map_index=facts.map_index)
            self.touch_plan(*place)
        self.added.setdefault((view.dag_run_id, node), []).extend((view.dag_run_id, i) for i in added)

    def reported(self, dag_run_id: int, i: int) -> Report:
        return self.reports.setdefault((dag_run_id, i), Report())

    def touch_plan(self, dag_run_id: int, i: int) -> None:
        """Plan this run for what follows from instance `i`; None (everything) stays None."""
        if dag_run_id not in self.to_plan:
            self.to_plan[dag_run_id] = {i}
        else:
            touched = self.to_plan[dag_run_id]
            if touched is not None:
                touched.add(i)

    def begun_waits(self, views: Views) -> list[tuple[Place, NewWait]]:
        """Waits of this step that its later decisions left standing."""
        return [
            (place, wait)
            for place, wait in self.waits.items()
            if views.runs[place[0]].view.facts[place[1]].wait == "waiting"
        ]


def batch_of(draft: Draft, views: Views, dag_run_ids: Collection[int]) -> Batch:
    """What is to be written of these dag runs; each run's part stands for itself."""
    chosen = set(dag_run_ids)
    instances: list[InstanceWrite] = []
    stop: set[int] = set()
    ended_by_agent = {str(event.row.id) for event in draft.tries_ended}
    for (dag_run_id, i), before in draft.first.items():
        if dag_run_id not in chosen:
            continue
        view = views.runs[dag_run_id].view
        after, spec = view.facts[i], view.node_of(i).spec
        if before.state in LIVE and after.state in FINISHED and before.id not in ended_by_agent:
            stop.add(dag_run_id)
        extra = draft.reports.get((dag_run_id, i)) or Report()
        instances.append(
            InstanceWrite(
                dag_run_id=dag_run_id,
                task_id=spec.task_id,
                before=before,
                after=after,
                hostname=extra.hostname,
                pid=extra.pid,
                executor=executor_of(view, i) if after.state in LIVE else None,
                rendered_fields=extra.rendered,
            )
        )
    succeeded = [place for place in draft.first if place[0] in chosen and has_succeeded(draft, views, place)]
    xcoms = {(x.dag_run_id, x.task_id, x.map_index, x.key): x for x in draft.xcoms if x.dag_run_id in chosen}
    return Batch(
        runs=tuple(_run_write(dag_run_id, draft, views) for dag_run_id in sorted(chosen)),
        instances=tuple(instances),
        expansions=tuple(_expansion(views, draft, *node) for node in draft.added if node[0] in chosen),
        ended_tries=tuple(EndedTry(facts=facts) for run, facts in draft.ended_tries.values() if run in chosen),
        xcoms=tuple(xcoms.values()),
        waits=tuple(
            WaitWrite(_key(views, *place), wait) for place, wait in draft.begun_waits(views) if place[0] in chosen
        ),
        fired=tuple(fired for place, fired in draft.fired.items() if place[0] in chosen),
        ended_waits=tuple(
            _key(views, run, i)
            for (run, i), before in draft.first.items()
            if run in chosen and before.wait and not views.runs[run].view.facts[i].wait
        ),
        asset_events=tuple(write for place in succeeded for write in event_writes(draft, views, place)),
        callbacks=tuple(callback for callback in draft.callbacks if callback.dag_run_id in chosen),
        stop_tries_of=tuple(sorted(stop)),
    )


def has_succeeded(draft: Draft, views: Views, place: Place) -> bool:
    """In this step, by itself: what people mark is written elsewhere, and makes no events."""
    after = views.runs[place[0]].view.facts[place[1]]
    return after.state == TaskInstanceState.SUCCESS != draft.first[place].state


def event_writes(draft: Draft, views: Views, place: Place) -> Iterator[AssetEventWrite]:
    """The events that a success makes."""
    view = views.runs[place[0]].view
    spec, records = view.node_of(place[1]).spec, draft.asset_records.get(place, ())
    if not spec.outlets and not records:
        return
    task_id, map_index = spec.task_id, view.facts[place[1]].map_index
    for record in refused_records(spec.outlets, records):
        reason = f"asset {record.name!r} is no outlet of the task"
        log.warning("asset_event_refused", dag_id=view.dag_id, run_id=view.run_id, task_id=task_id, reason=reason)
    for event in events_of(spec.outlets, records):
        yield AssetEventWrite(event=event, dag_run_id=place[0], task_id=task_id, map_index=map_index)


def _expansion(views: Views, draft: Draft, dag_run_id: int, node: int) -> Expansion:
    return Expansion(
        dag_run_id=dag_run_id,
        task_id=views.runs[dag_run_id].view.shape.nodes[node].spec.task_id,
        added=tuple(draft.first[place] for place in draft.added[dag_run_id, node]),
    )


def _key(views: Views, dag_run_id: int, i: int) -> tuple[int, str, int]:
    view = views.runs[dag_run_id].view
    return dag_run_id, view.node_of(i).spec.task_id, view.facts[i].map_index


def _run_write(dag_run_id: int, draft: Draft, views: Views) -> RunWrite:
    loaded = views.runs[dag_run_id]
    run = loaded.view.run
    return RunWrite(
        dag_run_id=dag_run_id,
        revision=draft.revisions[dag_run_id],
        state=run.state.value if dag_run_id in draft.moved_runs else None,
        start_date=run.start_date,
        end_date=run.end_date,
        because=run.because,
        has_deadlines=bool(loaded.version.spec.deadlines),
    )
