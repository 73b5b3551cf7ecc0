# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import ConcatXComArg as ConcatXComArg
from airflow._leoflow import MapXComArg as MapXComArg
from airflow._leoflow import XComArg as PlainXComArg
from airflow._leoflow import XComArg as XComArg
from airflow._leoflow import ZipXComArg as ZipXComArg
