# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import BaseEventTrigger as BaseEventTrigger
from airflow._leoflow import BaseTaskEndEvent as BaseTaskEndEvent
from airflow._leoflow import BaseTrigger as BaseTrigger
from airflow._leoflow import StartTriggerArgs as StartTriggerArgs
from airflow._leoflow import TaskFailedEvent as TaskFailedEvent
from airflow._leoflow import TaskSkippedEvent as TaskSkippedEvent
from airflow._leoflow import TaskSuccessEvent as TaskSuccessEvent
from airflow._leoflow import TriggerEvent as TriggerEvent
