"""Native sensors that wait for objects in a store: S3 and Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow._leoflow.connectors import needs_airflow
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.native_sensor import NativeSensor
from airflow._leoflow.templating import texts


class ObjectSensor(NativeSensor):
    """Base of the sensors for objects in a store; `objects()` says which."""

    sensor_kind = "object_key"
    store = ""
    provider = ""
    airflow_only: Sequence[str] = ()
    """Arguments that only Airflow's own class honours."""
    is_prefix = False

    def __init__(self, **kwargs: Any) -> None:
        unsupported = {name: kwargs.pop(name, None) for name in self.airflow_only}
        super().__init__(**kwargs)
        for name, value in unsupported.items():
            if value is not None and value is not False:
                needs_airflow(self, name, self.provider)

    def objects(self) -> tuple[str, list[str]]:
        """(bucket, keys or prefixes); every subclass has its own."""
        raise NotImplementedError

    def is_wildcard(self) -> bool:
        return False

    def probe_arguments(self) -> dict[str, Any]:
        bucket, keys = self.objects()
        return {
            "store": self.store,
            "bucket": bucket,
            "keys": keys,
            "wildcard": self.is_wildcard(),
            "prefix": self.is_prefix,
        }


class _S3Sensor(ObjectSensor):
    store = "s3"
    provider = "amazon"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.aws_conn_id,)

    def connection(self) -> str | None:
        return self.aws_conn_id


class S3KeySensor(_S3Sensor):
    """Waits until all keys exist; a key may be a whole `s3://bucket/key`."""

    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket_key", "bucket_name")
    airflow_only = ("check_fn", "use_regex", "metadata_keys", "verify", "region_name", "botocore_config")

    def __init__(
        self,
        *,
        bucket_key: str | list[str],
        bucket_name: str | None = None,
        wildcard_match: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bucket_key = bucket_key
        self.bucket_name = bucket_name
        self.wildcard_match = wildcard_match

    def needs_process(self) -> bool:
        if super().needs_process():
            return True
        # which bucket a template means is only known when it is rendered
        return self.bucket_name is None and any(key.startswith("{{") for key in texts(self.bucket_key))

    def is_wildcard(self) -> bool:
        return bool(self.wildcard_match)

    def objects(self) -> tuple[str, list[str]]:
        keys = [self.bucket_key] if isinstance(self.bucket_key, str) else list(self.bucket_key)
        if self.bucket_name is not None:
            return self.bucket_name, keys
        split = [_split_s3(key) for key in keys]
        if any(bucket is None for bucket, _ in split) or len({bucket for bucket, _ in split}) != 1:
            raise AuthoringError(
                f"task {self.task_id!r} waits for {', '.join(map(repr, keys))}",
                "one sensor waits in one bucket, and there is no bucket_name",
                "write s3://bucket/key with one bucket for all keys, or pass bucket_name; else use one task per bucket",
                self._location,
            )
        return str(split[0][0]), [key for _, key in split]


def _split_s3(url: str) -> tuple[str | None, str]:
    scheme, _, rest = url.partition("://")
    if not rest or scheme not in {"s3", "s3a", "s3n"}:
        return None, url
    bucket, _, key = rest.partition("/")
    return bucket, key


class S3PrefixSensor(_S3Sensor):
    """Waits until each prefix has an object."""

    is_prefix = True
    template_fields: Sequence[str] = ("prefix", "bucket_name")
    airflow_only = ("verify",)

    def __init__(self, *, bucket_name: str, prefix: str | list[str], delimiter: str = "/", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bucket_name = bucket_name
        self.prefix = prefix
        if delimiter != "/":
            raise self.refuse(f"delimiter={delimiter!r}", "any object below the prefix ends the wait")

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket_name, [self.prefix] if isinstance(self.prefix, str) else list(self.prefix)


class _GcsSensor(ObjectSensor):
    store = "gcs"
    provider = "google"
    airflow_only = ("impersonation_chain", "retry")

    def __init__(self, *, bucket: str, google_cloud_conn_id: str = "google_cloud_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.google_cloud_conn_id = google_cloud_conn_id

    def fixed_values(self) -> Sequence[Any]:
        return (self.google_cloud_conn_id,)

    def connection(self) -> str | None:
        return self.google_cloud_conn_id


class GCSObjectExistenceSensor(_GcsSensor):
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket", "object")
    ui_color = "#f0eee4"

    def __init__(self, *, object: str, use_glob: bool = False, **kwargs: Any) -> None:  # noqa: A002 - Airflow's name
        super().__init__(**kwargs)
        self.object = object
        self.use_glob = use_glob

    def is_wildcard(self) -> bool:
        return bool(self.use_glob)

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket, [self.object]


class GCSObjectExistenceAsyncSensor(GCSObjectExistenceSensor):
    deferral_arguments = ()
    is_deferrable = True


class GCSObjectsWithPrefixExistenceSensor(_GcsSensor):
    """Waits until an object with this prefix exists."""

    is_prefix = True
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket", "prefix")
    ui_color = "#f0eee4"

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket, [self.prefix]
