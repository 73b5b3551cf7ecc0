"""Assets as authors write them: `Asset` and its kin, aliases, references, conditions, `Metadata`.

They have the names and the fields of Airflow's, so that an asset in an XCom is one in either runtime. Uris are made
regular as Airflow does without providers: what these add for their schemes needs their code (docs/differences.md).
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from airflow._leoflow.connectors import has_airflow, is_named
from airflow._leoflow.errors import ShimUnsupported, warn

MODULE = "airflow.sdk.definitions.asset"
IDENTIFIER_MAX = 1500
"""Characters of a name, uri or group, as in Airflow's tables."""


class BaseAsset:
    """Whatever may stand in a condition."""

    def __or__(self, other: Any) -> Any:
        return AssetAny(self, other) if isinstance(other, BaseAsset) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return AssetAll(self, other) if isinstance(other, BaseAsset) else NotImplemented


class AssetUniqueKey(NamedTuple):
    name: str
    uri: str

    @classmethod
    def from_asset(cls, asset: Asset) -> AssetUniqueKey:
        return cls(asset.name, asset.uri)

    def to_asset(self) -> Asset:
        return Asset(self.name, self.uri)


class AssetAliasUniqueKey(NamedTuple):
    name: str

    @classmethod
    def from_asset_alias(cls, alias: AssetAlias) -> AssetAliasUniqueKey:
        return cls(alias.name)

    def to_asset_alias(self) -> AssetAlias:
        return AssetAlias(self.name)


class Asset(os.PathLike, BaseAsset):  # type: ignore[type-arg]
    """Something that tasks read and write, known by its name and its uri; either is made of the other."""

    asset_type = "asset"
    __version__ = 1

    def __init__(
        self,
        name: str | None = None,
        uri: Any = None,
        *,
        group: str | None = None,
        extra: Mapping[str, Any] | None = None,
        watchers: Collection[Any] | None = None,
    ) -> None:
        if name is None and uri is None:
            raise TypeError("Asset() requires either 'name' or 'uri'")
        own = str(uri) if name is None else name
        self.name = _identifier(own, self, "name", may_be_empty=False)
        if own in ("self", "context"):
            raise ValueError(f"prohibited name for asset: {own}")
        self.uri = _identifier(regular_uri(own if uri is None else uri), self, "uri", may_be_empty=False)
        self.group = _identifier(self.asset_type if group is None else group, self, "group")
        self.extra: Any = {} if extra is None else extra
        self.watchers: list[Any] = list(watchers or ())

    @staticmethod
    def ref(*, name: str = "", uri: str = "") -> AssetRef:
        """Whichever asset has this name, or this uri."""
        if name and uri:
            raise TypeError("Asset reference must be made to either name or URI, not both")
        if not name and not uri:
            raise TypeError("Asset reference expects keyword argument 'name' or 'uri'")
        return AssetNameRef(name) if name else AssetUriRef(uri)

    def __fspath__(self) -> str:
        return self.uri

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, Asset) else NotImplemented

    def __hash__(self) -> int:
        return hash(json.dumps(self._fields(), sort_keys=True, default=repr))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._fields().items())})"

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "uri", "group", "extra", "watchers")}

    def serialize(self) -> dict[str, Any]:
        """Of an asset in an XCom."""
        return {**self._fields(), "watchers": []}

    @classmethod
    def deserialize(cls, data: dict[str, Any], version: int) -> Asset:
        return cls(**data)


class Dataset(Asset):
    """Airflow 2's name."""

    asset_type = "dataset"


class Model(Asset):
    asset_type = "model"


class AssetRef(BaseAsset):
    """`Asset.ref(...)` makes one of the two."""


class AssetNameRef(AssetRef):
    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AssetNameRef) and self.name == other.name

    def __hash__(self) -> int:
        return hash(("name", self.name))

    def __repr__(self) -> str:
        return f"AssetNameRef(name={self.name!r})"


class AssetUriRef(AssetRef):
    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AssetUriRef) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(("uri", self.uri))

    def __repr__(self) -> str:
        return f"AssetUriRef(uri={self.uri!r})"


class AssetAlias(BaseAsset):
    """Stands for the assets that tasks add to it when they run."""

    def __init__(self, name: str, *, group: str = "asset") -> None:
        self.name = _identifier(name, self, "name", may_be_empty=False)
        self.group = _identifier(group, self, "group")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AssetAlias) and (self.name, self.group) == (other.name, other.group)

    def __hash__(self) -> int:
        return hash((self.name, self.group))

    def __repr__(self) -> str:
        return f"AssetAlias(name={self.name!r}, group={self.group!r})"


class AssetBooleanCondition(BaseAsset):
    """`AssetAny` and `AssetAll`."""

    def __init__(self, *objects: BaseAsset) -> None:
        if not all(isinstance(one, BaseAsset) for one in objects):
            raise TypeError("expect asset expressions in condition")
        self.objects: Collection[BaseAsset] = objects

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and tuple(self.objects) == tuple(other.objects)

    def __hash__(self) -> int:
        return hash(tuple(self.objects))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.objects))})"


class AssetAny(AssetBooleanCondition):
    def __or__(self, other: Any) -> Any:
        return AssetAny(*self.objects, other) if isinstance(other, BaseAsset) else NotImplemented


class AssetAll(AssetBooleanCondition):
    def __and__(self, other: Any) -> Any:
        return AssetAll(*self.objects, other) if isinstance(other, BaseAsset) else NotImplemented


class AssetWatcher:
    """An event trigger that makes events of an asset: what it yields becomes one (ADR 56)."""

    def __init__(self, name: str, trigger: Any) -> None:
        if not is_event_trigger(trigger):
            raise ValueError("Asset watcher trigger must inherit BaseEventTrigger")
        self.name = name
        self.trigger = trigger

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AssetWatcher) and (self.name, self.trigger) == (other.name, other.trigger)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"AssetWatcher(name={self.name!r}, trigger={self.trigger!r})"


def is_event_trigger(trigger: Any) -> bool:
    """Of ours or of Airflow's: either may load the file."""
    return any(cls.__name__ == "BaseEventTrigger" for cls in type(trigger).__mro__)


class Metadata:
    """What a task yields to say something of one of its outlets."""

    def __init__(self, asset: Any, extra: Mapping[str, Any] | None = None, alias: AssetAlias | None = None) -> None:
        self.asset = asset
        self.extra: Any = {} if extra is None else extra
        self.alias = alias

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Metadata(asset={self.asset!r}, extra={self.extra!r}, alias={self.alias!r})"


for _class in (Asset, Dataset, Model, AssetNameRef, AssetUriRef, AssetAlias, AssetAny, AssetAll):
    _class.__module__ = MODULE  # an XCom names it


def _identifier(value: Any, of: Any, what: str, *, may_be_empty: bool = True) -> str:
    who = f"{type(of).__name__} {what}"
    if not isinstance(value, str):
        raise ValueError(f"{who} must be a string")
    if len(value) > IDENTIFIER_MAX:
        raise ValueError(f"{who} cannot exceed {IDENTIFIER_MAX} characters")
    if value.isspace():
        raise ValueError(f"{who} cannot be just whitespace")
    if not value and not may_be_empty:
        raise ValueError(f"{who} cannot be empty")
    return value


COMPLETED = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "redshift": "amazon",
    "trino": "trino",
}
"""Schemes whose uris a provider completes (a port, a schema, another scheme), and the provider."""


def _leave_to_provider(uri: str, scheme: str, netloc: str, path: str) -> None:
    """Where the provider will be there, its uri counts: Airflow's own packages then load the file."""
    provider = COMPLETED.get(scheme)
    is_whole = scheme == provider or scheme == "redshift"
    if provider is None or (is_whole and netloc.rpartition(":")[2].isdigit() and "//" not in path):
        return
    if has_airflow() and is_named(f"airflow.providers.{provider}"):
        raise ShimUnsupported(
            f"the uri {uri!r} of an asset is one that the provider {provider} completes",
            "its rules are its own",
            "write it in full, with its port",
        )


def regular_uri(written: Any) -> str:
    """One form for one address: the scheme in small letters, no trailing slash, a sorted query, no fragment."""
    uri = str(written)
    parts = urllib.parse.urlsplit(uri)
    scheme = parts.scheme.lower()
    if not scheme or scheme.startswith("x-"):
        return uri
    if scheme == "airflow":
        raise ValueError("Asset scheme 'airflow' is reserved")
    netloc = parts.netloc
    if parts.password:
        warn("the uri of an asset holds a password, which is dropped", "write it without; connections hold passwords")
        netloc = netloc.rpartition("@")[2]
    query = urllib.parse.urlencode(sorted(urllib.parse.parse_qsl(parts.query)))
    path = parts.path.rstrip("/") or "/"
    _leave_to_provider(uri, scheme, netloc, path)
    return urllib.parse.urlunsplit((scheme, netloc, path, query, ""))
