"""The screen of `leoflow top`: the tables of `top_view`, anew every few seconds. The only module that imports Textual.

It looks in a thread, so that a slow server never holds up the keyboard, and keeps what it saw last when one look fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from leoflowd.cli import top_view
from leoflowd.cli.failures import CommandFailed
from leoflowd.cli.output import STATE_STYLES, styled
from leoflowd.cli.top_view import Look
from leoflowd.contract.overriding import override

PAUSED = "paused; space goes on"
T = TypeVar("T")


class Top(App[None]):
    """`look` and `explain` ask the server; both may raise `CommandFailed`, which is shown."""

    TITLE = "leoflow top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("r", "refresh_now", "Refresh"),
        Binding("space", "pause", "Pause"),
        Binding("escape", "close", "Close explanation"),
    ]
    CSS = """
    #facts { padding: 0 1; height: auto; }
    #problem { padding: 0 1; color: $error; height: auto; }
    .title { padding: 0 1; text-style: bold; }
    DataTable { height: auto; max-height: 14; }
    #because { padding: 0 1; height: auto; max-height: 12; border-top: solid $primary; display: none; }
    """

    def __init__(
        self, look: Callable[[], Look], explain: Callable[[str, str], Sequence[str]], *, every_s: float
    ) -> None:
        super().__init__()
        self._look, self._explain, self._every_s = look, explain, every_s
        self._is_paused = self._is_looking = False
        self._runs: list[tuple[str, str]] = []
        """(dag id, run id) of each line of the first table."""

    @override
    def compose(self) -> ComposeResult:
        yield Static(id="facts")
        yield Static(id="problem")
        with VerticalScroll(can_focus=False):
            for name in ("runs", "waits", "pools"):
                yield Static(id=f"{name}-title", classes="title")
                yield DataTable[Any](id=name, cursor_type="row", zebra_stripes=True)
        yield Static(id="because")
        yield Footer()

    def on_mount(self) -> None:
        for name, headers in (
            ("runs", top_view.RUN_HEADERS),
            ("waits", top_view.WAIT_HEADERS),
            ("pools", top_view.POOL_HEADERS),
        ):
            self._table(name).add_columns(*headers)
        self._table("runs").focus()
        self.set_interval(self._every_s, self._refresh_unless_paused)
        self.refresh_look()

    def _refresh_unless_paused(self) -> None:
        if not self._is_paused:
            self.refresh_look()

    def refresh_look(self) -> None:
        """One look at a time: those at a slow server would pile up."""
        if not self._is_looking:
            self._is_looking = True
            self._look_once()

    @work(thread=True)
    def _look_once(self) -> None:
        try:
            seen = self._look()
        except CommandFailed as failure:
            self.call_from_thread(self._if_there, self._show_problem, str(failure))
        else:
            self.call_from_thread(self._if_there, self.show, seen)
        finally:
            self._is_looking = False

    def _if_there(self, show: Callable[[T], None], what: T) -> None:
        """An answer that comes while the screen is taken down has nowhere to go."""
        if self.query("#facts"):
            show(what)

    def show(self, seen: Look) -> None:
        """The newest look; the cursor of each table stays on its line."""
        told = "\n".join(f"{what + ':':18} {how}" for what, how in top_view.facts(seen))
        self.query_one("#facts", Static).update(styled(told))
        self._show_problem(PAUSED if self._is_paused else "")
        self._runs = [(run["dag_id"], run["dag_run_id"]) for run in seen.runs]
        self._fill("runs", top_view.title("Runs", seen.runs_count, seen.runs), top_view.run_rows(seen))
        self._fill("waits", top_view.title("Waits", seen.waits_count, seen.waits), top_view.wait_rows(seen))
        self._fill("pools", top_view.title("Pools", len(seen.pools), seen.pools), top_view.pool_rows(seen))

    def _fill(self, name: str, title: str, rows: Sequence[Sequence[str]]) -> None:
        self.query_one(f"#{name}-title", Static).update(styled(title))
        table = self._table(name)
        line = table.cursor_row
        table.clear()
        for row in rows:
            table.add_row(*(styled(cell, STATE_STYLES.get(cell, "")) for cell in row))
        table.move_cursor(row=min(line, len(rows) - 1) if rows else 0)

    def _table(self, name: str) -> DataTable[Any]:
        return self.query_one(f"#{name}", DataTable)

    def _show_problem(self, text: str) -> None:
        self.query_one("#problem", Static).update(styled(text))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter on a run: why it is in its state."""
        if event.data_table.id == "runs" and event.cursor_row < len(self._runs):
            self.explain_run(*self._runs[event.cursor_row])

    @work(thread=True, exclusive=True, group="explain")
    def explain_run(self, dag_id: str, run_id: str) -> None:
        try:
            because = self._explain(dag_id, run_id)
        except CommandFailed as failure:
            because = [str(failure)]
        told = "\n".join(f"- {sentence}" for sentence in because)
        self.call_from_thread(self._if_there, self._show_because, told)

    def _show_because(self, text: str) -> None:
        panel = self.query_one("#because", Static)
        panel.update(styled(text))
        panel.display = bool(text)

    def action_refresh_now(self) -> None:
        self.refresh_look()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self._show_problem(PAUSED if self._is_paused else "")

    def action_close(self) -> None:
        self._show_because("")
