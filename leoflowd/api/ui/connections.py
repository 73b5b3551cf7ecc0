"""The connection types that the UI's form offers: which fields each shows, under which name.

Airflow asks the hooks of its installed providers; here nothing is imported, so that the list is written down. The
daemon's own sensors read the first ones; the others are for tasks whose environment has the provider (`connectors:`).
"""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from leoflowd.api.answers import json_answer

blueprint = Blueprint("ui_connections", __name__, url_prefix="/ui/connections")

STANDARD_FIELDS = ("description", "url_schema", "host", "port", "login", "password")


def _fields(*hidden: str, titles: dict[str, str] | None = None) -> dict[str, Any]:
    """StandardHookFields: every key is there, null for a field that is shown as usual."""
    titles = titles or {}
    assert {*hidden, *titles} <= set(STANDARD_FIELDS)
    return {
        name: {"hidden": name in hidden, "title": titles.get(name), "placeholder": None}
        if name in hidden or name in titles
        else None
        for name in STANDARD_FIELDS
    }


def _param(
    title: str, kind: str = "string", *, is_secret: bool = False, description: str | None = None
) -> dict[str, Any]:
    """One field of `extra`, in the form of a DAG's param."""
    schema: dict[str, Any] = {"type": [kind, "null"], "title": title}
    if is_secret:
        schema["format"] = "password"
    return {"value": None, "schema": schema, "description": description, "source": None}


def _type(
    connection_type: str, hook_name: str, fields: dict[str, Any] | None = None, **extra_fields: dict[str, Any]
) -> dict[str, Any]:
    return {
        "connection_type": connection_type,
        "hook_class_name": None,
        "default_conn_name": None,
        "hook_name": hook_name,
        "standard_fields": fields,
        "extra_fields": extra_fields or None,
    }


TYPES: tuple[dict[str, Any], ...] = (
    _type("generic", "Generic"),
    _type("http", "HTTP", _fields(titles={"url_schema": "Schema (http or https)"})),
    _type("postgres", "Postgres", _fields(titles={"url_schema": "Database"}), sslmode=_param("SSL mode")),
    _type(
        "redis", "Redis", _fields("url_schema", titles={"login": "Username"}), db=_param("Database number", "integer")
    ),
    _type("fs", "File (path)", _fields("url_schema", "host", "port", "login", "password"), path=_param("Path")),
    _type(
        "aws",
        "Amazon Web Services",
        _fields(
            "url_schema", "host", "port", titles={"login": "AWS Access Key ID", "password": "AWS Secret Access Key"}
        ),
        region_name=_param("Region"),
        endpoint_url=_param("Endpoint URL", description="For S3-compatible stores"),
    ),
    _type(
        "google_cloud_platform",
        "Google Cloud",
        _fields("url_schema", "host", "port", "login", "password"),
        project=_param("Project id"),
        keyfile_dict=_param("Keyfile JSON", is_secret=True),
    ),
    _type(
        "kubernetes",
        "Kubernetes Cluster Connection",
        _fields("url_schema", "port", "login", titles={"host": "API server URL", "password": "Token"}),
        namespace=_param("Namespace"),
    ),
    _type(
        "leoflow_webhook",
        "Signed webhook (Leoflow)",
        _fields("url_schema", "host", "port", "login", titles={"password": "Signing secret"}),
    ),
    *(
        _type(name, title)
        for name, title in (
            ("cassandra", "Cassandra"),
            ("databricks", "Databricks"),
            ("docker", "Docker"),
            ("elasticsearch", "Elasticsearch"),
            ("email", "Email"),
            ("ftp", "FTP"),
            ("github", "GitHub"),
            ("imap", "IMAP"),
            ("jdbc", "JDBC"),
            ("kafka", "Apache Kafka"),
            ("mongo", "MongoDB"),
            ("mssql", "Microsoft SQL Server"),
            ("mysql", "MySQL"),
            ("neo4j", "Neo4j"),
            ("oracle", "Oracle"),
            ("redshift", "Amazon Redshift"),
            ("salesforce", "Salesforce"),
            ("samba", "Samba"),
            ("sftp", "SFTP"),
            ("slack", "Slack API"),
            ("smtp", "SMTP"),
            ("snowflake", "Snowflake"),
            ("spark", "Spark"),
            ("sqlite", "Sqlite"),
            ("ssh", "SSH"),
            ("tableau", "Tableau"),
            ("trino", "Trino"),
            ("vertica", "Vertica"),
            ("wasb", "Azure Blob Storage"),
        )
    ),
)


@blueprint.get("/hook_meta")
async def hook_meta() -> Response:
    return json_answer(TYPES)
