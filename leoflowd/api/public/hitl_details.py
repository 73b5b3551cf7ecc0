"""What tasks ask people: list, look, answer (ADR 41). Blueprint `public_hitl_details`.

An answer is written by compare-and-set beside the instance that waits for it: of two at once one counts and the other
gets 409, as does whoever comes after the deadline, a clear or a mark. The cheap-task pool then ends the wait.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, every, like_anywhere, path_integer
from leoflowd.api.public.task_instances import RUN, TASK, state_filter
from leoflowd.contract.errors import Conflict, NotAllowed
from leoflowd.contract.human import Answer, Person
from leoflowd.contract.values import json_text
from leoflowd.core.human import check_input, check_options
from leoflowd.store import api_hitl_details, hitl_details
from leoflowd.store.api_task_instances import fetch_task_instance
from leoflowd.store.hints import send_hint
from leoflowd.store.hitl_details import LockedQuestion

blueprint = Blueprint("public_hitl_details", __name__)

INPUT_MAX_BYTES = 128 * 1024
"""Of what is entered: it becomes part of the task's output, which is twice that at most."""
DETAIL = f"{TASK}/<map_index>/hitlDetails"


class UpdateHITLDetailBody(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown keys are ignored here, as Airflow does."""

    chosen_options: Annotated[list[str], msgspec.Meta(min_length=1)]
    params_input: dict[str, Any] = {}


@blueprint.get(f"{RUN}/hitlDetails")
async def list_hitl_details(dag_id: str, run_id: str) -> Response:
    """Those of present tries. The UI asks on every page whether there is one that waits."""
    query = Query()
    filters = {
        "dag_id": every(dag_id),
        "run_id": every(run_id),
        "task_id": query.text("task_id"),
        "map_index": query.integer("map_index"),
        "response_received": query.boolean("response_received"),
        "responded_by_user_id": query.texts("responded_by_user_id"),
        "responded_by_user_name": query.texts("responded_by_user_name"),
        **state_filter(query.texts("state")),
        **query.patterns("dag_id"),
        **query.patterns("task_id"),
        "subject_ilike": like_anywhere(query.text("subject_search")),
        "body_ilike": like_anywhere(query.text("body_search")),
        **query.range("created_at"),
    }
    order_by = query.order_by() or ["ti_id"]
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await api_hitl_details.list_hitl_details(
            conn, filters, dags=auth.dags(), order_by=order_by, limit=limit, offset=offset
        )
    return collection("hitl_details", rows, total)


@blueprint.get(DETAIL)
async def get_hitl_detail(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    index = path_integer("map_index", map_index)
    async with lane().connection() as conn:
        return json_answer(await api_hitl_details.fetch_hitl_detail(conn, dag_id, run_id, task_id, index))


@blueprint.get(f"{DETAIL}/tries/<try_number>")
async def get_hitl_detail_of_try(dag_id: str, run_id: str, task_id: str, map_index: str, try_number: str) -> Response:
    index, number = path_integer("map_index", map_index), path_integer("try_number", try_number)
    async with lane().connection() as conn:
        return json_answer(
            await api_hitl_details.fetch_hitl_detail_of_try(conn, dag_id, run_id, task_id, index, number)
        )


@blueprint.patch(DETAIL)
async def update_hitl_detail(dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    index = path_integer("map_index", map_index)
    body = await read_body(UpdateHITLDetailBody)
    json_text(body.params_input, "params_input", max_bytes=INPUT_MAX_BYTES)
    me = Person(id=auth.caller().username, name=auth.caller().username)
    given = Answer(
        chosen_options=tuple(body.chosen_options),
        params_input=body.params_input,
        responded_at=context().now(),
        responded_by=me,
    )
    async with lane().transaction() as conn:
        question = await hitl_details.lock_question(
            conn, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index
        )
        if question is None:
            raise api_hitl_details.no_question((await fetch_task_instance(conn, dag_id, run_id, task_id, index))["id"])
        _check(question, given, me)
        if not await hitl_details.answer(conn, question.wait_id, given):
            raise Conflict("Somebody answered this very moment, or the time has passed; nothing was written")
        await record(
            conn,
            "update_hitl_detail",
            dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=index,
            # what was entered may be a secret
            extra={"chosen_options": body.chosen_options, "params": sorted(body.params_input)},
        )
        await send_hint(conn, "human")
    return json_answer(
        {
            "responded_by": me,
            "responded_at": given.responded_at,
            "chosen_options": given.chosen_options,
            "params_input": given.params_input,
        }
    )


def _check(question: LockedQuestion, given: Answer, me: Person) -> None:
    """Whether it can be answered, by this person, with that: in Airflow's order."""
    if question.is_answered:
        raise Conflict(
            f"Human-in-the-loop detail has already been updated for Task Instance with id {question.wait_id} and is "
            "not allowed to write again."
        )
    if not question.is_open:
        raise Conflict(
            f"The task no longer waits for an answer: it is in state {question.state or 'none'}. "
            "Clear it to be asked again"
        )
    if question.assigned_users and me.id not in {person.id for person in question.assigned_users}:
        raise NotAllowed(f"User={me.name} (id={me.id}) is not a respondent for the task.")
    check_options(question.options, given.chosen_options, multiple=question.multiple)
    check_input(question.params, given.params_input)
