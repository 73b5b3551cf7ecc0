# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseOperator as BaseOperator
from airflow._leoflow import Connection as Connection
from airflow._leoflow import DAG as DAG
from airflow._leoflow import Param as Param
from airflow._leoflow import Variable as Variable
from airflow._leoflow import XComArg as XComArg
