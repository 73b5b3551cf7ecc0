"""`contract.xcoms.ValuePlace` in an object store: results that are too large for the database (ADR 61).

`<dag_run.id>/<a name of its own>`; a run takes its values along when it is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from leoflowd.contract.xcoms import ValuesUnavailable
from leoflowd.objects.bucket import Bucket, BucketUnavailable

FOLDER = "xcoms"


class ObjectValues:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def put(self, values: Mapping[str, str]) -> None:
        try:
            for name, value in values.items():
                await self._bucket.put(f"{FOLDER}/{name}", value.encode())
        except BucketUnavailable as error:
            raise ValuesUnavailable(f"large results cannot be written: {error}") from error

    async def get(self, names: Sequence[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        failures: list[BucketUnavailable] = []

        async def get(name: str) -> None:
            try:
                content = await self._bucket.get_whole(f"{FOLDER}/{name}")
            except BucketUnavailable as error:
                failures.append(error)
            else:
                if content is not None:
                    found[name] = content.decode()

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(get, name)
        if failures:
            raise ValuesUnavailable(f"large results cannot be read: {failures[0]}; ask again") from failures[0]
        return found

    async def delete_run(self, dag_run_id: int, names: Sequence[str]) -> None:
        """All of its folder, also what no row came to name."""
        try:
            items = await self._bucket.list(f"{FOLDER}/{dag_run_id}")
            await self._bucket.delete([item.name for item in items])
        except BucketUnavailable as error:
            raise ValuesUnavailable(f"large results cannot be deleted: {error}") from error

    def gone(self, name: str) -> str:
        return f"the large result {FOLDER}/{name} is not in {self._bucket.url} any more; clear the task that pushed it"
