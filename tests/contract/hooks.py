"""A check that schemathesis loads: a valid request is accepted, or refused by a rule of `known.py`."""

from __future__ import annotations

import json

import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.contract.known import RULES


@schemathesis.check
def valid_data_accepted(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    try:
        return positive_data_acceptance(ctx, response, case)
    except Failure:
        if all(any(rule.is_of(entry) for rule in RULES) for entry in _entries(response)):
            return None
        raise


def _entries(response: Response) -> list[str]:
    """Why it was refused; an answer in another form than Airflow's is a reason that no rule has."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError):
        return [""]
    return [json.dumps(entry) for entry in detail] if isinstance(detail, list) and detail else [json.dumps(detail)]
