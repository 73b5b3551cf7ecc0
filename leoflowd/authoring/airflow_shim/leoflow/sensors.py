"""`from leoflow.sensors import ...`: native sensors that Airflow does not have, and those that it has."""

from __future__ import annotations

from airflow._leoflow.database_sensors import RedisKeySensor, SqlSensor
from airflow._leoflow.document_sensors import KubernetesObjectSensor, WebhookSensor
from airflow._leoflow.external_task_sensor import ExternalTaskSensor
from airflow._leoflow.file_sensor import FileSensor
from airflow._leoflow.http_calls import HttpSensor
from airflow._leoflow.object_sensors import (
    GCSObjectExistenceSensor,
    GCSObjectsWithPrefixExistenceSensor,
    S3KeySensor,
    S3PrefixSensor,
)
from airflow._leoflow.time_sensors import DateTimeSensor, DayOfWeekSensor, TimeDeltaSensor, TimeSensor, WaitSensor

__all__ = [
    "DateTimeSensor",
    "DayOfWeekSensor",
    "ExternalTaskSensor",
    "FileSensor",
    "GCSObjectExistenceSensor",
    "GCSObjectsWithPrefixExistenceSensor",
    "HttpSensor",
    "KubernetesObjectSensor",
    "RedisKeySensor",
    "S3KeySensor",
    "S3PrefixSensor",
    "SqlSensor",
    "TimeDeltaSensor",
    "TimeSensor",
    "WaitSensor",
    "WebhookSensor",
]
