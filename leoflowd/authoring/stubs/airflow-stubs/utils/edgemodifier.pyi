# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import EdgeModifier as EdgeModifier
from airflow._leoflow import Label as Label
