"""Partitions of assets: the mappers of keys, and the two timetables that know partitions (ADR 57).

`mapper_spec` writes down our classes and Airflow's alike: the second loader hands over the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow._leoflow.asset_schedule import AssetTriggeredTimetable
from airflow._leoflow.assets import Asset, AssetAlias, AssetBooleanCondition, AssetNameRef, AssetUriRef
from airflow._leoflow.errors import AuthoringError, ShimUnsupported, describe
from airflow._leoflow.timetables import CronTriggerTimetable, timezone_name

_HELP = "use the mappers of airflow.sdk: IdentityMapper, AllowedKeyMapper, StartOfDayMapper, ..., or a chain of them"


class PartitionMapper:
    """Base; of the author's own nothing can be run in the daemon, which maps the keys."""


class IdentityMapper(PartitionMapper):
    """The key of the event is that of the run."""


class AllowedKeyMapper(PartitionMapper):
    def __init__(self, allowed_keys: list[str]) -> None:
        self.allowed_keys = allowed_keys


class ChainMapper(PartitionMapper):
    """One after the other."""

    def __init__(self, mapper0: Any, mapper1: Any, /, *mappers: Any) -> None:
        self.mappers = [mapper0, mapper1, *mappers]


class ProductMapper(PartitionMapper):
    """Each its own part of the key."""

    def __init__(self, mapper0: Any, mapper1: Any, /, *mappers: Any, delimiter: str = "|") -> None:
        self.mappers = [mapper0, mapper1, *mappers]
        self.delimiter = delimiter


class _StartOf(PartitionMapper):
    default_output_format = ""

    def __init__(
        self,
        input_format: str = "%Y-%m-%dT%H:%M:%S",
        output_format: str | None = None,
        *,
        timezone: Any = "UTC",
    ) -> None:
        self.input_format = input_format
        self.output_format = output_format or self.default_output_format
        self._timezone = timezone


class StartOfHourMapper(_StartOf):
    default_output_format = "%Y-%m-%dT%H"


class StartOfDayMapper(_StartOf):
    default_output_format = "%Y-%m-%d"


class StartOfWeekMapper(_StartOf):
    default_output_format = "%Y-%m-%d (W%V)"


class StartOfMonthMapper(_StartOf):
    default_output_format = "%Y-%m"


class StartOfQuarterMapper(_StartOf):
    default_output_format = "%Y-Q{quarter}"


class StartOfYearMapper(_StartOf):
    default_output_format = "%Y"


_UNITS = {f"StartOf{unit.title()}Mapper": unit for unit in ("hour", "day", "week", "month", "quarter", "year")}
_PLACES = ("airflow._leoflow.partitions", "airflow.sdk.definitions.partition_mappers", "airflow.partition_mappers")


def mapper_spec(mapper: Any) -> dict[str, Any]:
    """As `leoflowd.contract.partition_spec` has it."""
    name = type(mapper).__name__
    if not type(mapper).__module__.startswith(_PLACES):
        raise ShimUnsupported(
            f"a partition mapper is {describe(mapper)}", "the daemon maps keys, without the code of authors", _HELP
        )
    if name == "IdentityMapper":
        return {"type": "identity"}
    if name == "AllowedKeyMapper":
        return {"type": "allowed", "keys": [str(key) for key in mapper.allowed_keys]}
    if name == "ChainMapper":
        return {"type": "chain", "of": [mapper_spec(one) for one in mapper.mappers]}
    if name == "ProductMapper":
        return {"type": "product", "of": [mapper_spec(one) for one in mapper.mappers], "delimiter": mapper.delimiter}
    if name in _UNITS:
        return {
            "type": "start_of",
            "unit": _UNITS[name],
            "input_format": mapper.input_format,
            "output_format": mapper.output_format,
            "timezone": timezone_name(getattr(mapper, "_timezone", "UTC")),
        }
    raise ShimUnsupported(f"a partition mapper is {describe(mapper)}", "it maps nothing", _HELP)


class PartitionedAssetTimetable(AssetTriggeredTimetable):
    """A run for each partition of which events have come for all assets."""

    def __init__(
        self,
        assets: Any,
        partition_mapper_config: Mapping[Any, Any] | None = None,
        default_partition_mapper: Any = None,
    ) -> None:
        super().__init__(assets)
        self.by_name: dict[str, Any] = {}
        self.by_uri: dict[str, Any] = {}
        for named, mapper in (partition_mapper_config or {}).items():
            self._map(named, mapper_spec(mapper))
        self.default = mapper_spec(IdentityMapper() if default_partition_mapper is None else default_partition_mapper)

    @property
    def summary(self) -> str | None:
        return "Partitioned Asset"

    def partitions_spec(self) -> dict[str, Any]:
        return {"by_name": self.by_name, "by_uri": self.by_uri, "default": self.default}

    def _map(self, named: Any, mapper: dict[str, Any]) -> None:
        if isinstance(named, AssetBooleanCondition):
            for one in named.objects:
                self._map(one, mapper)
        elif isinstance(named, Asset):
            self.by_name[named.name] = self.by_uri[named.uri] = mapper
        elif isinstance(named, AssetNameRef):
            self.by_name[named.name] = mapper
        elif isinstance(named, AssetUriRef):
            self.by_uri[named.uri] = mapper
        else:
            why = "an alias has no partitions of its own" if isinstance(named, AssetAlias) else "it is no asset"
            raise AuthoringError(
                f"partition_mapper_config has the key {describe(named)}", why, "name assets or references to them"
            )


class CronPartitionTimetable(CronTriggerTimetable):
    """A run at each slot, for a partition that the slot names."""

    def __init__(
        self,
        cron: str,
        *,
        timezone: Any,
        run_offset: Any = None,
        run_immediately: bool | timedelta = False,
        key_format: str = "%Y-%m-%dT%H:%M:%S",
    ) -> None:
        super().__init__(cron, timezone=timezone, run_immediately=run_immediately)
        if run_offset is not None and not isinstance(run_offset, int):
            raise ValueError("Run offset other than integer not supported yet.")
        self.offset = run_offset or 0
        self.key_format = key_format

    def to_spec(self) -> dict[str, Any]:
        return {**super().to_spec(), "partition": {"key_format": self.key_format, "offset": self.offset}}
