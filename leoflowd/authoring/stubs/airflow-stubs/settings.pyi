# Made by `make docs` from the shim's signatures; do not edit.
from typing import Any
AIRFLOW_HOME: str
DAGS_FOLDER: str
TIMEZONE: Any
