# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import TimeDeltaSensor as TimeDeltaSensor
from airflow._leoflow import TimeDeltaSensorAsync as TimeDeltaSensorAsync
from airflow._leoflow import WaitSensor as WaitSensor
