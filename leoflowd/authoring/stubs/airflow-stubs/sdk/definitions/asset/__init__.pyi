# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import Asset as Asset
from airflow._leoflow import AssetAlias as AssetAlias
from airflow._leoflow import AssetAliasUniqueKey as AssetAliasUniqueKey
from airflow._leoflow import AssetAll as AssetAll
from airflow._leoflow import AssetAny as AssetAny
from airflow._leoflow import AssetBooleanCondition as AssetBooleanCondition
from airflow._leoflow import AssetNameRef as AssetNameRef
from airflow._leoflow import AssetRef as AssetRef
from airflow._leoflow import AssetUniqueKey as AssetUniqueKey
from airflow._leoflow import AssetUriRef as AssetUriRef
from airflow._leoflow import AssetWatcher as AssetWatcher
from airflow._leoflow import BaseAsset as BaseAsset
from airflow._leoflow import Dataset as Dataset
from airflow._leoflow import Model as Model
