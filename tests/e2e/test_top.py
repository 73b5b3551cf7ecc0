"""`leoflow top --once` beside a real Lite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from loadtests.lite_process import Api, Lite


def test_one_look_at_a_real_server(lite: Lite, api: Api) -> None:
    token = api.http.headers["Authorization"].removeprefix("Bearer ")
    env = {**os.environ, "LEOFLOW_SERVER": lite.url, "LEOFLOW_TOKEN": token, "LEOFLOW_CONFIG": os.devnull}
    command = [str(Path(sys.executable).parent / "leoflow"), "top", "--once"]
    printed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert "scheduler healthy" in printed
    assert "default_pool" in printed
    found = json.loads(subprocess.run([*command, "-o", "json"], env=env, capture_output=True, check=True).stdout)
    assert found["heartbeat_age_s"] < 60
    assert found["probes"]["probes_failed"] == 0
    assert found["faults"] == []
