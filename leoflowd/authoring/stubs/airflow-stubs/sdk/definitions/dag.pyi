# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DAG as DAG
from airflow._leoflow import dag as dag
