"""Native sensors that wait for objects in a store: S3 and Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow._leoflow.connectors import needs_airflow
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.native_sensor import NativeSensor


class ObjectSensor(NativeSensor):
    """Base of the sensors for objects in a store; `objects()` says which."""

    sensor_kind = "object_key"
    store = ""
    provider = ""
    airflow_only: Mapping[str, Any] = {}
    """Arguments that only Airflow's own class honours -> the value with which there is nothing to honour; None is
    another one."""
    is_prefix = False

    def __init__(self, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name, self._defaults.get(name)) for name in self.airflow_only}
        super().__init__(**kwargs)
        for name, value in given.items():
            if value is not None and value is not self.airflow_only[name]:
                needs_airflow(self, name, self.provider)

    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        return (*super().unnamed_arguments(), *cls.airflow_only)

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
        if not aws_conn_id:  # the identity of whoever asks: a task's process has one to give, the daemon has not
            needs_airflow(self, f"aws_conn_id={aws_conn_id!r}", self.provider)

    def connection(self) -> str | None:
        return self.aws_conn_id


class S3KeySensor(_S3Sensor):
    """Waits until all keys exist; a key may be a whole `s3://bucket/key`."""

    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("aws_conn_id", "bucket_key", "bucket_name")
    airflow_only = {
        "check_fn": None,
        "use_regex": False,
        "metadata_keys": None,
        "verify": None,
        "region_name": None,
        "botocore_config": None,
    }

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
        """Which bucket a template means is only known when it is rendered."""
        return super().needs_process() or (self.bucket_name is None and any(map(_hides_bucket, self._keys())))

    def is_wildcard(self) -> bool:
        return bool(self.wildcard_match)

    def objects(self) -> tuple[str, list[str]]:
        keys = self._keys()
        if self.bucket_name is not None:
            for url in (key for key in keys if _split_s3(key)[0]):  # a template's turns out when it waits
                raise self.refuse(
                    f"bucket_key={url!r} and bucket_name={self.bucket_name!r}",
                    "the URL names a bucket as well, and Airflow takes no URL beside bucket_name",
                    "remove bucket_name, or write the key without its bucket",
                )
            return self.bucket_name, keys
        split = [_split_s3(key) for key in keys]
        if not split:  # all of none are there, as Airflow has it
            return "", []
        if len({bucket for bucket, _ in split}) != 1 or not split[0][0]:
            raise AuthoringError(
                f"task {self.task_id!r} waits for {', '.join(map(repr, keys))}",
                "one sensor waits in one bucket, and there is no bucket_name",
                "write s3://bucket/key with one bucket for all keys, or pass bucket_name; else use one task per bucket",
                self._location,
            )
        return split[0][0], [key for _, key in split]

    def _keys(self) -> list[str]:
        keys = [self.bucket_key] if isinstance(self.bucket_key, str) else self.bucket_key
        found = list(keys) if isinstance(keys, Iterable) else [keys]
        if not all(isinstance(key, str) for key in found):
            raise self.refuse(f"bucket_key={self.bucket_key!r}", "a key is a text", "write a text or a list of texts")
        return found


def _hides_bucket(key: str) -> bool:
    """Whether a template decides where the bucket of this URL ends: `{{ url }}`, `s3://{{ path }}`."""
    scheme, _, rest = key.partition("://")
    place, slash, _ = rest.partition("/")
    return "{{" in scheme or place.count("{{") != place.count("}}") or ("{{" in place and not slash)


def _split_s3(url: str) -> tuple[str, str]:
    """(bucket, key) of what Airflow's hook takes for a URL of S3; no bucket in anything else."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    if scheme.lower() in {"s3", "s3a", "s3n"}:
        return place, path.lstrip("/")
    parts = place.split(".")
    if scheme != "https" or "s3" not in parts[:2]:
        return "", url
    bucket, _, key = path.partition("/") if parts[0] == "s3" else (parts[0], "", path)
    return bucket, key


class S3PrefixSensor(_S3Sensor):
    """Waits until each prefix has an object."""

    is_prefix = True
    template_fields: Sequence[str] = ("aws_conn_id", "prefix", "bucket_name")
    airflow_only = {"verify": None}

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
    airflow_only: Mapping[str, Any] = {"impersonation_chain": None}

    def __init__(self, *, bucket: str, google_cloud_conn_id: str = "google_cloud_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bucket = bucket
        self.google_cloud_conn_id = google_cloud_conn_id

    def connection(self) -> str | None:
        return self.google_cloud_conn_id


class GCSObjectExistenceSensor(_GcsSensor):
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("bucket", "object", "google_cloud_conn_id")
    airflow_only = {"impersonation_chain": None, "retry": None}
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
    template_fields: Sequence[str] = ("bucket", "prefix", "google_cloud_conn_id")
    ui_color = "#f0eee4"

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def objects(self) -> tuple[str, list[str]]:
        return self.bucket, [self.prefix]
