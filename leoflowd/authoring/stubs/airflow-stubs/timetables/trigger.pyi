# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import CronPartitionTimetable as CronPartitionTimetable
from airflow._leoflow import CronTriggerTimetable as CronTriggerTimetable
from airflow._leoflow import DeltaTriggerTimetable as DeltaTriggerTimetable
from airflow._leoflow import MultipleCronTriggerTimetable as MultipleCronTriggerTimetable
