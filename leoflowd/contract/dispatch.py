"""What the scheduler hands to an executor."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.agent_wire import fault_of
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.staging import Staging
from leoflowd.contract.wait_spec import HttpCall

ROOM_BYTES = 64 * 1024
"""What is added to the spec of a try on its way to the agent: paths, a token."""


class Placement(msgspec.Struct, frozen=True):
    """What a version and its task ask of the pod around a try; but for `staging` a process has no use for it. Fields as
    in `TaskSpec`."""

    image: str = ""
    resources: dict[str, Any] = {}
    execution: dict[str, Any] = {}
    executor_config: dict[str, Any] = {}
    staging: Staging | None = None
    """A process has a folder of it."""


class Dispatch(msgspec.Struct, frozen=True):
    """A try to launch and what it needs around it. Named after the try: launching it twice starts it once."""

    spec: TrySpec
    environment: EnvironmentSpec
    http: HttpCall | None = None
    """Set for an inline HTTP task: it goes to the cheap-task pool, not to an executor. Rendered."""
    placement: Placement = Placement()
    queued_at: datetime | None = None
    """None: of a callback."""


def launch_fault(spec: TrySpec) -> str | None:
    """Why no message to an agent holds this try, as a sentence for people; None when one does."""
    unsendable = fault_of(spec, room=ROOM_BYTES)
    if unsendable is None:
        return None
    return f"the try cannot be launched: what it needs to know is too much: {unsendable}"
