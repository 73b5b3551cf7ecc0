# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import Configuration
from typing import Any
conf: Configuration
get: Any
getboolean: Any
getfloat: Any
getint: Any
has_option: Any
