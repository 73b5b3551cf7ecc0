# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DateTimeSensor as DateTimeSensor
from airflow._leoflow import DateTimeSensorAsync as DateTimeSensorAsync
