"""Projects made of text, compiled in real loader processes."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from leoflowd.authoring.compiler import SHIM, compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract.dag_spec import DagSpec

from .shim_process import Process

MakeProject = Callable[..., Path]
Compile = Callable[..., DagSpec]
Refuse = Callable[..., DagCompileError]
StartProcess = Callable[..., Process]


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    def make(dag: str | None = None, *, yaml: str | None = None, files: Mapping[str, str] | None = None) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        contents = {"dag.py": dag, "leoflow.yaml": yaml, **(files or {})}
        for name, content in contents.items():
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(textwrap.dedent(content).lstrip("\n"))
        return folder

    return make


@pytest.fixture
def compiled(project: MakeProject) -> Compile:
    """Compile a text that defines one DAG."""

    def run(dag: str | None = None, **files: object) -> DagSpec:
        (spec,) = compile_project(project(dag, **files))
        return spec

    return run


@pytest.fixture
def refused(project: MakeProject) -> Refuse:
    """Compile a text that must be refused, and give the error."""

    def run(
        dag: str | None = None, *, deadline_s: float = 30, memory_bytes: int = 4 << 30, **files: object
    ) -> DagCompileError:
        with pytest.raises(DagCompileError) as caught:
            compile_project(project(dag, **files), deadline_s=deadline_s, memory_bytes=memory_bytes)
        return caught.value

    return run


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The shim on this process's own path, as in a task process."""
    monkeypatch.syspath_prepend(str(SHIM))
    import airflow._leoflow_runtime

    known = set(sys.modules)
    yield airflow._leoflow_runtime
    airflow._leoflow_runtime.set_current_context(None)
    airflow._leoflow_runtime.set_supervisor(None)
    for name in set(sys.modules) - known:
        if not name.startswith("airflow"):
            del sys.modules[name]


@pytest.fixture
def process(runtime: ModuleType, project: MakeProject) -> StartProcess:
    """Load a DAG text as a task process does."""
    return lambda dag, **facts: Process(runtime, str(project(dag)), **facts)
