# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import ExternalTaskMarker as ExternalTaskMarker
from airflow._leoflow import ExternalTaskSensor as ExternalTaskSensor
