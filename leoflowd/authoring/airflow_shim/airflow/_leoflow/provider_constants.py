"""Constants of a provider's classes, and the error for everything else that is asked of a provider while loading."""

from __future__ import annotations

from typing import Any, NoReturn

from airflow._leoflow.errors import ShimUnsupported


class UsedTooEarly(ShimUnsupported, AttributeError):
    """An AttributeError too, so that `getattr(value, name, default)` works on whatever stands in an argument."""


def used(what: str, cls: type) -> UsedTooEarly:
    origin = next(base for base in cls.__mro__ if getattr(base, "__module__", "").startswith("airflow.providers"))
    return UsedTooEarly(
        f"{what} of {origin.__module__} is used while the file is loaded",
        "a provider's code is only there when a task runs",
        "write the plain value, or use it inside a @task function or in a method of your operator",
    )


class Constant:
    """`OnFinishAction.DELETE_POD`, and its `.value`: an argument as written, which the task's process evaluates.

    Nobody here knows the value, so that whoever reads it is told.
    """

    def __init__(self, written: str, cls: type) -> None:
        self._written = written
        self._cls = cls

    def __repr__(self) -> str:
        return self._written

    @property
    def value(self) -> Constant:
        return Constant(f"{self._written}.value", self._cls)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise used(f"{self._written}.{name}", self._cls)

    def _read(self, *_: Any) -> NoReturn:
        raise used(self._written, self._cls)

    __str__ = __format__ = __bool__ = __eq__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = __len__ = _read  # type: ignore[assignment]
    __iter__ = __getitem__ = __contains__ = __call__ = __int__ = __float__ = __index__ = __fspath__ = _read
    __add__ = __radd__ = __or__ = __ror__ = __and__ = __rand__ = __mod__ = __mul__ = __rmul__ = _read
