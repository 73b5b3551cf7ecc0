# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseBranchOperator as BaseBranchOperator
from airflow._leoflow import BranchMixIn as BranchMixIn
