# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import datetime_diff_for_humans as datetime_diff_for_humans
from airflow._leoflow import ds_add as ds_add
from airflow._leoflow import ds_format as ds_format
from airflow._leoflow import ds_format_locale as ds_format_locale
from datetime import datetime as datetime
from datetime import timedelta as timedelta
from typing import Any
import dateutil as dateutil
import json as json
import time as time
import uuid as uuid
random: Any
