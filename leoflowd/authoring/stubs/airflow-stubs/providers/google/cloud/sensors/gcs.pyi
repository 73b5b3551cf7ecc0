# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import GCSObjectExistenceAsyncSensor as GCSObjectExistenceAsyncSensor
from airflow._leoflow import GCSObjectExistenceSensor as GCSObjectExistenceSensor
from airflow._leoflow import GCSObjectsWithPrefixExistenceSensor as GCSObjectsWithPrefixExistenceSensor
