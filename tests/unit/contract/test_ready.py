"""What threads decode was worked out before: their first use of a type at once would end the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

ATTEMPTS = 20
"""Of one process each; unready types ended about every fourth."""
FIRST_USES = """
import sys, threading
import msgspec
from {module} import {name} as Kind
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def use():
    together.wait()
    try:
        msgspec.json.decode('{document}', type=Kind)
    except msgspec.ValidationError:
        pass
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize(
    ("module", "name", "document"),
    [
        ("leoflowd.contract.dag_spec", "DagSpec", '{"dag_id": "d", "tasks": [{"task_id": "a", "operator": "x"}]}'),
        ("leoflowd.authoring.loader_processes", "Answer", '{"error": {"path": "", "line": 1, "what": "", "why": ""}}'),
    ],
)
def test_many_threads_use_a_type_for_the_first_time(module: str, name: str, document: str) -> None:
    script = FIRST_USES.format(module=module, name=name, document=document)
    for _ in range(ATTEMPTS):
        ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr[-500:]
