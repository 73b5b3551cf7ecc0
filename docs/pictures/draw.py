"""Draws the two pictures of the README: `make docs`. A test compares the files with what this prints.

Plain SVG from coordinates, no drawing library: a box is a box, an arrow is an arrow, and a diff shows what moved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
INK, SOFT, PAPER = "#1f2937", "#6b7280", "#ffffff"
BLUE, GREEN, AMBER, ROSE, GREY = "#dbeafe", "#dcfce7", "#fef3c7", "#ffe4e6", "#f3f4f6"


@dataclass
class Picture:
    """SVG elements in drawing order."""

    width: int
    height: int
    title: str
    elements: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, w: int, h: int, *, fill: str = PAPER, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        look = f'rx="8" fill="{fill}" stroke="{INK}" stroke-width="1.2"{dash}'
        self.elements.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" {look}/>')

    def text(
        self, x: int, y: int, words: str, *, size: int = 13, bold: bool = False, soft: bool = False, mid: bool = False
    ) -> None:
        attributes = f'x="{x}" y="{y}" font-size="{size}" fill="{SOFT if soft else INK}"'
        attributes += ' font-weight="600"' if bold else ""
        attributes += ' text-anchor="middle"' if mid else ""
        self.elements.append(f"<text {attributes}>{escape(words)}</text>")

    def card(
        self, x: int, y: int, w: int, h: int, head: str, *lines: str, fill: str = PAPER, dashed: bool = False
    ) -> None:
        """A box with a bold head and small lines under it, centred."""
        self.box(x, y, w, h, fill=fill, dashed=dashed)
        top = y + (h - 16 * len(lines)) // 2 + 5
        self.text(x + w // 2, top, head, bold=True, mid=True)
        for number, line in enumerate(lines, start=1):
            self.text(x + w // 2, top + 16 * number, line, size=11, soft=True, mid=True)

    def arrow(self, *points: tuple[int, int], both: bool = False) -> None:
        path = " ".join(f"{x},{y}" for x, y in points)
        start = ' marker-start="url(#head)"' if both else ""
        self.elements.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#head)"{start}/>'
        )

    def step(self, x: int, y: int, number: int) -> None:
        self.elements.append(f'<circle cx="{x}" cy="{y}" r="10" fill="{INK}"/>')
        look = f'font-size="12" font-weight="600" fill="{PAPER}" text-anchor="middle"'
        self.elements.append(f'<text x="{x}" y="{y + 4}" {look}>{number}</text>')

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'font-family="ui-sans-serif, system-ui, sans-serif">\n<title>{escape(self.title)}</title>\n'
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="{INK}"/></marker></defs>\n'
            f'<rect width="{self.width}" height="{self.height}" fill="{PAPER}"/>\n'
        )
        return head + "\n".join(self.elements) + "\n</svg>\n"


def architecture() -> Picture:
    """Who talks to whom: Postgres holds the facts, core decides, the shells carry out."""
    p = Picture(960, 560, "Leoflow: authors compile DAGs, one Trio process schedules them, agents run their tasks")
    p.card(20, 30, 190, 70, "dag.py, leoflow.yaml", "standard Airflow DAGs", fill=AMBER)
    p.card(20, 150, 190, 84, "compile", "own interpreter, deadline,", "structural shim, no Airflow", fill=AMBER)
    p.card(20, 284, 190, 70, "dag.json", "immutable, SHA-256", fill=AMBER)
    p.arrow((115, 100), (115, 150))
    p.arrow((115, 234), (115, 284))
    p.card(290, 30, 380, 54, "browser, Airflow clients, leoflow CLI", "the unmodified Airflow 3.2 UI", fill=GREY)
    p.box(270, 120, 420, 300, fill=BLUE)
    p.text(480, 142, "leoflowd: one process, one nursery tree, Trio", bold=True, mid=True)
    p.card(290, 156, 180, 58, "api", "/api/v2, /ui, our pages")
    p.card(490, 156, 180, 58, "agents", "gRPC, a stream per try")
    p.card(290, 234, 180, 74, "scheduler", "wake, view, core.plan,", "apply by compare-and-set")
    p.card(490, 234, 180, 74, "executors", "launch after the commit,", "named after the try")
    p.card(290, 326, 180, 74, "cheap-task pool", "waits as rows: planned,", "see docs/roadmap.md", dashed=True)
    p.card(490, 326, 180, 74, "core", "pure decisions: no I/O,", "no clock, no randomness", fill=GREEN)
    p.card(290, 470, 380, 66, "PostgreSQL holds the facts", "embedded in Lite, your own elsewhere", fill=GREEN)
    p.card(750, 156, 190, 74, "agent", "one per host, outlives", "a restart of the daemon", fill=ROSE)
    p.card(750, 270, 190, 74, "fork server", "one warm interpreter", "per DAG environment", fill=ROSE)
    p.card(750, 384, 190, 74, "one process per try", "your code, its own group,", "your own packages", fill=ROSE)
    p.arrow((306, 84), (306, 156), both=True)
    p.arrow((210, 319), (250, 319), (250, 190), (290, 190))
    p.text(214, 180, "register", size=11, soft=True)
    p.arrow((470, 271), (490, 271))
    p.arrow((670, 185), (750, 185), both=True)
    p.arrow((845, 230), (845, 270))
    p.arrow((845, 344), (845, 384))
    p.arrow((480, 420), (480, 470), both=True)
    return p


def life_of_a_task() -> Picture:
    """The nursery tree, and the way of one task through it."""
    p = Picture(960, 560, "The nursery tree of leoflowd and the life of a task in seven steps")
    p.box(20, 20, 500, 520, fill=GREY)
    p.text(36, 42, "signals", bold=True)
    p.box(36, 54, 468, 472, fill=BLUE)
    p.text(52, 76, "store", bold=True)
    p.text(100, 76, "embedded Postgres (Lite), lanes, listener", size=11, soft=True)
    p.box(52, 90, 436, 422, fill=PAPER)
    p.text(68, 112, "workers", bold=True)
    p.card(68, 126, 196, 56, "agents", "contain per task instance", fill=ROSE)
    p.card(276, 126, 196, 56, "executors", "contain per task instance", fill=ROSE)
    p.box(68, 198, 404, 298, fill=AMBER)
    p.text(84, 220, "deciders", bold=True)
    p.text(158, 220, "leadership is a scope", size=11, soft=True)
    p.card(84, 234, 180, 72, "scheduler", "restart_on(StoreUnavailable)", "contain per dag run")
    p.card(276, 234, 180, 72, "sweeps", "silent agents, orphans,", "what a lost wake-up missed")
    p.box(84, 324, 372, 156, fill=GREEN)
    p.text(100, 346, "edge", bold=True)
    p.card(100, 360, 166, 100, "api", "UI and clients,", "contain per request")
    p.card(278, 360, 166, 100, "workspace watcher", "Lite: compiles changes,", "contain per project")
    p.step(444, 360, 1)
    p.step(266, 360, 2)
    p.step(264, 234, 3)
    p.step(472, 126, 4)
    p.step(264, 126, 5)
    p.step(264, 182, 6)
    p.step(472, 182, 7)
    steps = (
        ("Compile", "A saved dag.py is compiled by another interpreter", "and registered as an immutable version."),
        (
            "Dag run",
            "A click, a cron tick or the API inserts the run and its",
            "task instances in one transaction, then a hint.",
        ),
        (
            "Decide",
            "core.plan reads facts and answers decisions; each is",
            "applied by compare-and-set, many in one commit.",
        ),
        ("Launch", "Only after the commit, and named after the try, so", "that doing it twice is doing it once."),
        (
            "Report",
            "The agent streams logs, XComs and at last the outcome;",
            "a stale try is told to stop, its writes are refused.",
        ),
        (
            "Commit",
            "The outcome and its downstream become facts in one",
            "transaction; then the agent may forget the try.",
        ),
        ("Next", "Downstream tasks are launched at once: no polling", "interval lies between two tasks."),
    )
    for index, (head, *lines) in enumerate(steps):
        y = 50 + index * 72
        p.step(556, y, index + 1)
        p.text(576, y + 5, head, size=14, bold=True)
        for number, line in enumerate(lines):
            p.text(576, y + 23 + 16 * number, line, size=12, soft=True)
    return p


PICTURES = {"architecture.svg": architecture, "life-of-a-task.svg": life_of_a_task}


def main() -> None:
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw().svg())


if __name__ == "__main__":
    main()
