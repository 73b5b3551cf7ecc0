"""What our pages use of npm comes from pinned tarballs and from nothing else, and nobody needs it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from leoflowd.lite import npm_packages
from leoflowd.lite.npm_packages import MONACO, PACKAGES, SCALAR, PackageUnavailable, extract, prepare_packages

MEMBERS = {
    "package/min/vs/loader.js": "//" + "x" * 4000,
    "package/min/vs/nls.messages.de.js.js": "other words",
    "package/min/vs/nls.messages-loader.js": "the loader of words",
    "package/min/vs/assets/ts.worker-1.js": "too large",
    "package/min/vs/assets/editor.worker-1.js": "needed",
    "package/esm/vs/loader.js": "another build",
    "package/LICENSE": "MIT",
    "package/dist/browser/standalone.js": "scalar",
    "package/package.json": "{}",
}


def make_tarball(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def tarballs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small tarballs that count as the pinned ones."""
    folder = tmp_path / "given"
    folder.mkdir()
    pinned = []
    for package in PACKAGES:
        content = make_tarball(folder / package.tarball, MEMBERS).read_bytes()
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        pinned.append(msgspec.structs.replace(package, sha512=digest))
    monkeypatch.setattr(npm_packages, "PACKAGES", tuple(pinned))
    monkeypatch.setenv("LEOFLOW_NPM_TARBALLS", str(folder))
    return folder


def prepare(tmp_path: Path) -> tuple[Path, list[str]]:
    said: list[str] = []
    return prepare_packages(tmp_path / "cache", progress=said.append), said


@pytest.mark.usefixtures("tarballs")
def test_only_what_the_pages_need_is_unpacked_with_a_packed_copy(tmp_path: Path) -> None:
    ready, said = prepare(tmp_path)
    files = {path.relative_to(ready).as_posix() for path in ready.rglob("*") if path.is_file()}
    assert files == {
        "monaco/vs/loader.js",
        "monaco/vs/loader.js.gz",
        "monaco/vs/nls.messages-loader.js",
        "monaco/vs/assets/editor.worker-1.js",
        "monaco/LICENSE",
        "scalar/standalone.js",
        "scalar/package.json",
    }
    script = ready / "monaco" / "vs" / "loader.js"
    assert gzip.decompress(script.with_name("loader.js.gz").read_bytes()) == script.read_bytes()
    assert said == []


def test_the_second_call_needs_neither_tarball_nor_npm(
    tmp_path: Path, tarballs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(tmp_path)
    shutil.rmtree(tarballs)
    monkeypatch.delenv("LEOFLOW_NPM_TARBALLS")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    assert prepare(tmp_path) == first


def test_a_tampered_tarball_is_refused_and_the_other_is_there(tmp_path: Path, tarballs: Path) -> None:
    (tarballs / MONACO.tarball).write_bytes((tarballs / MONACO.tarball).read_bytes() + b"x")
    ready, (said,) = prepare(tmp_path)
    assert [path.name for path in ready.iterdir()] == ["scalar"]
    assert "its sha512 is another" in said


def test_a_folder_without_the_tarball_is_said_and_npm_is_not_asked(
    tmp_path: Path, tarballs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tarballs / SCALAR.tarball).unlink()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    _, (said,) = prepare(tmp_path)
    assert f"holds no {SCALAR.tarball}" in said
    assert "leoflow setup" in said


def test_without_npm_the_sentences_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEOFLOW_NPM_TARBALLS", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    ready, said = prepare(tmp_path)
    assert list(ready.iterdir()) == []
    assert [sentence.split(" can do without ")[0] for sentence in said] == ["the web editor", "the pages of the API"]
    assert all("npm is not installed. Install it and run `leoflow setup`" in sentence for sentence in said)


def test_npm_fetches_the_pinned_version_and_runs_no_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEOFLOW_NPM_TARBALLS", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/npm")
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="npm error network no such host\n")

    monkeypatch.setattr(subprocess, "run", run)
    _, said = prepare(tmp_path)
    assert {command[-1] for command in asked} == {f"{one.name}@{one.version}" for one in PACKAGES}
    assert all("--ignore-scripts" in command for command in asked)
    assert any("no such host. Check the connection and run" in sentence for sentence in said)


@pytest.mark.parametrize("name", ["vs/../../../evil.js", "vs/..\\evil.js"])
def test_a_member_that_would_land_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    tarball = make_tarball(tmp_path / "evil.tgz", {f"package/min/{name}": "evil"})
    with pytest.raises(PackageUnavailable, match="written elsewhere"):
        extract(MONACO, tarball, tmp_path / "target" / "deep")
    assert not list(tmp_path.rglob("evil.js"))


def test_a_tarball_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageUnavailable, match="holds nothing"):
        extract(MONACO, make_tarball(tmp_path / "other.tgz", {"package/index.js": ""}), tmp_path / "target")
