"""Which tries are forked from a process that has loaded their file (ADR 31): those of a version that is in demand.

The first try of a version loads the file itself; a second one soon after has it loaded beside, for those that follow.
Such a server serves for a while, so that what loading read from the clock or from the environment is never old; one
that cannot serve (loading left traces, or failed) is not tried again soon. Tries never wait for one.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from leoflow_agent.fork_server import ForkServer, Project
from leoflow_agent.reports import fields

log = logging.getLogger(__name__)

DEMAND_S = 10.0
"""Two tries of a version within this time call for a third."""
LOADED_IDLE_S = 15.0
LOADED_AGE_S = 30.0
"""As often as Airflow reads a file anew at the least."""
LOADED_MAX = 4
"""Processes, also those that only wait for their last tries: each holds a loaded file in memory."""
NOT_AGAIN_S = 600.0
LOAD_WITHIN_S = 35.0
_REMEMBERED = 1000


class _Loaded(msgspec.Struct):
    base: ForkServer
    starting: asyncio.Task[ForkServer | None]

    @property
    def server(self) -> ForkServer | None:
        if not self.starting.done() or self.starting.cancelled() or self.starting.exception() is not None:
            return None
        return self.starting.result()


class LoadedServers:
    def __init__(self, *, idle_s: float = LOADED_IDLE_S) -> None:
        self._idle_s = idle_s
        self._asked: dict[Project, float] = {}
        """When a version was last asked for, oldest first."""
        self._not_before: dict[Project, float] = {}
        self._serving: dict[Project, _Loaded] = {}
        self._leaving: list[_Loaded] = []
        """They are given no more tries, and end with the last of those that they have."""

    def find(self, base: ForkServer, project: Project) -> ForkServer | None:
        """Where the next try of this version is to be forked, if not from `base`. Never waits."""
        now = asyncio.get_running_loop().time()
        loaded = self._serving.get(project)
        if loaded is not None and not self._is_over(project, loaded, base, now):
            return loaded.server
        asked_at = self._asked.pop(project, None)
        self._asked[project] = now
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        if asked_at is not None and now - asked_at <= DEMAND_S and now >= self._not_before.get(project, 0.0):
            self._begin(base, project)
        return None

    def servers(self) -> list[ForkServer]:
        return [loaded.server for loaded in (*self._serving.values(), *self._leaving) if loaded.server is not None]

    def serves_from(self, base: ForkServer) -> bool:
        """Would processes of ours end with this one?"""
        return any(loaded.base is base for loaded in (*self._serving.values(), *self._leaving))

    def end_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        for project, loaded in list(self._serving.items()):
            if self._is_over(project, loaded, loaded.base, now):
                continue
            if self._is_idle(loaded, now):
                self._leave(project)
        self._end_left()

    def close(self) -> None:
        for loaded in (*self._serving.values(), *self._leaving):
            loaded.starting.cancel()
            if loaded.server is not None:
                _end(loaded.server)
        self._serving.clear()
        self._leaving.clear()

    def _begin(self, base: ForkServer, project: Project) -> None:
        self._end_left()
        if len(self._serving) + len(self._leaving) >= LOADED_MAX:
            idle = [known for known, loaded in self._serving.items() if loaded.server and not loaded.server.tries]
            if not idle:
                return
            self._leave(idle[0])
            self._end_left()
        self._serving[project] = _Loaded(base, asyncio.create_task(self._start(base, project)))

    async def _start(self, base: ForkServer, project: Project) -> ForkServer | None:
        """None, and not again soon, when this version cannot be served so."""
        because = "its process ended"
        try:
            server = await base.load(project)
        except ConnectionError:
            return None
        try:
            hello = await asyncio.wait_for(server.hello, LOAD_WITHIN_S)
            because = hello["not_alike"] or ("it has threads" if hello["threads"] > 1 else "")
        except (TimeoutError, ConnectionError) as error:
            because = repr(error)
        except asyncio.CancelledError:
            _end(server)
            raise
        if not because:
            log.info("version_loaded", extra=fields(source=project.source_path, pid=server.pid))
            return server
        log.info("version_not_loaded", extra=fields(source=project.source_path, because=because))
        _end(server)
        self._not_before = {
            known: moment for known, moment in self._not_before.items() if moment > asyncio.get_running_loop().time()
        }
        self._not_before[project] = asyncio.get_running_loop().time() + NOT_AGAIN_S
        return None

    def _is_over(self, project: Project, loaded: _Loaded, base: ForkServer, now: float) -> bool:
        """Takes it out when it is to be given no more tries."""
        server = loaded.server
        if not loaded.starting.done():
            if loaded.base is base:
                return False
            loaded.starting.cancel()
            del self._serving[project]
            return True
        if server is None or not server.is_alive:
            del self._serving[project]
            return True
        if loaded.base is not base or now - server.born > LOADED_AGE_S:
            self._leave(project)
            return True
        return False

    def _is_idle(self, loaded: _Loaded, now: float) -> bool:
        server = loaded.server
        return server is not None and server.tries == 0 and now - server.idle_since >= self._idle_s

    def _leave(self, project: Project) -> None:
        self._leaving.append(self._serving.pop(project))

    def _end_left(self) -> None:
        for loaded in list(self._leaving):
            if loaded.server is None or loaded.server.tries == 0:
                self._leaving.remove(loaded)
                if loaded.server is not None:
                    _end(loaded.server)


def _end(server: ForkServer) -> None:
    server.kill()
    server.close()
