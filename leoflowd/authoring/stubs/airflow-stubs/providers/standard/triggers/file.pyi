# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DirectoryFileDeleteTrigger as DirectoryFileDeleteTrigger
from airflow._leoflow import FileDeleteTrigger as FileDeleteTrigger
from airflow._leoflow import FileTrigger as FileTrigger
