"""What the scheduler hands to an executor."""

from __future__ import annotations

import msgspec

from leoflowd.contract.agent_messages import TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.wait_spec import HttpCall


class Dispatch(msgspec.Struct, frozen=True):
    """A try to launch and what it needs around it. Named after the try: launching it twice starts it once."""

    spec: TrySpec
    environment: EnvironmentSpec
    http: HttpCall | None = None
    """Set for an inline HTTP task: it goes to the cheap-task pool, not to an executor. Rendered."""
