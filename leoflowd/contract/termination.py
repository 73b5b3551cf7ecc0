"""What a pod's agent leaves in its container's termination message, for whoever finds the pod ended (ADR 59).

The agent writes it twice: when the try has ended, and when its outcome is stored. Kubernetes keeps it with the pod's
status, so that a try which ends while no daemon is there, and whose pod is then deleted with its node, is known all the
same. User code of the pod could write it too: what it says is checked like any outcome that an agent reports.
"""

from __future__ import annotations

import msgspec

from leoflowd.contract.agent_messages import Outcome

MAX_BYTES = 4096
"""Kubernetes' limit for one container; longer messages are cut, and half a message says nothing."""
WHERE = "/dev/termination-log"
"""Kubernetes' default path."""


class Termination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a try, as far as its agent got."""

    try_id: str
    is_stored: bool = False
    """The daemon has committed the outcome: nothing of this pod is needed any more."""
    outcome: Outcome | None = None
    """None: it is stored, or it is too large for a message."""
    because: str = ""
    """Without an outcome: what there is to say."""


def termination_text(termination: Termination) -> bytes:
    """At most `MAX_BYTES`; an outcome that does not fit is left out, and said to be."""
    text = msgspec.json.encode(termination)
    if len(text) <= MAX_BYTES:
        return text
    assert termination.outcome is not None, "only outcomes are long"
    because = f"the try ended as {termination.outcome.kind}, and its outcome is too large for a termination message"
    return msgspec.json.encode(msgspec.structs.replace(termination, outcome=None, because=because))


def read_termination(text: str) -> Termination | None:
    """None: it is not of our agent, or was cut."""
    try:
        return msgspec.json.decode(text, type=Termination)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
