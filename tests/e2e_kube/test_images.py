"""The base image: what it is, and that building it twice makes one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e_kube.conftest import build_base
from tests.kube.node import Engine

MAX_BYTES = 200 * 10**6


def test_two_builds_are_one_digest(engine: Engine, registry: str, debian: str, base_image: str) -> None:
    again = build_base(engine, f"{registry}/leoflow-base:again", debian, cached=False)
    assert again.rpartition("@")[2] == base_image.rpartition("@")[2]


def test_the_base_image_is_small_and_runs_as_nobody(
    engine: Engine, debian: str, base_image: str, artifacts: Path
) -> None:
    engine.call("podman", "pull", "-q", base_image)
    [found] = json.loads(engine.call("podman", "image", "inspect", base_image))
    [under] = json.loads(engine.call("podman", "image", "inspect", debian))
    note = f"base image: {found['Size'] / 1e6:.0f} MB, of which {under['Size'] / 1e6:.0f} MB are Debian and Python\n"
    (artifacts / "e2e-kube-image.txt").write_text(note)
    print(note)
    assert found["Size"] <= MAX_BYTES
    assert found["Config"]["User"] == "50000:50000"


UNCOMPILED = """
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
files = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print([name for name, file in files.items() if file and not os.path.exists(file)])
"""


@pytest.mark.parametrize(
    ("interpreter", "modules"),
    [("env", ("asyncio", "ssl", "httpx", "pendulum", "jinja2")), ("agent", ("leoflow_agent.__main__",))],
)
def test_nothing_is_compiled_in_the_pod(
    engine: Engine, base_image: str, interpreter: str, modules: tuple[str, ...]
) -> None:
    """Pods can write no bytecode, and images of Python come without: each would compile asyncio, json and the rest."""
    python = f"--entrypoint=/opt/leoflow/{interpreter}/bin/python"
    said = engine.call("podman", "run", "--rm", "--network=none", python, base_image, "-I", "-c", UNCOMPILED, *modules)
    assert said == "[]"


def test_without_its_pod_s_variables_it_says_what_it_misses(engine: Engine, base_image: str) -> None:
    said = engine.call("sh", "-c", f"podman run --rm --network=none {base_image} 2>&1; echo $?").splitlines()
    assert said == [
        "leoflow_agent pod: LEOFLOW_TRY_TOKEN or LEOFLOW_TRY_TOKEN_FILE must carry the token of this try",
        "78",
    ]
