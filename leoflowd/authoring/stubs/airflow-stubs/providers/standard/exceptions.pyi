# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import HITLRejectException as HITLRejectException
from airflow._leoflow import HITLTimeoutError as HITLTimeoutError
from airflow._leoflow import HITLTriggerEventError as HITLTriggerEventError
