# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import get_parsing_context as get_parsing_context
