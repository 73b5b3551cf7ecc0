# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import ChainMapper as ChainMapper
