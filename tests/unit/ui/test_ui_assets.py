"""The UI build comes from the pinned wheel and from nothing else."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from leoflowd.contract.ui_builds import BUILDS, UI_VERSION, build_in
from leoflowd.lite.ui_assets import UiUnavailable, extract_ui, prepare_ui

MEMBERS = {
    "airflow/ui/dist/index.html": '<base href="{{ backend_server_base_url }}" />',
    "airflow/ui/dist/assets/index-abc.js": "//" + "x" * 4000,
    "airflow/ui/dist/pin_32.png": "png" * 1000,
    "airflow/api_fastapi/auth/managers/simple/ui/dist/index.html": "login",
    "airflow/api_fastapi/core_api/openapi/_private_ui.yaml": "openapi: 3.1.0",
    "airflow/api_fastapi/core_api/openapi/exceptions.py": "raise RuntimeError",
    "airflow/models/dag.py": "raise RuntimeError",
    "apache_airflow_core-3.2.2.dist-info/licenses/LICENSE": "Apache License",
}


def make_wheel(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel that counts as the pinned one."""
    wheel = make_wheel(tmp_path / "given.whl", MEMBERS)
    monkeypatch.setitem(BUILDS, UI_VERSION, hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setenv("LEOFLOW_UI_WHEEL", str(wheel))
    return wheel


def prepare(tmp_path: Path) -> Path:
    return prepare_ui(tmp_path / "cache", progress=lambda _: None)


@pytest.mark.usefixtures("wheel")
def test_only_what_the_ui_needs_is_unpacked(tmp_path: Path) -> None:
    ready = prepare(tmp_path)
    files = {path.relative_to(ready).as_posix() for path in ready.rglob("*") if path.is_file()}
    assert files == {
        "main/index.html",
        "main/assets/index-abc.js",
        "main/assets/index-abc.js.gz",
        "main/pin_32.png",
        "login/index.html",
        "openapi/_private_ui.yaml",
        "licenses/LICENSE",
        "build",
    }
    assert build_in(ready) == UI_VERSION


@pytest.mark.usefixtures("wheel")
def test_long_texts_have_a_packed_copy(tmp_path: Path) -> None:
    script = prepare(tmp_path) / "main" / "assets" / "index-abc.js"
    assert gzip.decompress(script.with_name(script.name + ".gz").read_bytes()) == script.read_bytes()


def test_the_second_call_needs_neither_wheel_nor_network(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(tmp_path)
    wheel.unlink()
    monkeypatch.delenv("LEOFLOW_UI_WHEEL")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    assert prepare(tmp_path) == first


@pytest.mark.usefixtures("wheel")
def test_nothing_but_the_finished_folder_is_left_in_the_cache(tmp_path: Path) -> None:
    ready = prepare(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == [ready]


def test_a_tampered_wheel_is_refused_and_leaves_nothing(tmp_path: Path, wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(UiUnavailable, match="its sha256 is"):
        prepare(tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "airflow/ui/dist/../../../../evil.js",
        "airflow/ui/dist//etc/evil.js",
        "airflow/ui/dist/..\\..\\evil.js",
        "airflow/ui/dist/C:/evil.js",
    ],
)
def test_a_member_that_would_land_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    wheel = make_wheel(tmp_path / "evil.whl", {name: "evil", **MEMBERS})
    with pytest.raises(UiUnavailable, match="written elsewhere"):
        extract_ui(wheel, tmp_path / "target" / "deep")
    assert not list(tmp_path.rglob("evil.js"))


def test_a_wheel_of_something_else_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "other.whl", {"other/__init__.py": ""})
    with pytest.raises(UiUnavailable, match="not a wheel of apache-airflow-core"):
        extract_ui(wheel, tmp_path / "target")


def test_a_wheel_that_is_named_but_missing_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEOFLOW_UI_WHEEL", str(tmp_path / "none.whl"))
    with pytest.raises(UiUnavailable, match=r"there is no such file\. Name a wheel or unset"):
        prepare(tmp_path)


def test_without_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEOFLOW_UI_WHEEL", raising=False)
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="WARNING: retry\nERROR: no such host\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UiUnavailable, match=r"ERROR: no such host\. The first start needs .* set LEOFLOW_UI_WHEEL"):
        prepare(tmp_path)


@pytest.mark.parametrize("version", BUILDS)
def test_the_download_names_version_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.delenv("LEOFLOW_UI_WHEEL", raising=False)
    asked: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(Path(command[-1]).read_text())
        assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(command)
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UiUnavailable, match=f"apache-airflow-core {version}"):
        prepare_ui(tmp_path / "cache", progress=lambda _: None, version=version)
    assert asked == [f"apache-airflow-core=={version} --hash=sha256:{BUILDS[version]}\n"]


@pytest.mark.usefixtures("wheel")
def test_the_wheel_of_one_build_is_none_of_another(tmp_path: Path) -> None:
    with pytest.raises(UiUnavailable, match="expected 99258922"):
        prepare_ui(tmp_path / "cache", progress=lambda _: None, version="3.3.2")
