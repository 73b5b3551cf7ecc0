# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import AssetDefinition as AssetDefinition
from airflow._leoflow import MultiAssetDefinition as MultiAssetDefinition
from airflow._leoflow import asset as asset
