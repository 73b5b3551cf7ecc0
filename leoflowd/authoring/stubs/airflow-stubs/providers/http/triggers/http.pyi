# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import HttpSensorTrigger as HttpSensorTrigger
from airflow._leoflow import HttpTrigger as HttpTrigger
