"""`GET /metrics`: what the components count, in Prometheus' text format. Blueprint `own_metrics`.

The numbers are those of `statistics()`, read when somebody asks: nothing is counted twice. Labels are components,
lanes, kinds and blueprints, never DAGs, runs or targets: a scrape stays small whatever the installation holds.
Read without a login: from this machine, or with `ApiConfig.metrics_token` (a scraper's file holds no login).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, Literal

import msgspec
import trio
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from quart import Blueprint, Response, current_app, g, request
from typing_extensions import override

from leoflowd.api.auth import client_address
from leoflowd.api.context import ApiContext, context
from leoflowd.api.problems import NotAuthenticated
from leoflowd.config import LOOPBACK
from leoflowd.contract.pool_view import PoolStatistics

blueprint = Blueprint("own_metrics", __name__)

KINDS_SHOWN = 40
"""Third parties add kinds; the rarest ones beyond this many are counted as `other`."""
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip")
"""A proxy on this machine speaks for others: whom it names is not this machine."""
_KEY = "LEOFLOW_METRICS"


class Reading(msgspec.Struct, frozen=True):
    """One field of a component's statistics as a metric. `field` may be a path: `launcher.created`."""

    field: str
    name: str
    kind: Literal["gauge", "counter", "histogram"]
    """A histogram's field is a `DelayCounts`."""
    help: str


READINGS: Mapping[str, tuple[Reading, ...]] = {
    "scheduler": (
        Reading("runs", "leoflow_scheduler_active_dag_runs", "gauge", "Dag runs in memory"),
        Reading("parked_runs", "leoflow_scheduler_parked_dag_runs", "gauge", "Active dag runs that only wait"),
        Reading(
            "queued_runs", "leoflow_scheduler_queued_dag_runs", "gauge", "Dag runs that max_active_runs holds back"
        ),
        Reading("live_tries", "leoflow_scheduler_live_tries", "gauge", "Tries that are queued or running"),
        Reading("steps", "leoflow_scheduler_steps", "counter", "Commits of decisions"),
        Reading("transitions", "leoflow_scheduler_transitions", "counter", "State moves of task instances"),
        Reading("stale_steps", "leoflow_scheduler_stale_steps", "counter", "Steps that found a newer revision"),
        Reading("quarantined_runs", "leoflow_scheduler_quarantined_dag_runs", "gauge", "Dag runs set aside by a fault"),
        Reading(
            "start_delays", "leoflow_scheduler_start_delay_seconds", "histogram", "From a try's launch to its start"
        ),
    ),
    "timetable clock": (
        Reading("created", "leoflow_clock_dag_runs_created", "counter", "Dag runs made by timetables"),
        Reading("failed", "leoflow_clock_failures", "counter", "Timetables that could not be evaluated"),
        Reading(
            "delays",
            "leoflow_clock_dag_run_delay_seconds",
            "histogram",
            "From when a dag run was due until it was made",
        ),
    ),
    "callbacks": (
        Reading("launched", "leoflow_callbacks_launched", "counter", "Processes of callbacks that were launched"),
        Reading("lost", "leoflow_callbacks_lost", "counter", "Callbacks whose agent fell silent"),
        Reading("refused", "leoflow_callbacks_refused", "counter", "Callbacks that could not be launched"),
        Reading("waiting", "leoflow_callbacks_open", "gauge", "Callbacks that are not done, at the last look"),
    ),
    "sweeps": (Reading("lost_tries", "leoflow_sweeps_lost_tries", "counter", "Tries whose agent fell silent"),),
    "deleted runs": (
        Reading(
            "cleaned", "leoflow_deleted_runs_cleaned", "counter", "Deleted dag runs whose logs and results are gone"
        ),
        Reading("failures", "leoflow_deleted_runs_failures", "counter", "Attempts at that which failed"),
    ),
    "retention": (
        Reading("removed_runs", "leoflow_retention_dag_runs", "counter", "Dag runs removed for their age or number"),
        Reading(
            "removed_audit_rows",
            "leoflow_retention_audit_rows",
            "counter",
            "Rows of the audit log removed for their age",
        ),
    ),
    "backfills": (
        Reading("open", "leoflow_backfills_open", "gauge", "DAGs with a backfill that is not over, at the last look"),
        Reading("decided", "leoflow_backfills_dag_runs", "counter", "Logical dates of backfills that were decided"),
        Reading("failed", "leoflow_backfills_failures", "counter", "Looks at a backfill that failed"),
    ),
    "asset watchers": (
        Reading("running", "leoflow_asset_watchers_running", "gauge", "Watchers of assets that run"),
        Reading("events", "leoflow_asset_watchers_events", "counter", "Events of assets that watchers made"),
        Reading("failures", "leoflow_asset_watchers_failures", "counter", "Watchers that failed, to be started again"),
    ),
    "inline http": (
        Reading("running", "leoflow_inline_http_running", "gauge", "HTTP calls of tasks being made"),
        Reading("waiting", "leoflow_inline_http_waiting", "gauge", "Calls that wait for a worker or for their host"),
        Reading("succeeded", "leoflow_inline_http_succeeded", "counter", "Calls that made their task succeed"),
        Reading("failed", "leoflow_inline_http_failed", "counter", "Calls that made their task fail"),
    ),
    "trigger hosts": (
        Reading("triggers", "leoflow_trigger_hosts_triggers", "gauge", "Triggers of authors' classes"),
        Reading("starting", "leoflow_trigger_hosts_starting", "gauge", "Triggers that no host has yet"),
        Reading("fired", "leoflow_trigger_hosts_fired", "counter", "Events of triggers"),
        Reading("failed", "leoflow_trigger_hosts_failed", "counter", "Triggers that failed"),
        Reading("restarts", "leoflow_trigger_hosts_restarts", "counter", "Hosts started again"),
        Reading("stalls", "leoflow_trigger_hosts_stalls", "counter", "Times that a trigger blocked its host"),
    ),
    "traces": (
        Reading("sent", "leoflow_traces_spans_sent", "counter", "Spans that the OTLP receiver took"),
        Reading("dropped", "leoflow_traces_spans_dropped", "counter", "Spans without room, or refused by the receiver"),
        Reading("failures", "leoflow_traces_failures", "counter", "Requests that the OTLP receiver did not take"),
    ),
    "process outbox": (
        Reading("dispatched", "leoflow_process_outbox_dispatched", "counter", "Tries handed to the process executor"),
        Reading("dropped", "leoflow_process_outbox_dropped", "counter", "Launches without room, to be repeated"),
    ),
    "inline outbox": (
        Reading("dispatched", "leoflow_inline_outbox_dispatched", "counter", "Calls handed to the cheap-task pool"),
        Reading("dropped", "leoflow_inline_outbox_dropped", "counter", "Calls without room, to be repeated"),
    ),
    "lock": (
        Reading("leading", "leoflow_leadership_leading", "gauge", "1 while this process schedules"),
        Reading("term", "leoflow_leadership_term", "gauge", "Term of the last leadership of this process"),
    ),
    "agents": (
        Reading("hosts", "leoflow_agents_hosts", "gauge", "Host agents attached"),
        Reading("tries", "leoflow_agents_tries", "gauge", "Tries connected"),
        Reading("outcomes", "leoflow_agents_outcomes", "counter", "Outcomes stored"),
        Reading("callbacks_failed", "leoflow_callbacks_failed", "counter", "Callbacks that ended as failed"),
        Reading("log_bytes", "leoflow_agents_log_bytes", "counter", "Bytes of task logs stored"),
        Reading("logs_unwritten", "leoflow_agents_logs_unwritten", "gauge", "Task logs that cannot be stored now"),
        Reading("launches_refused", "leoflow_agents_launches_refused", "counter", "Launches that no agent could take"),
        Reading("broken_streams", "leoflow_agents_broken_streams", "counter", "Streams ended by what was sent on them"),
    ),
    "process executor": (
        Reading("launched", "leoflow_process_executor_launches", "counter", "Tries launched on this host"),
        Reading("agent_starts", "leoflow_process_executor_agent_starts", "counter", "Starts of the host agent"),
        Reading("agents_killed", "leoflow_process_executor_agents_killed", "counter", "Frozen agents that were ended"),
        Reading("launches_waiting", "leoflow_agents_launches_waiting", "gauge", "Launches that no agent took yet"),
    ),
    "pods": (
        Reading("watcher.pending", "leoflow_pods_pending", "gauge", "Pods of tries that have not begun"),
        Reading("watcher.running", "leoflow_pods_running", "gauge", "Pods of tries whose container runs"),
        Reading(
            "watcher.adopted", "leoflow_pods_adopted", "gauge", "Pods that were there when this daemon began to lead"
        ),
        Reading("launcher.waiting", "leoflow_pods_launches_waiting", "gauge", "Tries whose pod is not asked for yet"),
        Reading("launcher.created", "leoflow_pods_created", "counter", "Pods created"),
        Reading("launcher.found", "leoflow_pods_found", "counter", "Launches of tries that had a pod already"),
        Reading("launcher.refused", "leoflow_pods_refused", "counter", "Tries that can have no pod"),
        Reading("launcher.pauses", "leoflow_pods_pauses", "counter", "Times that the API server had creating wait"),
        Reading(
            "launcher.delays",
            "leoflow_pods_create_delay_seconds",
            "histogram",
            "From a try's decision to the request for its pod",
        ),
    ),
    "workspace": (
        Reading("dags", "leoflow_workspace_dags", "gauge", "DAGs registered from the workspace"),
        Reading("import_errors", "leoflow_workspace_import_errors", "gauge", "Projects that do not compile"),
        Reading("compiles_total", "leoflow_workspace_compiles", "counter", "Compilations"),
    ),
    "hint listener": (Reading("heard", "leoflow_hints_heard", "counter", "Notifications received from Postgres"),),
}
"""Name of a component in the tree -> what is shown of it. A component that does not run shows nothing."""
LANE_READINGS = (
    Reading("open", "leoflow_store_connections_open", "gauge", "Connections to Postgres"),
    Reading("in_use", "leoflow_store_connections_in_use", "gauge", "Connections given out"),
    Reading("waiting", "leoflow_store_tasks_waiting", "gauge", "Tasks that wait for a connection"),
    Reading("opened_total", "leoflow_store_connections_opened", "counter", "Connections opened"),
)
POOL_READINGS = (
    Reading("groups", "leoflow_cheap_task_pool_groups", "gauge", "Distinct probes"),
    Reading("probes_made", "leoflow_cheap_task_pool_probes", "counter", "Probes that ended"),
    Reading(
        "probes_saved", "leoflow_cheap_task_pool_probes_saved", "counter", "Waits served by a probe beyond its first"
    ),
    Reading(
        "probes_failed",
        "leoflow_cheap_task_pool_probes_failed",
        "counter",
        "Probes that ended in an error or a timeout",
    ),
    Reading("shards", "leoflow_cheap_task_pool_shards", "gauge", "Shards of the waits that this daemon watches"),
    Reading("probes_in_flight", "leoflow_cheap_task_pool_probes_in_flight", "gauge", "Probes that run"),
    Reading(
        "ready_groups",
        "leoflow_cheap_task_pool_ready_groups",
        "gauge",
        "Probes that are due and wait for a worker or budget",
    ),
    Reading("target_count", "leoflow_cheap_task_pool_targets", "gauge", "Targets that are probed"),
    Reading("quarantined_count", "leoflow_cheap_task_pool_quarantined_groups", "gauge", "Probes in quarantine"),
    Reading(
        "armed_in_s",
        "leoflow_cheap_task_pool_arming_seconds",
        "gauge",
        "How long reading the waits of the last share took",
    ),
    Reading("stalls", "leoflow_cheap_task_pool_event_loop_stalls", "counter", "Times the event loop stood still"),
    Reading(
        "longest_stall_s", "leoflow_cheap_task_pool_event_loop_longest_stall_seconds", "gauge", "The longest of them"
    ),
)


@blueprint.get("/metrics")
async def metrics() -> Response:
    _check_reader()
    return Response(generate_latest(_meters().registry), content_type=CONTENT_TYPE_LATEST)


def _check_reader() -> None:
    """Raises `NotAuthenticated`."""
    is_here = client_address() in LOOPBACK | {"local"} and not any(name in request.headers for name in FORWARDED)
    wanted = context().config.metrics_token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    has_token = bool(wanted) and scheme.lower() == "bearer"
    if not is_here and not (has_token and hmac.compare_digest(given.strip().encode(), wanted.encode())):
        raise NotAuthenticated(
            "Metrics are read from this machine, or with the Bearer token of LEOFLOW_API_METRICS_TOKEN"
        )


# --- requests ----------------------------------------------------------------------------------------------------


class Meters:
    """What one application measures of its own requests, beside the collector of everything else."""

    def __init__(self, value: ApiContext) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ComponentCollector(value))
        ProcessCollector(registry=self.registry)
        self.answers = Counter(
            "leoflow_api_answers", "Answers by group of routes", ["routes", "status"], registry=self.registry
        )
        self.durations = Histogram(
            "leoflow_api_request_duration_seconds",
            "From the request's head to its answer's head",
            ["routes"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )


def _meters() -> Meters:
    found = current_app.config.setdefault(_KEY, None)
    if found is None:
        found = current_app.config[_KEY] = Meters(context())
    assert isinstance(found, Meters)
    return found


@blueprint.after_app_request
async def measure(answer: Response) -> Response:
    routes = (request.endpoint or "none").partition(".")[0]
    _meters().answers.labels(routes, f"{answer.status_code // 100}xx").inc()
    _meters().durations.labels(routes).observe(trio.current_time() - g.began)
    return answer


# --- components --------------------------------------------------------------------------------------------------


class ComponentCollector(Collector):
    """Turns `statistics()` into metrics at the moment of a scrape."""

    def __init__(self, value: ApiContext) -> None:
        self._context = value

    @override
    def collect(self) -> Iterable[Metric]:
        nodes = tuple(_nodes(self._context.tree()))
        yield from _of_tree(nodes)
        for node in nodes:
            yield from _of_record(READINGS.get(node["name"], ()), node.get("statistics"))
            if node["name"] == "store":
                yield from _of_lanes(node.get("statistics") or ())
            if node["name"] == "pods" and node.get("statistics"):
                yield from _of_pods(node["statistics"])
        pool = self._context.pool
        if pool is not None:
            yield from _of_pool(pool.statistics())


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree.get("children") or ():
        yield from _nodes(child)


def _of_tree(nodes: Iterable[dict[str, Any]]) -> Iterator[Metric]:
    running = GaugeMetricFamily("leoflow_component_running", "1 while it runs", labels=["component"])
    restarts = CounterMetricFamily("leoflow_component_restarts", "Restarts", labels=["component"])
    faults = GaugeMetricFamily("leoflow_component_fault", "1 while it is of no use", labels=["component"])
    for node in nodes:
        faults.add_metric([node["name"]], float(bool(node.get("fault"))))
        running.add_metric([node["name"]], float(node.get("state") == "running"))
        restarts.add_metric([node["name"]], node.get("restarts") or 0)
    yield running
    yield faults
    yield restarts


def _of_record(readings: Iterable[Reading], statistics: Any) -> Iterator[Metric]:
    for reading in readings if isinstance(statistics, dict) else ():
        value = reduce(getitem, reading.field.split("."), statistics)
        if reading.kind == "histogram":
            delays = HistogramMetricFamily(reading.name, reading.help)
            delays.add_metric([], list(value["up_to"].items()), value["sum_s"])
            yield delays
        else:
            family = _family(reading)
            family.add_metric([], float(value))
            yield family


def _of_pods(statistics: dict[str, Any]) -> Iterator[Metric]:
    ends = CounterMetricFamily("leoflow_pods_ended", "Pods that ended", labels=["reason"])
    for reason, count in statistics["watcher"]["ended"].items():
        ends.add_metric([reason], count)
    yield ends


def _of_lanes(lanes: Iterable[dict[str, Any]]) -> Iterator[Metric]:
    for reading in LANE_READINGS:
        family = _family(reading, labels=["lane"])
        for lane in lanes:
            family.add_metric([lane["name"]], float(lane[reading.field]))
        yield family


def _of_pool(statistics: PoolStatistics) -> Iterator[Metric]:
    waits = GaugeMetricFamily("leoflow_cheap_task_pool_waits", "Waits by kind", labels=["kind"])
    for kind, count in _capped(statistics.waits).items():
        waits.add_metric([kind], count)
    yield waits
    ends = CounterMetricFamily("leoflow_cheap_task_pool_ends", "Waits that ended", labels=["how"])
    for how in ("fired", "failed", "timed_out"):
        ends.add_metric([how], getattr(statistics, f"ended_{how}"))
    yield ends
    breakers = GaugeMetricFamily("leoflow_cheap_task_pool_breakers", "Breakers that are not closed", labels=["state"])
    for state in ("open", "half_open"):
        breakers.add_metric([state], sum(target.breaker == state for target in statistics.targets))
    yield breakers
    lateness = GaugeMetricFamily(
        "leoflow_cheap_task_pool_lateness_seconds", "From due to served, over a recent window", labels=["quantile"]
    )
    for quantile, value in (
        ("0.5", statistics.lateness_p50_s),
        ("0.99", statistics.lateness_p99_s),
        ("1", statistics.lateness_max_s),
    ):
        if value is not None:
            lateness.add_metric([quantile], value)
    yield lateness
    yield from _of_record(POOL_READINGS, msgspec.structs.asdict(statistics))


def _capped(waits: Mapping[str, int]) -> dict[str, int]:
    ranked = sorted(waits.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ranked[KINDS_SHOWN:])
    return dict(ranked[:KINDS_SHOWN]) | ({"other": rest} if rest else {})


def _family(reading: Reading, labels: list[str] | None = None) -> GaugeMetricFamily | CounterMetricFamily:
    family = CounterMetricFamily if reading.kind == "counter" else GaugeMetricFamily
    return family(reading.name, reading.help, labels=labels or [])
