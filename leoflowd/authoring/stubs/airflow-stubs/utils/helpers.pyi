# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import as_flattened_list as as_flattened_list
from airflow._leoflow import at_most_one as at_most_one
from airflow._leoflow import chunks as chunks
from airflow._leoflow import convert_camel_to_snake as convert_camel_to_snake
from airflow._leoflow import exactly_one as exactly_one
from airflow._leoflow import is_container as is_container
from airflow._leoflow import merge_dicts as merge_dicts
from airflow._leoflow import partition as partition
from airflow._leoflow import prune_dict as prune_dict
