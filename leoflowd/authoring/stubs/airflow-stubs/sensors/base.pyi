# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseSensorOperator as BaseSensorOperator
from airflow._leoflow import PokeReturnValue as PokeReturnValue
from airflow._leoflow import poke_mode_only as poke_mode_only
