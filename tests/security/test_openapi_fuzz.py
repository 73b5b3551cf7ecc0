"""schemathesis over Airflow's own OpenAPI document, over its UI's, and over what we serve beside them: never a 5xx.

Examples are bounded and always the same. Each is sent twice: as it was made, and with ids that exist in its path, so
that it gets past "not found". A route of the document that we do not serve answers 404 or 405 in Airflow's form.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from quart_trio import QuartTrio
from schemathesis import Case, GenerationMode

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.openapi import document_of
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import DAG, DONE

DOCUMENTS = {
    "airflow": "airflow/api_fastapi/core_api/openapi/v2-rest-api-generated.yaml",
    "airflow's UI": "airflow/api_fastapi/core_api/openapi/_private_ui.yaml",
    "airflow's login": "airflow/api_fastapi/auth/managers/simple/openapi/v2-simple-auth-manager-generated.yaml",
}
EXAMPLES = 1
"""Of each operation, a valid one and an invalid one; `make contract` sends twenty thousand requests."""
KNOWN = {
    "dag_id": DAG,
    "dag_run_id": DONE,
    "run_id": DONE,
    "task_id": "extract",
    "map_index": "-1",
    "try_number": "1",
    "task_try_number": "1",
    "xcom_key": "return_value",
    "pool_name": "default_pool",
    "version_number": "1",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
"""What deletes comes last, or the others would find nothing."""


def _own(app: QuartTrio, theirs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What our document has beside theirs, without what ends the login of everything behind it."""
    document = document_of(app, version="1", base_path="/")
    left_out = "own_tokens.end_session."
    known = {_shape(path) for one in theirs for path in one["paths"]}
    document["paths"] = {
        path: {method: one for method, one in item.items() if not one["operationId"].startswith(left_out)}
        for path, item in document["paths"].items()
        if _shape(path) not in known
    }
    assert len(document["paths"]) > 20
    return document


def _shape(path: str) -> str:
    """Whatever its parameters are called."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def _cases(document: dict[str, Any]) -> list[Case]:
    cases: list[Case] = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        for mode in GenerationMode:
            cases += _some(result.ok(), mode)
    return sorted(cases, key=lambda case: METHODS.index(case.method.upper()))


def _some(operation: Any, mode: GenerationMode) -> list[Case]:
    found: list[Case] = []

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    try:
        collect()
    except Exception:
        if mode is not GenerationMode.NEGATIVE:  # nothing can be wrong with an operation that takes no values
            raise
    return found


def _requests(case: Case) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    known = {name: KNOWN.get(name, value) for name, value in case.path_parameters.items()}
    for parameters in (case.path_parameters, known):
        case.path_parameters = parameters
        prepared = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
        body = prepared.body or b""
        headers = {
            name: text for name, text in prepared.headers.items() if name.lower() not in ("authorization", "cookie")
        }
        yield prepared.method or "", prepared.path_url, headers, body.encode() if isinstance(body, str) else body


@pytest.mark.parametrize("name", [*DOCUMENTS, "ours"])
async def test_no_request_of_the_document_is_a_server_error(
    api_context: ApiContext, seeded: Client, airflow_wheel: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(airflow_wheel) as wheel:
        theirs = {one: yaml.load(wheel.read(path), Loader=yaml.CSafeLoader) for one, path in DOCUMENTS.items()}
    document = theirs[name] if name in theirs else _own(create_app(api_context), theirs.values())
    wrong: dict[str, Any] = {}
    sent = 0
    for case in _cases(document):
        for method, path, headers, body in _requests(case):
            if path.startswith("/api/v2/auth/logout"):
                continue
            caplog.clear()
            answer = await seeded.call(method, path, data=body, headers={**headers, "Host": "localhost"})
            sent += 1
            content = await answer.get_data(as_text=False) if answer.timeout is not None else b"{}"
            if answer.status_code >= 500:
                wrong[f"{method} {path[:200]}"] = (answer.status_code, body[:200], caplog.text[-1500:])
            elif answer.status_code in (404, 405) and path.startswith("/api/"):
                assert msgspec.json.decode(content).keys() <= {"detail", "error"}, path
            for record in caplog.records:
                assert record.levelno < logging.ERROR or answer.status_code >= 500, record
    assert wrong == {}
    assert sent >= 10
