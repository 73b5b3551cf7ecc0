"""`leoflow waits`: what task instances wait for, why still, and what a person may do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo, seconds

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

WAITS = "/leoflow/api/waits"
HEADERS = ("id", "dag_id", "run_id", "task_id", "state", "waits for", "last seen", "since", "looks again", "times out")
PROBE_HEADERS = ("when", "took", "saw")
TARGET_HEADERS = ("target", "connection", "breaker", "in flight", "held back", "mean answer")


def wait_path(wait_id: str) -> str:
    from leoflowd.cli.client import segment

    return f"{WAITS}/{segment(wait_id)}"


@click.group()
def waits() -> None:
    """List, explain, probe, fire and fail what tasks wait for."""


@waits.command("list")
@click.option("--dag", "dag_id", help="Only of this DAG.")
@click.option("--run", "run_id", help="Only of this run.")
@click.option("--task", "task_id", help="Only of this task.")
@click.option("--kind", "kinds", multiple=True, help="Only of this kind (http, file, time, ...); repeatable.")
@click.option("--state", type=click.Choice(["deferred", "up_for_reschedule"]), help="Only in this state.")
@click.option(
    "--order-by", default="-registered_at", show_default=True, help="A column; with - in front, turned round."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@server_command
def list_waits(
    client: Client,
    out: Output,
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    kinds: tuple[str, ...],
    state: str | None,
    order_by: str,
    limit: int,
) -> None:
    """List what waits now, the newest first."""
    from itertools import islice

    found = client.pages(
        WAITS,
        "waits",
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        kind=list(kinds) or None,
        state=state,
        order_by=order_by,
    )
    rows = list(islice(found, limit + 1))
    is_cut = len(rows) > limit
    rows = rows[:limit]
    out.show({"waits": rows, "is_complete": not is_cut}, lambda: out.table(HEADERS, [_row(row) for row in rows]))
    if is_cut:
        out.note(f"only the first {limit} are shown; filter them, or raise --limit")


def _row(wait: dict[str, Any]) -> tuple[Any, ...]:
    index = "" if wait["map_index"] < 0 else f"[{wait['map_index']}]"
    return (
        wait["id"],
        wait["dag_id"],
        wait["dag_run_id"],
        f"{wait['task_id']}{index}",
        wait["state"],
        wait["waits_for"],
        wait["last_observation"],
        wait["registered_at"],
        wait["blocked_by"] or wait["due_at"] or wait["next_probe_at"],
        wait["deadline_at"],
    )


@waits.command("show")
@click.argument("wait_id")
@server_command
def show_wait(client: Client, out: Output, wait_id: str) -> None:
    """Say why one wait still waits, with its last probes."""
    wait = client.get(wait_path(wait_id))
    out.show(wait, lambda: _print(out, wait))


def _print(out: Output, wait: dict[str, Any]) -> None:
    echo(f"{wait['dag_id']} {wait['dag_run_id']} {wait['task_id']} (map index {wait['map_index']})")
    for sentence in wait["because"]:
        echo(f"- {sentence}")
    probes = (wait["explanation"] or {}).get("probes")
    if probes:
        out.table(PROBE_HEADERS, [(probe["at"], f"{probe['duration_s']:.3f} s", probe["summary"]) for probe in probes])


@waits.command("probe")
@click.argument("wait_id")
@server_command
def probe(client: Client, out: Output, wait_id: str) -> None:
    """Probe now; ends a quarantine."""
    _act(client, out, wait_id, "probe", "probe asked for")


@waits.command("fire")
@click.argument("wait_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def fire(client: Client, out: Output, wait_id: str, yes: bool) -> None:
    """End the wait as if its condition were met."""
    confirm(out, f"Fire wait {wait_id!r} as if its condition were met?", yes=yes)
    _act(client, out, wait_id, "fire", "fired")


@waits.command("fail")
@click.argument("wait_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def fail(client: Client, out: Output, wait_id: str, yes: bool) -> None:
    """End the wait as failed."""
    confirm(out, f"Fail wait {wait_id!r}?", yes=yes)
    _act(client, out, wait_id, "fail", "failed")


def _act(client: Client, out: Output, wait_id: str, action: str, word: str) -> None:
    document = client.post(f"{wait_path(wait_id)}/{action}", None)
    out.show(document, lambda: echo(f"{word}: {wait_id}"))


@waits.command("set-interval")
@click.argument("wait_id")
@click.argument("poke_interval_s", metavar="SECONDS", type=float)
@server_command
def set_interval(client: Client, out: Output, wait_id: str, poke_interval_s: float) -> None:
    """Probe for this wait every SECONDS (0.1 to 86400)."""
    document = client.patch(wait_path(wait_id), {"poke_interval_s": poke_interval_s})
    out.show(document, lambda: echo(f"every {poke_interval_s:g} s: {wait_id}"))


@waits.command("stats")
@server_command
def stats(client: Client, out: Output) -> None:
    """Show the numbers of the cheap-task pool."""
    pool = client.get("/leoflow/api/pool")
    out.show(pool, lambda: _print_pool(out, pool))


def _print_pool(out: Output, pool: dict[str, Any]) -> None:
    served = pool["probes_made"] + pool["probes_saved"]
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(pool["waits"].items(), key=lambda item: -item[1]))
    out.table(
        ("cheap-task pool", ""),
        [
            ("waits", f"{sum(pool['waits'].values())}  ({kinds or 'none'})"),
            ("distinct probes", pool["groups"]),
            ("probes", f"{pool['probes_made']}, {pool['probes_failed']} failed, {pool['probes_in_flight']} in flight"),
            ("waits per probe", f"{served / pool['probes_made']:.1f}" if pool["probes_made"] else ""),
            (
                "lateness",
                f"p50 {seconds_or_dash(pool['lateness_p50_s'])}, p99 {seconds_or_dash(pool['lateness_p99_s'])}",
            ),
            (
                "ended",
                f"{pool['ended_fired']} fired, {pool['ended_failed']} failed, {pool['ended_timed_out']} timed out",
            ),
            ("armed at the start", f"{pool['armed']} in {seconds(pool['armed_in_s'])}"),
            ("quarantined", pool["quarantined_count"]),
            ("event loop stalls", pool["stalls"]),
        ],
    )
    if pool["targets"]:
        echo()
        out.table(TARGET_HEADERS, [_target(target) for target in pool["targets"]])


def _target(target: dict[str, Any]) -> tuple[Any, ...]:
    return (
        target["target"],
        target["connection_id"],
        target["breaker"],
        target["in_flight"],
        target["waiting_groups"],
        seconds_or_dash(target["latency_mean_s"]),
    )


def seconds_or_dash(value: float | None) -> str:
    """Milliseconds matter here."""
    return "-" if value is None else f"{value:.3f} s"
