# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import Asset as Asset
from airflow._leoflow import AssetAlias as AssetAlias
from airflow._leoflow import AssetAll as AssetAll
from airflow._leoflow import AssetAny as AssetAny
