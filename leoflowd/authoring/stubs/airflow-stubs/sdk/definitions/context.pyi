# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import Context as Context
from airflow._leoflow import get_current_context as get_current_context
