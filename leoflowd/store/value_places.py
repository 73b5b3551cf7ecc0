"""Which XCom values are kept beside the database, and how rows point at them (ADR 60, 61).

A value goes where its size belongs, under a name of its own, before its row commits; what does not answer at once is
left alone for a while, and the value stays in its row: nothing is lost, and nobody waits.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES
from leoflowd.contract.xcoms import RETURN_KEY, ValueGone, ValuePlace, ValuesUnavailable
from leoflowd.core.choices import CHOICE_KEY
from leoflowd.core.expansion import split_items

log = telemetry.get_logger(__name__)

LEFT_ALONE_S = 5.0
"""After a failure: values stay in the database for so long."""
AHEAD_MAX = 256
"""Values that were written before the commit that takes them, and are not taken yet."""
LARGE = "objects"


class Place(msgspec.Struct, frozen=True):
    """Values of at least `min_bytes` are kept there, unless a place for larger ones takes them."""

    name: str
    min_bytes: int
    values: ValuePlace


class Kept(msgspec.Struct, frozen=True):
    """What the row of a value says."""

    value: str | None
    place: str | None = None
    bytes: int | None = None
    items: int | None = None


class ValuePlaces:
    """`max_bytes` is the largest value that may be pushed."""

    def __init__(self, places: Iterable[Place] = (), *, max_bytes: int = XCOM_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._places = {place.name: place for place in sorted(places, key=lambda place: -place.min_bytes)}
        self._closed_until: dict[str, float] = {}
        self._ahead: dict[tuple[int, str], Kept] = {}
        self._stored = self._in_database = 0

    def statistics(self) -> dict[str, int]:
        return {"stored": self._stored, "in_database_instead": self._in_database}

    async def keep(self, values: Sequence[tuple[int, str, str]]) -> list[Kept]:
        """What to write into the row of each (dag_run_id, key, value). What a place does not take stays in its row."""
        kept = [self._ahead.pop((run, value), Kept(value)) for run, _, value in values]
        wanted: dict[str, dict[int, str]] = defaultdict(dict)
        for number, (dag_run_id, key, value) in enumerate(values):
            place = self._place_for(key, value)
            if place is not None and kept[number].place is None:
                wanted[place.name][number] = f"{dag_run_id}/{uuid.uuid4().hex}"
        for name, names in wanted.items():
            if await self._put(self._places[name], {names[number]: values[number][2] for number in names}):
                for number in names:
                    _, key, value = values[number]
                    kept[number] = Kept(
                        None,
                        f"{name}:{names[number]}",
                        len(value.encode()),
                        length_of(value) if key == RETURN_KEY else None,
                    )
        return kept

    async def keep_ahead(self, values: Sequence[tuple[int, str, str]]) -> None:
        """The same before a commit that others wait for; `keep` then finds it done."""
        large = [one for one in values if self._place_for(one[1], one[2]) is not None]
        for (run, _, value), kept in zip(large, await self.keep(large), strict=True):
            if kept.place is not None:
                self._ahead[run, value] = kept
        while len(self._ahead) > AHEAD_MAX:
            del self._ahead[next(iter(self._ahead))]

    async def get(self, places: Sequence[str]) -> Mapping[str, str]:
        """The values behind these. Raises `ValuesUnavailable`, and `ValueGone`."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for place in places:
            name, _, rest = place.partition(":")
            wanted[name].append(rest)
        found: dict[str, str] = {}
        for name, names in wanted.items():
            known = self._places.get(name)
            if known is None:
                raise ValueGone(f"an XCom value is kept in {name}, which this daemon is not configured to use")
            values = await known.values.get(names)
            for one in names:
                if one not in values:
                    raise ValueGone(known.values.gone(one))
                found[f"{name}:{one}"] = values[one]
        return found

    async def delete_run(self, dag_run_id: int) -> bool:
        """After its rows. False: some cannot be deleted now; they stay, which is logged."""
        is_done = True
        for place in self._places.values():
            try:
                await place.values.delete_run(dag_run_id)
            except ValuesUnavailable as error:
                log.warning("values_of_deleted_run_left", dag_run_id=dag_run_id, place=place.name, because=str(error))
                is_done = False
        return is_done

    def _place_for(self, key: str, value: str) -> Place | None:
        """The scheduler reads choices, and waits for nobody but the database."""
        if key == CHOICE_KEY or not self._places:
            return None
        size = len(value.encode())
        return next((place for place in self._places.values() if size >= place.min_bytes), None)

    async def _put(self, place: Place, values: Mapping[str, str]) -> bool:
        if trio.current_time() >= self._closed_until.get(place.name, 0.0):
            try:
                await place.values.put(values)
            except ValuesUnavailable as error:
                self._closed_until[place.name] = trio.current_time() + LEFT_ALONE_S
                log.warning("values_stay_in_the_database", place=place.name, because=str(error))
            else:
                self._stored += len(values)
                return True
        self._in_database += len(values)
        return False


NO_PLACES = ValuePlaces()


def length_of(value: str) -> int | None:
    """How many items it has; None for what cannot be mapped over."""
    items = split_items(value)
    return None if items is None else len(items.texts)
