"""Seals what people did within a second of its commit, in batches (ADR 86). A component of the term.

Whoever does something only writes its row: no request waits for the chain, and the chain has one writer.
"""

from __future__ import annotations

import trio

from leoflowd import telemetry
from leoflowd.store.audit_seals import seal_open
from leoflowd.store.database import Database
from leoflowd.store.secret_box import KeysRefused, SecretBox

log = telemetry.get_logger(__name__)

EVERY_S = 1.0


class AuditSeals:
    """`secrets` has the keys; without one, seals are plain hashes."""

    def __init__(self, *, db: Database, secrets: SecretBox) -> None:
        self._db = db
        self._secrets = secrets
        self._position = 0
        self._because: str | None = None

    def statistics(self) -> dict[str, int]:
        return {"position": self._position}

    def complaint(self) -> str | None:
        return self._because

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self.look()
            await trio.sleep(EVERY_S)

    async def look(self) -> None:
        """Seal all that is open. The head goes to the daemon's log, which is kept elsewhere than the database."""
        try:
            key_id, key = self._secrets.audit_key()
        except KeysRefused as error:
            self._because = f"the audit log is not sealed: {error}"
            return
        self._because = None
        while True:
            async with self._db.scheduler.transaction() as conn:
                head = await seal_open(conn, key_id=key_id, key=key)
            if head is None:
                return
            log.info("audit_sealed", position=head.position, seal=head.seal.hex(), is_keyed=head.is_keyed)
            self._position = head.position
