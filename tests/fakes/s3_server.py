"""A real S3 server on loopback (moto), configured by `AWS_...` in the environment. One per session."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

REGION = "eu-central-1"
KEY_ID, SECRET = "AKIATEST", "test-secret"
_NUMBERS = itertools.count(1)
"""Of this process, whose servers share what they hold."""


class S3Server:
    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self.url = url

    def new_bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        self.create_bucket(name)
        return name

    def create_bucket(self, name: str) -> None:
        self._client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def delete_bucket(self, name: str) -> None:
        """With what is in it, also what is put there meanwhile."""
        for attempt in range(20):
            for key in self.keys(name):
                self._client.delete_object(Bucket=name, Key=key)
            try:
                self._client.delete_bucket(Bucket=name)
            except self._client.exceptions.ClientError:
                if attempt == 19:
                    raise
            else:
                return

    def keys(self, name: str) -> list[str]:
        return [row["Key"] for row in self._client.list_objects_v2(Bucket=name).get("Contents", ())]

    def put(self, name: str, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=name, Key=key, Body=content)

    def delete(self, name: str, key: str) -> None:
        self._client.delete_object(Bucket=name, Key=key)

    @contextmanager
    def asking_for_credentials(self) -> Iterator[None]:
        """It knows no users, so that nobody's are right."""
        self._ask_after(0)
        try:
            yield
        finally:
            self._ask_after(1_000_000)

    def _ask_after(self, requests: int) -> None:
        httpx.post(f"{self.url}/moto-api/reset-auth", content=str(requests).encode()).raise_for_status()


@contextmanager
def running() -> Iterator[S3Server]:
    """Sets the environment variables that point every client of this process at it."""
    import boto3  # slow, and only these tests need it
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    ours = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    client = boto3.client("s3", endpoint_url=url, region_name=REGION)
    try:
        yield S3Server(client, url)
    finally:
        client.close()
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
