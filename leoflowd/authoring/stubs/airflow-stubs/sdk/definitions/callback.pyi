# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import AsyncCallback as AsyncCallback
from airflow._leoflow import SyncCallback as SyncCallback
