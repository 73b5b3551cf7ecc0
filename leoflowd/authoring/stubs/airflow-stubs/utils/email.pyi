# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import get_email_address_list as get_email_address_list
from airflow._leoflow import send_email as send_email
from airflow._leoflow import send_email as send_email_smtp
