"""Errors grouped by what the caller does about them. Facts are attributes; the message is for people.

`api.problems` turns `NotFound`, `Conflict`, `NotAllowed`, `Invalid` into answers; `supervision.restart_on` names the
`...Unavailable` ones; everything else is a bug and crashes.
"""

from __future__ import annotations


class LeoflowError(Exception):
    """Base of every error that we raise on purpose."""


class NotFound(LeoflowError):
    """The named object does not exist, or the caller may not know that it does."""


class Conflict(LeoflowError):
    """The request contradicts the present state; the same request may succeed later."""


class NotAllowed(LeoflowError):
    """The caller is known but has no right to this."""


class Invalid(LeoflowError):
    """The request cannot be right whatever the state. `location` is a path like ("body", "conf")."""

    def __init__(self, message: str, *, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class TooManyRequests(LeoflowError):
    """The caller asks more than he may; this request was not carried out. It may succeed after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(LeoflowError):
    """Postgres does not answer; components that need it are restarted with backoff."""


class KubeUnavailable(LeoflowError):
    """The Kubernetes API server does not answer, or not to us; components that need it are restarted with backoff."""


class LeadershipLost(LeoflowError):
    """Another replica leads; what this one was about to write was not written."""
