# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import _datetime as datetime
from airflow._leoflow import coerce_datetime as coerce_datetime
from airflow._leoflow import convert_to_utc as convert_to_utc
from airflow._leoflow import from_timestamp as from_timestamp
from airflow._leoflow import is_localized as is_localized
from airflow._leoflow import is_naive as is_naive
from airflow._leoflow import make_aware as make_aware
from airflow._leoflow import make_naive as make_naive
from airflow._leoflow import parse as parse
from airflow._leoflow import parse_timezone as parse_timezone
from airflow._leoflow import utc_epoch as utc_epoch
from airflow._leoflow import utcnow as utcnow
from typing import Any
TIMEZONE: Any
utc: Any
