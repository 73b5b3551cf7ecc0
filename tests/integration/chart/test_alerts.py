"""Each alert of the chart, judged by Prometheus' own `promtool`: when it fires, and when it is silent."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.integration.chart.conftest import NAMESPACE, Object, Rendered, one
from tests.prometheus_server import program

Series = dict[str, str]
"""Name with labels -> values from minute to minute, as promtool writes them."""
HERE, ELSEWHERE = f'namespace="{NAMESPACE}"', 'namespace="elsewhere"'
POOL = "leoflow_cheap_task_pool"


class Case(msgspec.Struct, frozen=True):
    fires: tuple[Series, ...]
    """Each of them at `at_minute`, not a minute earlier."""
    at_minute: int
    silent: tuple[Series, ...]
    """Each of them, for an hour. The samples of another installation are always beside them."""
    severity: str
    summary: str
    labels: dict[str, str] = {}


def delays(*, within_10: int, within_60: int, all_of_them: int) -> Series:
    """So many pods more each minute, by how many seconds they took."""
    counts = {"10.0": within_10, "60.0": within_60, "+Inf": all_of_them}
    name = "leoflow_pods_create_delay_seconds_bucket"
    return {f'{name}{{{HERE},le="{bound}"}}': f"0+{count}x60" for bound, count in counts.items()}


def made(in_time: str, all_of_them: str) -> Series:
    """Dag runs from minute to minute, and how many of them within ten seconds after they were due."""
    name = "leoflow_clock_dag_run_delay_seconds"
    return {
        f'{name}_bucket{{{HERE},le="5.0"}}': "0x400",
        f'{name}_bucket{{{HERE},le="10.0"}}': in_time,
        f"{name}_count{{{HERE}}}": all_of_them,
    }


LEADING = "leoflow_leadership_leading"
CASES: dict[str, Case] = {
    "LeoflowNobodySchedules": Case(
        fires=({f'{LEADING}{{{HERE},pod="a"}}': "0x60", f'{LEADING}{{{HERE},pod="b"}}': "0x60"},),
        at_minute=2,
        silent=(
            {f'{LEADING}{{{HERE},pod="a"}}': "0x60", f'{LEADING}{{{HERE},pod="b"}}': "1x60"},
            # a failover
            {f'{LEADING}{{{HERE},pod="a"}}': "1x9 0x60", f'{LEADING}{{{HERE},pod="b"}}': "0x10 1x60"},
        ),
        severity="critical",
        summary="No daemon leads, so nothing is scheduled",
    ),
    "LeoflowComponentFault": Case(
        fires=({f'leoflow_component_fault{{{HERE},component="redis"}}': "1x60"},),
        at_minute=5,
        silent=(
            {f'leoflow_component_fault{{{HERE},component="redis"}}': "0x60"},
            {f'leoflow_component_fault{{{HERE},component="redis"}}': "1x3 0 1x3 0x60"},
        ),
        severity="warning",
        summary="redis of a daemon is of no use",
        labels={"component": "redis"},
    ),
    "LeoflowSensorsLate": Case(
        fires=({f'{POOL}_lateness_seconds{{{HERE},quantile="0.99"}}': "31x60"},),
        at_minute=10,
        silent=(
            {f'{POOL}_lateness_seconds{{{HERE},quantile="0.99"}}': "30x60"},
            {f'{POOL}_lateness_seconds{{{HERE},quantile="1"}}': "100x60"},
        ),
        severity="warning",
        summary="One probe of a hundred is 31 s late",
    ),
    "LeoflowRunsLate": Case(
        fires=(made("0+8x60", "0+10x60"),),
        at_minute=1,
        silent=(
            made("0+9x60", "0+10x60"),
            made("0+9x20 182+10x40", "0+10x60"),
            made("0x60", "0x60"),  # nothing was due
        ),
        severity="critical",
        summary="20% of the dag runs of an hour were made late",
    ),
    "LeoflowRunsOftenLate": Case(
        fires=(made("0+9x60", "0+10x60"),),
        at_minute=1,
        silent=(made("0+95x60", "0+100x60"),),
        severity="warning",
        summary="10% of the dag runs of six hours were made late",
    ),
    "LeoflowPodsLate": Case(
        fires=(delays(within_10=0, within_60=10, all_of_them=10),),
        at_minute=11,
        silent=(
            delays(within_10=10, within_60=10, all_of_them=10),
            delays(within_10=199, within_60=200, all_of_them=200),
        ),
        severity="warning",
        summary="One pod of a hundred is asked for 59.5s after its task was decided",
    ),
    "LeoflowRunsSetAside": Case(
        fires=({f'leoflow_scheduler_quarantined_dag_runs{{{HERE},pod="a"}}': "2x60"},),
        at_minute=1,
        silent=({f'leoflow_scheduler_quarantined_dag_runs{{{HERE},pod="a"}}': "0x60"},),
        severity="warning",
        summary="2 dag runs are set aside and wait for a person",
    ),
    "LeoflowEventLoopStalls": Case(
        fires=({f'{POOL}_event_loop_stalls_total{{{HERE},pod="a"}}': "0+2x60"},),
        at_minute=17,
        silent=({f'{POOL}_event_loop_stalls_total{{{HERE},pod="a"}}': "0+1x60"},),
        severity="warning",
        summary="The event loop of a daemon stands still again and again",
        labels={"namespace": NAMESPACE, "pod": "a"},
    ),
    "LeoflowLogsUnwritten": Case(
        fires=({f'leoflow_agents_logs_unwritten{{{HERE},pod="a"}}': "3x60"},),
        at_minute=10,
        silent=({f'leoflow_agents_logs_unwritten{{{HERE},pod="a"}}': "3x8 0x2 3x8 0x60"},),
        severity="warning",
        summary="Task logs cannot be stored; their agents keep them",
    ),
}
WELL = {f'{LEADING}{{{HERE},pod="w"}}': "1x60"}
"""Beside the cases of the other alerts."""


@pytest.fixture(scope="module")
def rules(rendered: Rendered) -> dict[str, Any]:
    spec: Object = one(rendered(metrics={"rules": {"enabled": True}}), "PrometheusRule", "leo-leoflow")["spec"]
    return spec


@pytest.fixture
def promtool(rules: dict[str, Any], tmp_path: Path) -> Any:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))

    def run(*arguments: str) -> None:
        command = [program("promtool"), *arguments]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr

    return run


def alert(rules: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (rule for group in rules["groups"] for rule in group["rules"] if rule["alert"] == name)
    return dict(found)


def test_the_rules_are_prometheus_rules(promtool: Any) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")


def test_every_alert_has_a_case(rules: dict[str, Any]) -> None:
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_its_time_has_come_and_is_silent_in_its_counter_examples(
    promtool: Any, rules: dict[str, Any], name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    told = {"summary": case.summary, "description": alert(rules, name)["annotations"]["description"]}
    expected = {"exp_labels": {"severity": case.severity, **case.labels}, "exp_annotations": told}
    tests = [
        judged(name, series, {case.at_minute - 1: [], case.at_minute: [expected]}) for series in map(beside, case.fires)
    ]
    everywhere = {text.replace(HERE, ELSEWHERE): values for series in case.fires for text, values in series.items()}
    tests += [
        judged(name, series | everywhere, {minute: [] for minute in range(0, 60, 2)})
        for series in map(beside, case.silent)
    ]
    write(tmp_path, tests)
    promtool("test", "rules", "tests.yaml")


def test_an_installation_that_says_nothing_is_one_where_nobody_schedules(
    promtool: Any, rules: dict[str, Any], tmp_path: Path
) -> None:
    name = "LeoflowNobodySchedules"
    told = alert(rules, name)["annotations"]
    expected = {"exp_labels": {"severity": "critical", "namespace": NAMESPACE}, "exp_annotations": told}
    write(tmp_path, [judged(name, {f"{LEADING}{{{ELSEWHERE}}}": "1x60"}, {1: [], 2: [expected]})])
    promtool("test", "rules", "tests.yaml")


def beside(series: Series) -> Series:
    return series if any(text.startswith(LEADING) for text in series) else series | WELL


def judged(name: str, series: Series, expected: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": text, "values": values} for text, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": alerts} for minute, alerts in expected.items()
        ],
    }


def write(folder: Path, tests: list[dict[str, Any]]) -> None:
    told = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(told))
