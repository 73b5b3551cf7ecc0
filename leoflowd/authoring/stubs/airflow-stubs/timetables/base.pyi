# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseTimetable as Timetable
from airflow._leoflow import DagRunInfo as DagRunInfo
from airflow._leoflow import DataInterval as DataInterval
from airflow._leoflow import TimeRestriction as TimeRestriction
