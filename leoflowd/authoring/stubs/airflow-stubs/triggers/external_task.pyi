# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DagStateTrigger as DagStateTrigger
from airflow._leoflow import WorkflowTrigger as WorkflowTrigger
