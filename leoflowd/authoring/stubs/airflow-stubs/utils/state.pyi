# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DagRunState as DagRunState
from airflow._leoflow import State as State
from airflow._leoflow import TaskInstanceState as TaskInstanceState
from airflow._leoflow import TerminalTIState as TerminalTIState
