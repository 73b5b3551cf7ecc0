# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseOperator as BaseOperator
from airflow._leoflow import chain as chain
from airflow._leoflow import chain_linear as chain_linear
from airflow._leoflow import cross_downstream as cross_downstream
