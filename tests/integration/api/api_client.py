"""What API tests hold in their hands: a clock they move and clients that call the application in process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from quart import Response
from quart_trio import QuartTrio

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
PASSWORD = "correct horse"


@dataclass
class Clock:
    """The injected UTC clock; tests move it by hand."""

    value: datetime = START

    def __call__(self) -> datetime:
        return self.value

    def advance(self, seconds: float) -> None:
        self.value += timedelta(seconds=seconds)


@dataclass
class Client:
    """One caller of the application. `token` goes out as Bearer; `cookie` as the browser's `_token`."""

    app: QuartTrio
    token: str | None = None
    cookie: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, *, json: Any = None, **options: Any) -> Response:
        headers = {"Host": "localhost", **self.headers, **options.pop("headers", {})}
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if self.cookie is not None:
            headers["Cookie"] = f"_token={self.cookie}"
        if json is not None:
            headers.setdefault("Content-Type", "application/json")
            options["data"] = msgspec.json.encode(json)
        client = self.app.test_client(use_cookies=False)
        answer = await client.open(path, method=method, headers=headers, **options)
        assert isinstance(answer, Response)
        return answer

    async def get(self, path: str, **options: Any) -> Any:
        """The JSON of a GET that must succeed."""
        answer = await self.call("GET", path, **options)
        body = await answer.get_data(as_text=False)
        assert answer.status_code == 200, (path, answer.status_code, body)
        return msgspec.json.decode(body)

    async def send(self, method: str, path: str, json: Any = None, *, status: int = 200) -> Any:
        """The JSON of a write that must end with `status`; None for an empty answer."""
        answer = await self.call(method, path, json=json)
        body = await answer.get_data(as_text=False)
        assert answer.status_code == status, (path, answer.status_code, body)
        return msgspec.json.decode(body) if body else None
