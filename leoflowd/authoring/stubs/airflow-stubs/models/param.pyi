# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DagParam as DagParam
from airflow._leoflow import Param as Param
from airflow._leoflow import ParamsDict as ParamsDict
