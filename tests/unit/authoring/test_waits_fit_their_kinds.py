"""What the shim writes is what `leoflow_sensors` reads: every native sensor's wait decodes into its kind's structs."""

from __future__ import annotations

import msgspec
import pytest

from leoflow_sensors import load_kinds

from .conftest import Compile
from .test_native_sensors import body

SENSORS = [
    "DateTimeSensor(task_id='w', target_time='{{ ds }}')",
    "TimeDeltaSensor(task_id='w', delta=timedelta(hours=1))",
    "WaitSensor(task_id='w', time_to_wait=5)",
    "TimeSensor(task_id='w', target_time=time(9, 30))",
    "DayOfWeekSensor(task_id='w', week_day='sunday')",
    "DayOfWeekSensor(task_id='w', week_day='sunday', use_task_logical_date=True)",
    "ExternalTaskSensor(task_id='w', external_dag_id='o', execution_delta=timedelta(days=1))",
    "FileSensor(task_id='w', filepath='in/*.csv')",
    "HttpSensor(task_id='w', endpoint='x', extra_options={'timeout': 3, 'verify': False})",
    "SqlSensor(task_id='w', conn_id='db', sql='select 1', parameters={'a': 1})",
    "RedisKeySensor(task_id='w', key='k', redis_conn_id='r')",
    "S3KeySensor(task_id='w', bucket_key='s3://b/a*', wildcard_match=True)",
    "S3PrefixSensor(task_id='w', bucket_name='n', prefix='p/')",
    "GCSObjectExistenceSensor(task_id='w', bucket='b', object='o')",
    "GCSObjectsWithPrefixExistenceSensor(task_id='w', bucket='b', prefix='o')",
    "WebhookSensor(task_id='w', name='paid')",
    "WebhookSensor(task_id='w', name='paid', json_path='a.b', equals=1)",
    "KubernetesObjectSensor(task_id='w', api_version='v1', resource='pods', name='p', condition='Ready')",
    "KubernetesObjectSensor(task_id='w', api_version='v1', resource='pods', name='p', json_path='a', equals=1)",
]
MOMENT = "2024-03-01 00:00:00+00:00"


def rendered(value: object) -> object:
    """Every template stands for a moment here."""
    if isinstance(value, str):
        return MOMENT if "{{" in value else value
    if isinstance(value, dict):
        return {key: rendered(item) for key, item in value.items()}
    return [rendered(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_wait_decodes_into_the_structs_of_its_kind(compiled: Compile, sensor: str) -> None:
    wait = compiled(body(sensor)).tasks[0].wait
    assert wait is not None
    kind = load_kinds()[wait.probe.kind]
    msgspec.convert(rendered(wait.probe.arguments), kind.spec)
    msgspec.convert(rendered(wait.terms.predicate), kind.predicate)
