# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import TimeSensor as TimeSensor
from airflow._leoflow import TimeSensorAsync as TimeSensorAsync
