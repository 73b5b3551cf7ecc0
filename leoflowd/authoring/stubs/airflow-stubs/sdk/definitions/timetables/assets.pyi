# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import AssetOrTimeSchedule as AssetOrTimeSchedule
from airflow._leoflow import AssetTriggeredTimetable as AssetTriggeredTimetable
from airflow._leoflow import PartitionedAssetTimetable as PartitionedAssetTimetable
