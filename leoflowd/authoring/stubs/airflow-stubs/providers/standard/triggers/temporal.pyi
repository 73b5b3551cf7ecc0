# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DateTimeTrigger as DateTimeTrigger
from airflow._leoflow import TimeDeltaTrigger as TimeDeltaTrigger
