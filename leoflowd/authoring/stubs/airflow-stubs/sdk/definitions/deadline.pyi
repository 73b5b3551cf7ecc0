# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseDeadlineReference as BaseDeadlineReference
from airflow._leoflow import DeadlineAlert as DeadlineAlert
from airflow._leoflow import DeadlineReference as DeadlineReference
from airflow._leoflow import deadline_reference as deadline_reference
