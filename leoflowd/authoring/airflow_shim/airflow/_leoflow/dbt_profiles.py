"""The profile of dbt's adapters, made of an Airflow connection: one table (ADR 51).

What a connection's extra has goes in as it is, by dbt's own names; names that Airflow's provider has for the same thing
are translated, and those that only its hook knows are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from airflow._leoflow.services import Connection

Values = dict[str, Any]


class Adapter(NamedTuple):
    make: Callable[[Connection, Mapping[str, Any]], Values]
    """The output, of the connection and its extra."""
    placeholder: Values
    """For parsing, which connects to nothing."""
    translated: frozenset[str] = frozenset()
    """Names in the extra that are Airflow's, not dbt's."""


def output_of(connection: Connection, adapter: str) -> Values:
    """The profile's output, with secrets. Raises KeyError for an adapter that is not in the table."""
    kind = ADAPTERS[adapter]
    extra = _plain(connection.extra_dejson)
    found = {"type": adapter, **kind.make(connection, extra)}
    found |= {name: value for name, value in extra.items() if name not in kind.translated}
    return {name: value for name, value in found.items() if value is not None}


def _plain(extra: Mapping[str, Any]) -> Values:
    """Without the prefixes of older connections: `extra__snowflake__account`."""
    return {name.rpartition("__")[2] if name.startswith("extra__") else name: value for name, value in extra.items()}


def _duckdb(connection: Connection, extra: Mapping[str, Any]) -> Values:
    return {"path": connection.host or connection.schema or ":memory:"}


def _by_host(port: int) -> Callable[[Connection, Mapping[str, Any]], Values]:
    def make(connection: Connection, extra: Mapping[str, Any]) -> Values:
        return {
            "host": connection.host,
            "user": connection.login,
            "password": connection.password,
            "port": connection.port or port,
            "dbname": connection.schema,
            "schema": "public",
        }

    return make


def _snowflake(connection: Connection, extra: Mapping[str, Any]) -> Values:
    """A key in place of a password, whose passphrase is the connection's password then, as in Airflow."""
    path, content = extra.get("private_key_file"), extra.get("private_key_content")
    secret = "private_key_passphrase" if path or content else "password"
    return {
        "account": f"{extra.get('account') or connection.host}.{extra['region']}"
        if extra.get("region")
        else extra.get("account") or connection.host,
        "user": connection.login,
        secret: connection.password or None,
        "private_key_path": path,
        "private_key": content,
        "schema": connection.schema or "public",
    }


def _bigquery(connection: Connection, extra: Mapping[str, Any]) -> Values:
    key, path = extra.get("keyfile_dict"), extra.get("key_path")
    method = "service-account-json" if key else "service-account" if path else "oauth"
    return {
        "method": method,
        "keyfile_json": json.loads(key) if isinstance(key, str) and key else key or None,
        "keyfile": path or None,
        "dataset": connection.schema or "public",
    }


def _databricks(connection: Connection, extra: Mapping[str, Any]) -> Values:
    return {
        "host": (connection.host or "").removeprefix("https://").rstrip("/"),
        "token": extra.get("token") or connection.password,
        "schema": connection.schema or "default",
    }


_SQL = {"host": "h", "user": "u", "password": "p", "dbname": "d", "schema": "s"}
ADAPTERS: dict[str, Adapter] = {
    "duckdb": Adapter(_duckdb, {"path": ":memory:"}),
    "postgres": Adapter(_by_host(5432), {**_SQL, "port": 5432}),
    "redshift": Adapter(
        _by_host(5439),
        {**_SQL, "port": 5439},
        frozenset({"cluster_identifier", "is_serverless", "serverless_work_group", "aws_conn_id"}),
    ),
    "snowflake": Adapter(
        _snowflake,
        {"account": "a", "user": "u", "password": "p", "database": "d", "warehouse": "w", "schema": "s"},
        frozenset({"account", "region", "private_key_file", "private_key_content", "aws_access_key_id"})
        | {"aws_secret_access_key", "session_parameters", "client_request_mfa_token"},
    ),
    "bigquery": Adapter(
        _bigquery,
        {"method": "oauth", "project": "p", "dataset": "d"},
        frozenset({"keyfile_dict", "key_path", "scope", "num_retries", "key_secret_name", "key_secret_project_id"}),
    ),
    "databricks": Adapter(
        _databricks,
        {"host": "h", "http_path": "/p", "token": "t", "schema": "s"},
        frozenset({"token", "use_azure_managed_identity", "azure_resource_id"}),
    ),
}
"""The adapters whose profile is made of a connection."""
