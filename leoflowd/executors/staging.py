"""Collects the staging volumes of dag runs that ended (ADR 67). Of the daemon that leads, with each term anew.

The claims that there are, and the runs that they name, are all it knows; so whoever leads next goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.core.staging import RunEnd, is_over
from leoflowd.kube.claims import Claim
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

SWEEP_S = 60.0


class Claims(Protocol):
    """`kube.api.KubeApi`."""

    async def list_claims(self, selector: str) -> tuple[Claim, ...]: ...

    async def delete_claim(self, claim: Claim) -> None: ...


class CollectorStatistics(msgspec.Struct, frozen=True):
    claims: int
    deleted: int
    fault: str
    """Why the last look failed."""


class StagingCollector:
    """`runs(ids)` gives the dag runs that there are of these."""

    def __init__(
        self,
        *,
        api: Claims,
        selector: str,
        runs: Callable[[Collection[int]], Awaitable[Mapping[int, RunEnd]]],
        ttl: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._selector = selector
        self._runs = runs
        self._ttl = ttl
        self._now = now
        self._claims = self._deleted = 0
        self._fault = ""

    def statistics(self) -> CollectorStatistics:
        return CollectorStatistics(self._claims, self._deleted, self._fault)

    async def run(self) -> None:
        while True:
            async with contain(self._note):
                await self._collect()
                self._fault = ""
            await trio.sleep(SWEEP_S)

    async def _collect(self) -> None:
        claims = [claim for claim in await self._api.list_claims(self._selector) if not claim.is_leaving]
        self._claims = len(claims)
        runs = await self._runs({claim.dag_run_id for claim in claims}) if claims else {}
        for claim in claims:
            if self._is_over(claim, runs.get(claim.dag_run_id)):
                log.info("staging_collected", claim=claim.name, dag_id=claim.dag_id, run_id=claim.run_id)
                await self._api.delete_claim(claim)
                self._deleted += 1

    def _is_over(self, claim: Claim, run: RunEnd | None) -> bool:
        is_its = run is not None and (run.dag_id, run.run_id) == (claim.dag_id, claim.run_id)
        return is_over(run if is_its else None, created_at=claim.created_at, ttl=self._ttl, now=self._now())

    async def _note(self, failure: Exception) -> None:
        if not self._fault:
            log.warning("staging_not_collected", error=str(failure))
        self._fault = str(failure)
        await trio.lowlevel.checkpoint()
