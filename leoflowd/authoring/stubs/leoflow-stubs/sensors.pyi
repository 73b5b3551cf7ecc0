# Made by `make docs` from the shim's signatures; do not edit.
from airflow._leoflow import DateTimeSensor as DateTimeSensor
from airflow._leoflow import DayOfWeekSensor as DayOfWeekSensor
from airflow._leoflow import ExternalTaskSensor as ExternalTaskSensor
from airflow._leoflow import FileSensor as FileSensor
from airflow._leoflow import GCSObjectExistenceSensor as GCSObjectExistenceSensor
from airflow._leoflow import GCSObjectsWithPrefixExistenceSensor as GCSObjectsWithPrefixExistenceSensor
from airflow._leoflow import HttpSensor as HttpSensor
from airflow._leoflow import KubernetesObjectSensor as KubernetesObjectSensor
from airflow._leoflow import RedisKeySensor as RedisKeySensor
from airflow._leoflow import S3KeySensor as S3KeySensor
from airflow._leoflow import S3PrefixSensor as S3PrefixSensor
from airflow._leoflow import SqlSensor as SqlSensor
from airflow._leoflow import TimeDeltaSensor as TimeDeltaSensor
from airflow._leoflow import TimeSensor as TimeSensor
from airflow._leoflow import WaitSensor as WaitSensor
from airflow._leoflow import WebhookSensor as WebhookSensor
