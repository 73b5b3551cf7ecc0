"""`from leoflow.sensors import ...`: native sensors that Airflow does not have, and those that it has."""

from __future__ import annotations

from airflow._leoflow.http_calls import HttpSensor
from airflow._leoflow.native_sensors import (
    DateTimeSensor,
    DayOfWeekSensor,
    ExternalTaskSensor,
    FileSensor,
    GCSObjectExistenceSensor,
    GCSObjectsWithPrefixExistenceSensor,
    KubernetesObjectSensor,
    RedisKeySensor,
    S3KeySensor,
    S3PrefixSensor,
    SqlSensor,
    TimeDeltaSensor,
    TimeSensor,
    WaitSensor,
    WebhookSensor,
)

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
