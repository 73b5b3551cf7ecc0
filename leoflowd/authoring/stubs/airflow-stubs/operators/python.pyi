# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BranchExternalPythonOperator as BranchExternalPythonOperator
from airflow._leoflow import BranchPythonOperator as BranchPythonOperator
from airflow._leoflow import BranchPythonVirtualenvOperator as BranchPythonVirtualenvOperator
from airflow._leoflow import ExternalPythonOperator as ExternalPythonOperator
from airflow._leoflow import PythonOperator as PythonOperator
from airflow._leoflow import PythonVirtualenvOperator as PythonVirtualenvOperator
from airflow._leoflow import ShortCircuitOperator as ShortCircuitOperator
from airflow._leoflow import get_current_context as get_current_context
