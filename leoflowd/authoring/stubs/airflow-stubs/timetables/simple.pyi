# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import AssetTriggeredTimetable as AssetTriggeredTimetable
from airflow._leoflow import ContinuousTimetable as ContinuousTimetable
from airflow._leoflow import NullTimetable as NullTimetable
from airflow._leoflow import OnceTimetable as OnceTimetable
from airflow._leoflow import PartitionedAssetTimetable as PartitionedAssetTimetable
