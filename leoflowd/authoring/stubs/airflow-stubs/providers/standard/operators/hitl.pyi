# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import ApprovalOperator as ApprovalOperator
from airflow._leoflow import HITLBranchOperator as HITLBranchOperator
from airflow._leoflow import HITLEntryOperator as HITLEntryOperator
from airflow._leoflow import HITLOperator as HITLOperator
