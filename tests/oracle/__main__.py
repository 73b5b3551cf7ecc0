"""Does every end state that ours reaches exist in Airflow? `make oracle ARGS="--count 300"`.

Exits with 1 when a plan ends here as it never ended there, and says which tasks differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite.environments import Environments
from tests.oracle.ours import EndState, run, spec_of
from tests.oracle.plans import Plan, plan_of, without

CACHE = Path(__file__).parents[2] / ".cache" / "airflow-environment"
ORDERS = 3
"""In which each plan runs here."""
_OUT_OF_A_GROUP = "what a task inside of a mapped group returns can be mapped over here, and never there"
_IN_A_GROUP = "a branch or a short circuit inside of a mapped group skips nobody there"
_MET_EARLY = (
    "a rule that needs no or one upstream task only is met before what is mapped over has ended: it fails there"
)
_BY_ADDRESS = "its rule skips it, and what it maps over failed: there the address of two classes in memory decides"
KNOWN = {
    34: _OUT_OF_A_GROUP,
    64: "what follows from one step is judged from the front of the graph to its end",
    83: "Airflow ends the run beside instances that the same pass has expanded and scheduled",
    224: _OUT_OF_A_GROUP,
    233: _OUT_OF_A_GROUP,
    253: _IN_A_GROUP,
    287: _IN_A_GROUP,
    299: _MET_EARLY,
    1002: _IN_A_GROUP,
    1023: _MET_EARLY,
    1042: _MET_EARLY,
    1077: _MET_EARLY,
    2001: _BY_ADDRESS,
    2002: _OUT_OF_A_GROUP,
}
"""Seeds that differ on purpose: docs/differences.md has the reasons."""


class Airflow:
    """One process of Airflow's interpreter that answers requests."""

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("in_airflow.py")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"Airflow's process ended: {self._log.read()[-2000:].decode(errors='replace')}")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(airflow: Airflow, plan: Plan, samples: int) -> str | None:
    """None, or what differs: first the same orders are tried there, then `samples` others."""
    runs = [run(plan, order) for order in range(ORDERS)]
    found = airflow.ask(plan=plan, orders=[order for _, order in runs], samples=samples)
    if "error" in found:
        return f"Airflow cannot run it: {found['error'][:300]}"
    ups = {task.task_id: sorted(task.upstream_task_ids) for task in spec_of(plan).tasks}
    if ups != found["ups"]:
        return f"not the same graph: {ups}, in Airflow {found['ups']}"
    theirs = [_settled(end) for end in found["ends"]]
    return next((_told(end, theirs) for end in (_settled(end) for end, _ in runs) if end not in theirs), None)


def _settled(end: EndState) -> EndState:
    """Airflow expands a literal when the run begins, ours when the task may run: instances that all ended in the same
    way without running count as the one that was never expanded."""
    states: dict[str, dict[str, str]] = {}
    for key, state in end.items():
        states.setdefault(key.partition("[")[0], {})[key] = state
    found = {}
    for task_id, own in states.items():
        alike = set(own.values())
        found.update({f"{task_id}[-1]": alike.pop()} if alike in ({"skipped"}, {"upstream_failed"}) else own)
    return found


def _told(end: EndState, theirs: list[EndState]) -> str:
    def apart(other: EndState) -> dict[str, tuple[str | None, str | None]]:
        return {key: (end.get(key), other.get(key)) for key in {**end, **other} if end.get(key) != other.get(key)}

    return f"(ours, Airflow's): {min(map(apart, theirs), key=len)}"


def shrunk(airflow: Airflow, plan: Plan, samples: int) -> Plan:
    """The plan without the tasks that the difference does not need."""
    for task in reversed(plan["tasks"]):
        smaller = without(plan, task["id"])
        if smaller["tasks"] and (compare(airflow, smaller, samples) or "").startswith("(ours"):
            return shrunk(airflow, smaller, samples)
    return plan


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__.splitlines()[0])
    parser.add_argument("--airflow-python", type=Path, help="an interpreter that has Airflow; else one is installed")
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--count", type=int, default=300, help="how many plans (default 300)")
    parser.add_argument("--samples", type=int, default=10, help="random orders in Airflow per plan (default 10)")
    options = parser.parse_args()
    airflow = Airflow(options.airflow_python or Environments(CACHE).ensure(EnvironmentSpec(connectors=("http",))))
    different = 0
    for seed in range(options.first, options.first + options.count):
        plan = plan_of(seed)
        what = compare(airflow, plan, options.samples)
        if what is not None and seed in KNOWN:
            sys.stdout.write(f"seed {seed}: differs, as it is meant to: {KNOWN[seed]}\n")
        elif what is not None:
            different += 1
            smaller = shrunk(airflow, plan, options.samples) if what.startswith("(ours") else plan
            sys.stdout.write(f"seed {seed}: {compare(airflow, smaller, options.samples)}\n  {json.dumps(smaller)}\n")
            sys.stdout.flush()
    airflow.end()
    sys.stdout.write(f"oracle: {options.count} plans, {different} differ\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
