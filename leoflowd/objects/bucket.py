"""A place in an object store, as Trio sees it: `obstore` in threads, one deadline for each trip, faults in words.

S3, Google Cloud Storage, Azure and a folder behave alike here. Credentials, region and endpoint come from the
environment, under the names that the store's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import LeoflowError

try:
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import from_url
except ImportError as missing:  # the `cluster` extra is not installed
    raise ImportError("object stores need the package obstore: pip install 'leoflow[cluster]'") from missing

log = telemetry.get_logger(__name__)

THREADS = 32
"""Trips at once; a slow store must not take the threads of everybody else."""
CONNECT_S = 5.0
PROBE = ".leoflow"
"""Written once at the start: whoever may write this may write a log."""
T = TypeVar("T")


class BucketUnavailable(LeoflowError):
    """The store does not answer, or refuses; the text is a sentence without addresses and names."""


class Item(msgspec.Struct, frozen=True):
    name: str
    size: int
    """Bytes."""


class Bucket:
    """What stands behind a URL such as `s3://bucket/prefix`. Names are relative to it, with `/` between their parts.

    Raises `ValueError` for a URL that names no store.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.fault: str | None = None
        """Why the last trip failed; None when it did not."""
        self._timeout_s = timeout_s
        self._threads = trio.CapacityLimiter(THREADS)
        try:
            self._store: Any = from_url(url, **_options(url, timeout_s))
        except (BaseError, ValueError, OSError) as error:
            raise ValueError(f"{url!r} names no object store: {_first_line(error)}") from error

    async def probe(self) -> None:
        """May we write here? Raises `BucketUnavailable`."""
        await self.put(PROBE, b"written by leoflow at its start\n")

    async def create(self, name: str, content: bytes) -> bool:
        """A new object, whole or not at all. False when there is one of this name, which stays as it is."""
        try:
            await self._trip(lambda: self._store.put(name, content, mode="create"))
        except AlreadyExistsError:
            return False
        return True

    async def put(self, name: str, content: bytes) -> None:
        await self._trip(lambda: self._store.put(name, content))

    async def get(self, name: str, start: int, length: int) -> bytes | None:
        """`length` bytes from `start`, which the object has; None when there is no object."""
        try:
            return await self._trip(lambda: bytes(self._store.get_range(name, start=start, length=length)))
        except FileNotFoundError:
            return None

    async def get_whole(self, name: str) -> bytes | None:
        try:
            return await self._trip(lambda: bytes(self._store.get(name).bytes()))
        except FileNotFoundError:
            return None

    async def list(self, folder: str) -> tuple[Item, ...]:
        """All objects below this folder, by name."""
        found = await self._trip(lambda: self._store.list(folder).collect())
        return tuple(sorted((Item(row["path"], row["size"]) for row in found), key=lambda item: item.name))

    async def delete(self, names: Sequence[str]) -> None:
        """Those that are there."""
        if names:
            await self._trip(lambda: self._delete(names))

    def _delete(self, names: Sequence[str]) -> None:
        try:
            self._store.delete(list(names))
        except FileNotFoundError:  # a folder tells, the others do not
            for name in names:
                try:
                    self._store.delete(name)
                except FileNotFoundError:
                    continue

    async def _trip(self, work: Callable[[], T]) -> T:
        """In a thread that is left to itself when the deadline comes. Its effect may come later still."""
        try:
            with trio.fail_after(self._timeout_s):
                result = await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        except trio.TooSlowError:
            raise self._failed(f"it did not answer within {self._timeout_s:g} s", "") from None
        except AlreadyExistsError:
            self._worked()
            raise
        except (BaseError, OSError) as error:
            text = str(error)
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text:
                self._worked()
                raise
            raise self._failed(_words(text), _first_line(error)) from error
        self._worked()
        return result

    def _failed(self, words: str, error: str) -> BucketUnavailable:
        if self.fault is None:
            log.error("object_store_unavailable", url=self.url, because=words, error=error)
        self.fault = words
        return BucketUnavailable(words)

    def _worked(self) -> None:
        if self.fault is not None:
            log.info("object_store_answers_again", url=self.url)
        self.fault = None


_WORDS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("InvalidAccessKeyId", "its credentials are unknown"),
    ("SignatureDoesNotMatch", "its credentials are wrong"),
    ("ExpiredToken", "its credentials have expired"),
    ("AccessDenied", "its credentials may not do this"),
    ("status code: 403", "its credentials may not do this"),
    ("status code: 401", "its credentials are refused"),
    ("169.254.169.254", "no credentials are set"),
    ("No space left", "there is no room left"),
    ("error sending request", "it does not answer"),
    ("timed out", "it does not answer"),
)
"""Part of an error's text -> what it means; the first that fits."""


def _words(text: str) -> str:
    return next((words for part, words in _WORDS if part in text), "it refuses; the error is in the daemon's log")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:500]


def _options(url: str, timeout_s: float) -> dict[str, Any]:
    """A store of one's own often speaks plain HTTP: an endpoint that says so is believed."""
    if url.startswith("file:"):
        return {"mkdir": True}
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    return {
        "client_options": {
            "timeout": timedelta(seconds=timeout_s),
            "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s)),
            "allow_http": endpoint.startswith("http://"),
        },
        "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=timeout_s)},
    }
