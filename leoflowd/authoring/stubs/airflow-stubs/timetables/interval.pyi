# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import CronDataIntervalTimetable as CronDataIntervalTimetable
from airflow._leoflow import DeltaDataIntervalTimetable as DeltaDataIntervalTimetable
