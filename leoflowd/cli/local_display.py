"""What `leoflow test` shows while a run goes on: lines in a pipe, a live table under the log on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from leoflowd.cli.local_run import LocalRun
from leoflowd.cli.output import STATE_STYLES, Output, console, seconds, styled
from leoflowd.contract.overriding import override
from leoflowd.contract.states import FINISHED
from leoflowd.core.run_view import InstanceFacts

if TYPE_CHECKING:
    from rich.live import Live


def display_for(out: Output) -> Display:
    return LiveDisplay(out) if sys.stdout.isatty() and not out.as_json else Display(out)


class Display:
    """Lines as they come. With `-o json` nothing: the document says it all."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lock = threading.Lock()

    def show(self, run: LocalRun) -> None:
        self._out.note(f"{run.spec.dag_id}: {len(run.spec.tasks)} tasks")

    def refresh(self) -> None:
        """Nothing to refresh in a stream of lines."""

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While a person is asked."""
        yield

    def line(self, task_id: str, line: dict[str, Any]) -> None:
        """A log line of a task, or its new state; called from several threads."""
        with self._lock:
            for text in _texts(task_id, line):
                self._out.say(text)


class LiveDisplay(Display):
    """On a terminal: the log scrolls above a table of the tasks."""

    def __init__(self, out: Output) -> None:
        super().__init__(out)
        self._run: LocalRun | None = None
        self._live: Live | None = None

    @override
    def show(self, run: LocalRun) -> None:
        from rich.live import Live

        self._run = run
        self._live = Live(self._table(), console=console(), auto_refresh=False)
        self._live.start()

    @override
    def refresh(self) -> None:
        if self._live is not None:
            with self._lock:
                self._live.update(self._table(), refresh=True)

    @override
    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    @override
    @contextmanager
    def paused(self) -> Iterator[None]:
        assert self._live is not None
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    @override
    def line(self, task_id: str, line: dict[str, Any]) -> None:
        if self._live is not None:
            with self._lock:
                for text in _texts(task_id, line):
                    self._live.console.print(styled(text))

    def _table(self) -> Any:
        from rich.table import Table

        assert self._run is not None
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("task", "state", "try", "time"):
            table.add_column(header)
        for instance, facts in enumerate(self._run.view.facts):
            if facts.state in FINISHED and len(self._run.view.facts) > console().height - 4:
                continue  # a table higher than the window cannot be redrawn
            state = styled(str(facts.state), STATE_STYLES.get(facts.state, ""))
            table.add_row(
                styled(self._run.name_of(instance)), state, str(facts.try_number), time_of(facts, self._run.clock.now())
            )
        return table


def _texts(task_id: str, line: dict[str, Any]) -> list[str]:
    if "state" in line:
        return [f"{task_id} -> {line['state']}: {line['event']}"]
    texts = [f"{task_id} | {line.get('event', '')}"]
    for error in line.get("error_detail") or ():
        frames = error.get("frames") or ()
        texts += [f"{task_id} |   {at.get('filename')}:{at.get('lineno')} in {at.get('name')}" for at in frames]
        texts.append(f"{task_id} |   {error.get('exc_type')}: {error.get('exc_value')}")
    return texts


def time_of(facts: InstanceFacts, now: datetime) -> str:
    if facts.start_date is None:
        return ""
    end = facts.end_date or now
    return seconds((end - facts.start_date).total_seconds())
