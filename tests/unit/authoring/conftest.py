"""Projects made of text, compiled in real loader processes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract.dag_spec import DagSpec

MakeProject = Callable[..., Path]
Compile = Callable[..., DagSpec]
Refuse = Callable[..., DagCompileError]


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
