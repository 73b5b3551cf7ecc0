"""Every route of an application as a request that reaches it, made from its url map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quart_trio import QuartTrio

NOWHERE: Mapping[str, str] = {
    "dag_id": "nowhere",
    "run_id": "never",
    "task_id": "none",
    "group_id": "none",
    "map_index": "0",
    "try_number": "1",
    "task_try_number": "1",
    "version_number": "1",
    "xcom_key": "none",
    "partition_key": "none",
    "backfill_id": "0",
    "wait_id": "00000000-0000-0000-0000-000000000000",
    "action": "fail",
    "callback_id": "0",
    "event_log_id": "0",
    "import_error_id": "0",
    "asset_id": "0",
    "asset_alias_id": "0",
    "connection_id": "none",
    "variable_key": "nope",
    "pool_name": "none",
    "name": "tree",
    "path": "none",
    "token": "none",
    "username": "nobody",
    "role": "none",
    "team": "none",
    "file_token": "bm93aGVyZQ",
    "section": "none",
    "option": "none",
}
"""A value for each part of a path, of things that do not exist."""


def addresses(app: QuartTrio, values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(endpoint, method, path) of every route; `values` for parts of the path, else NOWHERE."""
    adapter = app.url_map.bind("localhost")
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint):
        parts = {name: values.get(name, NOWHERE[name]) for name in rule.arguments}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, adapter.build(rule.endpoint, parts, method=method)
