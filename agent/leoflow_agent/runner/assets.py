"""Events of assets, as a task sees and makes them: `inlet_events`, `outlet_events`, `triggering_asset_events`.

The names and rules are those of Airflow 3.2's task context. Events are asked for when they are first looked at; what a
task says of its outlets stays here until its outcome takes it along (`Events.records`). Objects are those of
`airflow.sdk.definitions.asset`, whichever package that is.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from . import limits

Ask = Callable[[str, "dict[str, Any]"], "dict[str, Any]"]
BY_EVENTS = "asset_triggered"
"""The type of the runs that have triggering events."""
EXTRA_MAX_BYTES = 64 * 1024
"""Of an extra as JSON, as `leoflowd.contract.asset_spec` has it."""
_log = logging.getLogger("task")


def _classes() -> Any:
    return importlib.import_module("airflow.sdk.definitions.asset")


def as_moment(value: Any) -> Any:
    """What authors give to `after` and `before`: a moment, or its text."""
    return datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value


# --- events ------------------------------------------------------------------------------------------------------


class AssetEvent:
    """One event. `asset` is an `Asset`."""

    def __init__(
        self, facts: dict[str, Any], moment: Callable[[Any], Any], source: Callable[[AssetEvent], Any]
    ) -> None:
        self.id = facts["id"]
        self.timestamp = moment(facts["timestamp"])
        self.extra = json.loads(facts.get("extra") or "{}")
        self.asset = _classes().Asset(
            facts["name"],
            facts["uri"],
            group=facts.get("group") or "asset",
            extra=json.loads(facts.get("asset_extra") or "{}"),
        )
        self.name, self.uri = self.asset.name, self.asset.uri
        for name in ("dag_id", "run_id", "task_id", "map_index"):
            setattr(self, f"source_{name}", facts.get(f"source_{name}"))
        self.source_aliases = list(map(_classes().AssetAlias, facts.get("aliases") or ()))
        self.partition_key = facts.get("partition_key")
        self._source = source

    @property
    def source_task_instance(self) -> Any:
        """The task instance that made it, with `xcom_pull(key=...)`; None when it came through the API."""
        return None if getattr(self, "source_task_id", None) is None else self._source(self)

    def __repr__(self) -> str:
        return f"<AssetEvent {self.id} of {self.asset.name} at {self.timestamp}>"


class SourceTaskInstance:
    """Of an event: as much of its task as can be asked for."""

    def __init__(self, event: Any, pull: Callable[..., Any]) -> None:
        self.dag_id: str = event.source_dag_id
        self.run_id: str = event.source_run_id
        self.task_id: str = event.source_task_id
        self.map_index: int = -1 if event.source_map_index is None else event.source_map_index
        self._pull = pull

    def xcom_pull(self, *, key: str = "return_value", default: Any = None) -> Any:
        return self._pull(
            self.task_id,
            dag_id=self.dag_id,
            run_id=self.run_id,
            key=key,
            map_indexes=self.map_index if self.map_index >= 0 else None,
            default=default,
        )


class AssetEvents(Sequence):  # type: ignore[type-arg]
    """Events that are asked for when they are looked at, oldest first; `after`, `before`, `ascending` and `limit`
    say which."""

    def __init__(self, fetch: Callable[[dict[str, Any]], list[AssetEvent]], of: dict[str, Any]) -> None:
        self._fetch = fetch
        self._question: dict[str, Any] = {**of, "ascending": True}
        self._found: list[AssetEvent] | None = None

    def after(self, after: Any) -> AssetEvents:
        return self._with(after=as_moment(after))

    def before(self, before: Any) -> AssetEvents:
        return self._with(before=as_moment(before))

    def ascending(self, ascending: bool = True) -> AssetEvents:
        return self._with(ascending=ascending)

    def limit(self, limit: int) -> AssetEvents:
        return self._with(limit=limit)

    def _with(self, **more: Any) -> AssetEvents:
        self._question.update(more)
        self._found = None
        return self

    @property
    def _events(self) -> list[AssetEvent]:
        if self._found is None:
            self._found = self._fetch(self._question)
        return self._found

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]

    def __repr__(self) -> str:
        return repr(self._events)


class _ByAsset(Mapping):  # type: ignore[type-arg]
    """What the three mappings of the context share."""

    def for_asset(self, *, name: str | None = None, uri: str | None = None) -> Any:
        classes = _classes()
        if name and uri:
            return self[classes.Asset(name=name, uri=uri)]
        if not name and not uri:
            raise ValueError("name and uri cannot both be None")
        return self[classes.Asset.ref(name=name) if name else classes.Asset.ref(uri=uri)]

    def for_asset_alias(self, *, name: str) -> Any:
        return self[_classes().AssetAlias(name)]


class InletEvents(_ByAsset):
    """`inlet_events[asset]`: by an inlet, or its number."""

    def __init__(self, inlets: Sequence[Any], fetch: Callable[[dict[str, Any]], list[AssetEvent]]) -> None:
        self._inlets = inlets
        self._fetch = fetch

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inlets)

    def __len__(self) -> int:
        return len(self._inlets)

    def __getitem__(self, key: Any) -> AssetEvents:
        wanted = self._inlets[key] if isinstance(key, int) else key
        for inlet in self._inlets:
            if _is_meant(wanted, inlet):
                return AssetEvents(self._fetch, _question_of(wanted))
        raise KeyError(key)


def _is_meant(wanted: Any, inlet: Any) -> bool:
    """Whether the key of `inlet_events` names this inlet: both may be an asset or a reference to one."""
    classes = _classes()
    if isinstance(wanted, classes.AssetAlias) or isinstance(inlet, classes.AssetAlias):
        return type(wanted) is type(inlet) and wanted.name == inlet.name
    known = [(getattr(one, "name", None), getattr(one, "uri", None)) for one in (wanted, inlet)]
    (name, uri), (inlet_name, inlet_uri) = known
    is_alike = [one == other for one, other in ((name, inlet_name), (uri, inlet_uri)) if None not in (one, other)]
    return bool(is_alike) and all(is_alike)


def _question_of(wanted: Any) -> dict[str, Any]:
    """A reference by uri means every asset of that uri, as in Airflow."""
    if isinstance(wanted, _classes().AssetAlias):
        return {"alias": wanted.name}
    return {name: getattr(wanted, name) for name in ("name", "uri") if hasattr(wanted, name)}


class TriggeringEvents(_ByAsset):
    """The events that started this run, by asset and by alias."""

    def __init__(self, fetch: Callable[[], Iterable[AssetEvent]]) -> None:
        self._fetch = fetch
        self._found: dict[tuple[str, ...], list[AssetEvent]] | None = None

    @property
    def _events(self) -> dict[tuple[str, ...], list[AssetEvent]]:
        if self._found is None:
            self._found = {}
            for event in self._fetch():
                self._found.setdefault((event.asset.name, event.asset.uri), []).append(event)
                for alias in event.source_aliases:
                    self._found.setdefault((alias.name,), []).append(event)
        return self._found

    def __iter__(self) -> Iterator[Any]:
        classes = _classes()
        return (classes.Asset(*key) if len(key) > 1 else classes.AssetAlias(*key) for key in self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, key: Any) -> list[AssetEvent]:
        classes = _classes()
        if isinstance(key, classes.AssetRef):
            own = [getattr(key, "name", None), getattr(key, "uri", None)]
            for asset, events in self._events.items():
                if len(asset) > 1 and any(one == other for one, other in zip(own, asset, strict=True)):
                    return events
            raise KeyError(key)
        return self._events[_key(key)]

    def __repr__(self) -> str:
        return f"<events of {list(self)}>"


def _key(asset: Any) -> tuple[str, ...]:
    classes = _classes()
    if isinstance(asset, classes.Asset):
        return asset.name, asset.uri
    if isinstance(asset, classes.AssetAlias):
        return (asset.name,)
    raise TypeError(f"Key should be either an asset or an asset alias, not {type(asset)}")


# --- what a task says of its outlets -----------------------------------------------------------------------------


class OutletEvent:
    """`outlet_events[asset].extra`, and `outlet_events[alias].add(asset, extra=...)`."""

    def __init__(self, key: Any, found: Callable[[Any], Any]) -> None:
        self.key = key
        self.extra: Any = {}
        self.added: list[tuple[Any, Any]] = []
        """Of an alias: the assets, each with the extra of its event."""
        self._found = found

    def add(self, asset: Any, extra: Any = None) -> None:
        """Of something that is no alias, Airflow takes no notice of it either."""
        if isinstance(self.key, _classes().AssetAlias):
            self.added.append((self._found(asset), {} if extra is None else extra))


class OutletEvents(_ByAsset):
    """What was said of each; `found` makes an asset of a reference to one."""

    def __init__(self, find: Callable[[Any], Any]) -> None:
        self._find = find
        self._said: dict[tuple[str, ...], OutletEvent] = {}

    def __iter__(self) -> Iterator[Any]:
        return (one.key for one in self._said.values())

    def __len__(self) -> int:
        return len(self._said)

    def __getitem__(self, key: Any) -> OutletEvent:
        known = key if isinstance(key, _classes().AssetAlias) else self._asset(key)
        return self._said.setdefault(_key(known), OutletEvent(known, self._asset))

    def _asset(self, key: Any) -> Any:
        return self._find(key) if isinstance(key, _classes().AssetRef) else key

    def asset_named(self, name: str) -> Any:
        """What a parameter of an `@asset` function stands for."""
        return self._find(_classes().Asset.ref(name=name))

    def records(self) -> list[dict[str, Any]]:
        """As `AssetRecord` has them. Raises for an extra that JSON does not carry, and for too much of it."""
        found: list[dict[str, Any]] = []
        for one in self._said.values():
            if not isinstance(one.key, _classes().AssetAlias):
                found.append(record(one.key.name, one.key.uri, one.extra))
            for asset, extra in one.added:
                more = {"group": asset.group, "asset_extra": _extra_text(asset.extra, asset.name)}
                found.append({**record(asset.name, asset.uri, extra), **more, "alias": one.key.name})
        return checked_size(found)


def checked_size(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records themselves: they go with the outcome. Raises `TooLarge`."""
    size = sum(len(text) for one in records for text in one.values() if text is not None)
    if size > limits.OUTCOME_MAX_BYTES:
        raise limits.TooLarge(f"what it says of assets is {size} bytes, more than {limits.OUTCOME_MAX_BYTES}")
    return records


def record(name: str, uri: str, extra: Any) -> dict[str, Any]:
    return {"name": name, "uri": uri, "extra": _extra_text(extra, name)}


def _extra_text(extra: Any, name: str) -> str:
    if not isinstance(extra, Mapping):
        raise TypeError(f"the extra of asset {name!r} is a {type(extra).__name__}; it must be a dict")
    return limits.json_text(dict(extra), f"the extra of asset {name!r}", max_bytes=EXTRA_MAX_BYTES)


def tell_of_returned(value: Any, outlets: Sequence[Any]) -> None:
    """Airflow makes an outlet of an asset that a function returns; here outlets are what the file says."""
    asset = _classes().Asset
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, asset) and not any(
            isinstance(other, asset) and _key(other) == _key(one) for other in outlets
        ):
            _log.warning(
                "The task returned asset %r, which is none of its outlets: it gets no event. Name it in outlets=[...], "
                "or add it to an alias among them",
                one.name,
            )


# --- all of one try ----------------------------------------------------------------------------------------------


class Events:
    """The events of one try: builds what the context has of them."""

    def __init__(self, ask: Ask, moment: Callable[[Any], Any], run_type: Any) -> None:
        self._ask = ask
        self._moment = moment
        self._has_triggering = str(getattr(run_type, "value", run_type)) == BY_EVENTS
        self._triggering: list[AssetEvent] | None = None
        self._pull: Callable[..., Any] = lambda *_, **__: None
        self._known: Sequence[Any] = ()
        self.outlets = OutletEvents(self._find)

    def context(self, task: Any, pull: Callable[..., Any], dags: Iterable[Any]) -> dict[str, Any]:
        """`pull` is the task instance's `xcom_pull`; `dags`: of the file, whose assets need not be asked for."""
        self._pull = pull
        self.know(dags)
        inlets, outlets = list(task.inlets), list(task.outlets)
        return {
            "inlets": inlets,
            "outlets": outlets,
            "inlet_events": InletEvents(inlets, self._fetched),
            "outlet_events": self.outlets,
            "triggering_asset_events": TriggeringEvents(self.triggering),
        }

    def know(self, dags: Iterable[Any]) -> None:
        tasks = [task for dag in dags for task in dag.tasks]
        self._known = [one for task in tasks for of in (task.inlets, task.outlets) if of for one in of]

    def triggering(self) -> list[AssetEvent]:
        if self._triggering is None:
            self._triggering = self._events(self.triggering_facts())
        return self._triggering

    def triggering_facts(self) -> list[dict[str, Any]]:
        """As they came. Of a run that no event started, nothing is asked."""
        return list(self._ask("asset_events", {"triggering": True})["events"]) if self._has_triggering else []

    def _fetched(self, question: dict[str, Any]) -> list[AssetEvent]:
        return self._events(self._ask("asset_events", question)["events"])

    def _events(self, facts: Iterable[dict[str, Any]]) -> list[AssetEvent]:
        return [AssetEvent(one, self._moment, self._source) for one in facts]

    def _source(self, event: AssetEvent) -> SourceTaskInstance:
        return SourceTaskInstance(event, self._pull)

    def _find(self, reference: Any) -> Any:
        return self.find({name: getattr(reference, name) for name in ("name", "uri") if hasattr(reference, name)})

    def find(self, wanted: dict[str, str]) -> Any:
        """The asset of this name or uri: one of the file, else the active one. Raises `LookupError`."""
        asset = _classes().Asset
        for one in self._known:
            if isinstance(one, asset) and all(getattr(one, name) == value for name, value in wanted.items()):
                return one
        found = self._ask("asset_events", {**wanted, "limit": 1}).get("asset")
        if found is None:
            raise LookupError(
                f"there is no active asset {next(iter(wanted.values()))!r}: no DAG has it in its schedule or among its "
                "inlets and outlets; correct the name, or write Asset(name=..., uri=...) instead of the reference"
            )
        extra = json.loads(found.get("extra") or "{}")
        return asset(found["name"], found["uri"], group=found.get("group") or "asset", extra=extra)
