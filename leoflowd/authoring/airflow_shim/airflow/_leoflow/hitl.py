"""Operators that ask a person, as Airflow's standard provider has them.

`execute` gives the process back with the question; the daemon waits, without a process, until somebody has answered or
the time has passed, and `execute_complete` goes on with what was answered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, NoReturn, TypedDict
from urllib.parse import urlencode, urlparse, urlunparse

from airflow._leoflow import timezone
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.branching import BranchMixIn, SkipMixin
from airflow._leoflow.conf import conf
from airflow._leoflow.errors import AirflowException, AuthoringError, describe, warn
from airflow._leoflow.params import ParamsDict
from airflow._leoflow.triggers import STANDARD, BaseTrigger


class HITLTriggerEventError(Exception):
    """The question ended without an answer."""


class HITLTimeoutError(HITLTriggerEventError):
    """Nobody answered in time, and there are no defaults."""


class HITLRejectException(AirflowException):
    """`fail_on_reject`: it was rejected."""


class HITLUser(TypedDict):
    """Somebody who may answer, or who has answered."""

    id: str
    name: str


class HITLTrigger(BaseTrigger):
    """The question on its way to the daemon, which needs all of it; nothing runs."""

    def __init__(self, **question: Any) -> None:
        super().__init__()
        self.question = question

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{STANDARD}.hitl.HITLTrigger", self.question

    def run(self) -> NoReturn:
        raise RuntimeError("a HITLTrigger asks nobody by itself; derive from HITLOperator, which sends the question")


class HITLOperator(BaseOperator):
    """Asks, and returns what was answered: `chosen_options`, `params_input`, `responded_at`, `responded_by_user`.

    `params` is the form to be filled in, `response_timeout` how long to wait before `defaults` are taken.
    """

    template_fields: Collection[str] = ("subject", "body")

    def __init__(
        self,
        *,
        subject: str,
        options: list[str],
        body: str | None = None,
        defaults: str | list[str] | None = None,
        multiple: bool = False,
        params: Mapping[str, Any] | None = None,
        notifiers: Any = None,
        assigned_users: HITLUser | list[HITLUser] | None = None,
        response_timeout: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(params=params, **kwargs)
        if self.execution_timeout and not response_timeout:
            warn(
                f"task {self.task_id!r}: execution_timeout= is taken for the time to answer in",
                "write response_timeout=",
                self._location,
            )
            response_timeout, self.execution_timeout = self.execution_timeout, None
        self.response_timeout = response_timeout
        self.subject = subject
        self.body = body
        self.options = options
        self.defaults = [defaults] if isinstance(defaults, str) else defaults
        self.multiple = multiple
        # what only the DAG has is no field of this form
        self.params = ParamsDict({name: self.params.get_param(name) for name in dict.fromkeys(self._own_params)})
        self.notifiers = [] if notifiers is None else notifiers if isinstance(notifiers, Sequence) else [notifiers]
        self.assigned_users = [assigned_users] if isinstance(assigned_users, dict) else assigned_users
        self.validate_options()
        self.validate_params()
        self.validate_defaults()
        self._check_users()

    @classmethod
    def note_mapped(cls, mapped: BaseOperator) -> None:
        """`execution_timeout` is each instance's time to answer in."""
        if "response_timeout" not in mapped.arguments:  # type: ignore[attr-defined]
            mapped.execution_timeout = None

    # -- checks, also of what derived classes set

    def validate_options(self) -> None:
        if not self.options:
            raise self._wrong('"options" cannot be empty.', "name what can be chosen: options=['Yes', 'No']")

    def validate_params(self) -> None:
        if "_options" in self.params:
            raise self._wrong('"_options" is not allowed in params', "give the param another name")

    def validate_defaults(self) -> None:
        if self.defaults is None:
            return
        if not set(self.defaults).issubset(self.options):
            raise self._wrong(
                f'defaults "{self.defaults}" should be a subset of options "{self.options}"', "choose among the options"
            )
        if self.multiple is False and len(self.defaults) > 1:
            raise self._wrong(
                'More than one defaults given when "multiple" is set to False.', "name one, or set multiple=True"
            )

    def _check_users(self) -> None:
        for user in self.assigned_users or ():
            if not isinstance(user, dict) or not {"id", "name"} <= user.keys():
                raise self._wrong(
                    f"assigned_users has {describe(user)}", "write each as {'id': <user name>, 'name': <shown name>}"
                )

    def _wrong(self, why: str, remedy: str) -> AuthoringError:
        return AuthoringError(f"task {self.task_id!r} cannot ask", why, remedy, self._location)

    # -- in the task's process

    def execute(self, context: Any) -> Any:
        timeout = self.response_timeout
        self.log.info("Waiting for response")
        for notifier in self.notifiers:
            notifier(context)
        self.defer(
            trigger=HITLTrigger(
                subject=self.subject,
                body=self.body,
                options=list(self.options),
                defaults=None if self.defaults is None else list(self.defaults),
                multiple=bool(self.multiple),
                params=self.serialized_params,
                assigned_users=[{"id": str(user["id"]), "name": user["name"]} for user in self.assigned_users or ()],
                timeout_datetime=None if timeout is None else timezone.utcnow() + timeout,
            ),
            method_name="execute_complete",
        )

    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]:
        return self.params.serialize("task")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        if "error" in event:
            self.process_trigger_event_error(event)
        entered = event["params_input"] or {}
        self.validate_chosen_options(event["chosen_options"])
        self.validate_params_input(entered)
        return {
            "chosen_options": event["chosen_options"],
            "params_input": entered,
            "responded_at": event["responded_at"],
            "responded_by_user": event["responded_by_user"],
        }

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        raise (HITLTimeoutError if event["error_type"] == "timeout" else HITLTriggerEventError)(event)

    def validate_chosen_options(self, chosen_options: list[str]) -> None:
        unknown = set(chosen_options) - set(self.options)
        if unknown:
            raise ValueError(f"Responses {unknown} not in {self.options}")

    def validate_params_input(self, params_input: Mapping[str, Any]) -> None:
        if self.params and params_input and self.params.keys() ^ params_input.keys():
            raise ValueError(f"params_input {params_input} does not match params {self.params}")
        for name, value in params_input.items():
            self.params[name] = value

    # -- links

    def generate_link_to_ui(
        self,
        *,
        task_instance: Any,
        base_url: str | None = None,
        options: str | list[str] | None = None,
        params_input: dict[str, Any] | None = None,
    ) -> str:
        """The address of the page where this is answered, with an answer filled in if one is given."""
        chosen = [options] if isinstance(options, str) else options or []
        entered = params_input or {}
        for what, given, possible in (("options", chosen, self.options), ("params", entered, self.params)):
            unknown = set(given) - set(possible)
            if unknown:
                raise ValueError(f"{what} {unknown} are not valid {what}")
        found = base_url or conf.get("api", "base_url", fallback=None)
        if not found:
            raise ValueError("Not able to retrieve base_url")
        query = {**({"_options": chosen} if chosen else {}), **entered, "map_index": task_instance.map_index}
        ti, address = task_instance, urlparse(found)
        path = f"/dags/{ti.dag_id}/runs/{ti.run_id}/tasks/{ti.task_id}/required_actions"
        return urlunparse((address.scheme, address.netloc, path, "", urlencode(query), ""))

    @staticmethod
    def generate_link_to_ui_from_context(
        *,
        context: Any,
        base_url: str | None = None,
        options: list[str] | None = None,
        params_input: dict[str, Any] | None = None,
    ) -> str:
        task = context["task"]
        if not isinstance(task, HITLOperator):
            raise ValueError("This method only supports HITLOperator")
        return task.generate_link_to_ui(
            task_instance=context["task_instance"], base_url=base_url, options=options, params_input=params_input
        )


class ApprovalOperator(HITLOperator, SkipMixin):
    """Approve, or Reject, which skips what is downstream; with `fail_on_reject` the task fails instead."""

    inherits_from_skipmixin = True
    FIXED_ARGS: ClassVar[list[str]] = ["options", "multiple"]
    APPROVE = "Approve"
    REJECT = "Reject"

    def __init__(
        self, *, ignore_downstream_trigger_rules: bool = False, fail_on_reject: bool = False, **kwargs: Any
    ) -> None:
        for name in self.FIXED_ARGS:
            if name in kwargs:
                raise AuthoringError(
                    f"task {kwargs.get('task_id')!r} cannot ask",
                    f"Passing {name} to ApprovalOperator is not allowed.",
                    "remove it, or use HITLOperator",
                    self._location,
                )
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules
        self.fail_on_reject = fail_on_reject
        super().__init__(options=[self.APPROVE, self.REJECT], multiple=False, **kwargs)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        answer = super().execute_complete(context=context, event=event)
        chosen = answer["chosen_options"][0]
        if chosen == self.APPROVE:
            self.log.info("Approved. Proceeding with downstream tasks...")
            return answer
        if self.fail_on_reject and chosen == self.REJECT:
            raise HITLRejectException('Receive "Reject"')
        ignores_rules = self.ignore_downstream_trigger_rules is True
        after = self.get_flat_relatives() if ignores_rules else self.get_direct_relatives()
        self.log.info("Skipping downstream tasks")
        self.skip(context["ti"], [task for task in after if not task.is_teardown])
        return answer


class HITLBranchOperator(HITLOperator, BranchMixIn):
    """Follows the tasks that the chosen options name, or that `options_mapping` names for them."""

    inherits_from_skipmixin = True

    def __init__(self, *, options_mapping: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options_mapping = options_mapping or {}
        self.validate_options_mapping()

    def validate_options_mapping(self) -> None:
        unknown = set(self.options_mapping) - set(self.options)
        if unknown:
            raise self._wrong(
                f"`options_mapping` contains keys that are not in `options`: {sorted(unknown)}", "name options"
            )
        wrong = {key: value for key, value in self.options_mapping.items() if not isinstance(value, str)}
        if wrong:
            raise self._wrong(
                f"`options_mapping` values must be strings (task_ids): {describe(wrong)}", "write the id of a task"
            )

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        answer = super().execute_complete(context=context, event=event)
        followed = [self.options_mapping.get(option, option) for option in answer["chosen_options"]]
        return self.do_branch(context, followed)


class HITLEntryOperator(HITLOperator):
    """A form to be filled in: without options there is only OK."""

    OK = "OK"

    def __init__(self, **kwargs: Any) -> None:
        if "options" not in kwargs:
            kwargs["options"] = [self.OK]
            kwargs.setdefault("defaults", [self.OK])
        super().__init__(**kwargs)
