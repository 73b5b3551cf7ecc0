# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import _TaskFactory
from airflow._leoflow import dag as dag
from airflow._leoflow import setup as setup
from airflow._leoflow import task_group as task_group
from airflow._leoflow import teardown as teardown
task: _TaskFactory
