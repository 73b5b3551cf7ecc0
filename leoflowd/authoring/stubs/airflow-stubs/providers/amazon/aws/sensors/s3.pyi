# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import S3KeySensor as S3KeySensor
from airflow._leoflow import S3PrefixSensor as S3PrefixSensor
