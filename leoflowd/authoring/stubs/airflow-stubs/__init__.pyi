# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import Asset as Asset
from airflow._leoflow import Asset as Dataset
from airflow._leoflow import DAG as DAG
from airflow._leoflow import XComArg as XComArg
