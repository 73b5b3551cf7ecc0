"""What a task asks a person, and what came back (ADR 41).

A question is the argument of a wait of kind `human`: the agents' messages and the table `wait` carry it so, and the row
of `hitl_detail` is made of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

HUMAN_KIND = "human"
"""The kind of a wait that only an answer ends, or the question's own deadline."""

Options = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base."""


class Person(_Frozen, frozen=True, kw_only=True):
    id: str
    """The user name."""
    name: str


class Question(_Frozen, frozen=True, kw_only=True):
    """Airflow's HITL detail as it is asked: rendered."""

    subject: str
    options: Options
    body: str | None = None
    """Markdown."""
    defaults: tuple[str, ...] | None = None
    """Chosen when nobody answers in time; None: the task is told that nobody did."""
    multiple: bool = False
    params: dict[str, Any] = {}
    """name -> {value, schema, description, source}, in the author's order."""
    assigned_users: tuple[Person, ...] = ()
    """Who may answer; empty: everybody who may act on the DAG."""
    respond_by: datetime | None = None
    """UTC; None: it waits for ever."""


class Answer(_Frozen, frozen=True, kw_only=True):
    chosen_options: Options
    params_input: dict[str, Any] = {}
    responded_at: datetime
    responded_by: Person | None = None
    """None: nobody answered in time, and the defaults were taken."""
