"""What schemathesis finds and is not ours to mend: mistakes of Airflow's documents, and rules that they do not tell."""

from __future__ import annotations

import re
from typing import NamedTuple

_RUN = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
_AIRFLOWS = "Airflow answers that too, its document does not say so"
FINDINGS = {
    ("UndefinedStatusCode", "GET /api/v2/dags/{dag_id}/dagRuns"): f"400 for a cursor that is none: {_AIRFLOWS}",
    ("UndefinedStatusCode", f"GET {_RUN}/taskInstances/{{task_id}}/logs/{{try_number}}"): f"406: {_AIRFLOWS}",
    ("UndefinedStatusCode", f"POST {_RUN}/taskInstances/{{task_id}}/xcomEntries"): f"409 for what exists: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/dags"): f"400 for an order that is none: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines"): f"the same: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/dependencies"): f"400 for a node that is none: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/next_run_assets/{dag_id}"): f"404: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/partitioned_dag_runs"): f"404: {_AIRFLOWS}",
    ("UndefinedStatusCode", "GET /ui/pending_partitioned_dag_run/{dag_id}/{partition_key}"): f"404: {_AIRFLOWS}",
    ("UndefinedContentType", "GET /api/v2/auth/login"): "JSON is promised for a redirect, which has no body",
    (
        "MissingContentType",
        f"GET {_RUN}/wait",
    ): "as Airflow's: with a Content-Type its Python client refuses the answer",
    ("AcceptedNegativeData", f"GET {_RUN}/wait"): "`result=false` names a task; schemathesis takes it for no text",
    ("JsonSchemaError", f"POST {_RUN}/clear"): "oneOf of two schemas, where the first one's values fit the second, too",
}
"""(kind of finding, operation) -> why it stays."""


class Rule(NamedTuple):
    """A refusal of a request that the document allows."""

    pattern: str
    """In the entry of `detail`, as JSON."""
    why: str

    def is_of(self, entry: str) -> bool:
        return re.search(self.pattern, entry) is not None


RULES = (
    Rule("is disallowed or the attribute does not exist", "lists are ordered by columns; the document has any text"),
    Rule("cannot be stored", "Postgres holds no character 0"),
    Rule("(less|greater) than or equal to -?2147483647", "the document's integers have no bounds"),
    Rule("is not between 0001-01-02 and 9999-12-30", "moments that not every zone has"),
    Rule("Expected `int`, got `float`", "a whole number is written without a fraction"),
    Rule('"(before|start_date|end_date)".*should be a valid datetime', "a moment; the document has any text"),
    Rule('"dag_run_state".*should be <DagRunState', "a state; the document has any text"),
    Rule('"path", "(map_index|try_number)".*"input": "null"', "the document has null for a part of the path"),
    Rule('"(dag_runs_limit|version_number)".*greater than or equal to [01]"', "neither is negative"),
    Rule("asset node_id", "of the nodes of one kind of dependency; the document has any text"),
    Rule("Only `is_paused` field", "what else update_mask names cannot be changed"),
    Rule('"(conn_type|connection_id|key|name)".*(matching regex|length >= 1)', "names are not empty"),
    Rule('"new_state".*Invalid enum value', "people mark with three of the states that the document lists"),
    Rule("team_name is not supported", "teams are off, as in a new Airflow"),
    Rule("does(n't| not) match (uri|the URL) parameter", "two names for one thing"),
    Rule("partition_key is empty", "it names a partition"),
    Rule('"max_active_runs".*>= 1', "a backfill of no runs at once never ends"),
    Rule("task_ids list should have at least 1 element", "Airflow's own sentence"),
    Rule('"port".*>= 0', "no port is below 0"),
    Rule("only_failed and only_running both", "Airflow's own sentence"),
    Rule("Exactly one of dag_run_id or", "Airflow's own sentence"),
    Rule("Either both data_interval_start and data_interval_end", "Airflow's own sentence"),
    Rule("Input should be '~'", "the known id takes the place of the only one that is allowed"),
    Rule('"update_mask".*Input should be', "fields of the body; the document has any text"),
    Rule(
        '"username".*Field required|required field `username`|Username and password must be provided',
        "the fields of a form are not listed",
    ),
)
