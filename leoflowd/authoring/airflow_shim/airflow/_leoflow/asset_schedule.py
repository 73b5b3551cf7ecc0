"""Schedules by assets: `schedule=[a, b]`, `schedule=a | b`, `AssetOrTimeSchedule`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow._leoflow.assets import AssetAll, BaseAsset
from airflow._leoflow.errors import AuthoringError, describe, warn
from airflow._leoflow.timetables import BaseTimetable, NullTimetable


class AssetTriggeredTimetable(NullTimetable):
    """Events of assets start runs, and nothing else."""

    def __init__(self, assets: Any) -> None:
        self.asset_condition = _condition(assets)

    @property
    def summary(self) -> str | None:
        return "Asset"


class AssetOrTimeSchedule(AssetTriggeredTimetable):
    """Both events of assets and the timetable start runs."""

    def __init__(self, *, timetable: BaseTimetable, assets: Any = None, datasets: Any = None) -> None:
        if datasets is not None:
            warn("AssetOrTimeSchedule has datasets=", "write assets=")
        super().__init__(assets if datasets is None else datasets)
        if not isinstance(timetable, BaseTimetable) or isinstance(timetable, AssetTriggeredTimetable):
            raise AuthoringError(
                f"AssetOrTimeSchedule has timetable={describe(timetable)}",
                "it is no timetable, or one of assets",
                "pass a timetable such as CronTriggerTimetable(...)",
            )
        if "partition" in timetable.to_spec():
            raise AuthoringError(
                f"AssetOrTimeSchedule has timetable={describe(timetable)}",
                "its runs would have partitions, and those of the assets none",
                "use CronTriggerTimetable, or PartitionedAssetTimetable alone",
            )
        self.timetable = timetable

    def to_spec(self) -> dict[str, Any]:
        return self.timetable.to_spec()

    @property
    def summary(self) -> str | None:
        return f"Asset or {self.timetable.summary}"


def timetable_of(schedule: Any) -> AssetTriggeredTimetable | None:
    """None: the schedule is not one of assets, or is a timetable already."""
    is_group = isinstance(schedule, Collection) and not isinstance(schedule, str)
    return AssetTriggeredTimetable(schedule) if is_group or isinstance(schedule, BaseAsset) else None


def _condition(assets: Any) -> BaseAsset:
    if isinstance(assets, BaseAsset):
        return assets
    if not isinstance(assets, Collection) or not all(isinstance(one, BaseAsset) for one in assets):
        raise AuthoringError(
            f"schedule is {describe(assets)}",
            "all elements of a schedule must be assets, asset references or asset aliases",
            "pass assets, a cron string, a timedelta or a timetable",
        )
    # A set has another order in each process, and each compile is to give the same artifact.
    return AssetAll(*(sorted(assets, key=_order) if isinstance(assets, (set, frozenset)) else assets))


def _order(asset: Any) -> tuple[str, str, str]:
    """Not by the class alone, of which the second loader knows less."""
    return getattr(asset, "name", ""), getattr(asset, "uri", ""), repr(asset)
