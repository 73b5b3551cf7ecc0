"""The Airflow UI build, taken from the published `apache-airflow-core` wheel, checked and kept in a cache.

`leoflow setup` and the first start of Lite call `prepare_ui` in a thread: it downloads 6 MB once and unpacks what the
UI needs. Later starts find the folder and touch no network. Nothing of the wheel is ever imported or committed: it is
Apache-2.0, and its licence texts lie beside the files.

The folder: `main/` (the UI), `login/` (its login page's files), `openapi/` (documents that the answers are tested
against), `licenses/`. Beside each file worth it lies a `.gz` of it, so that serving never compresses.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.ui_builds import BUILDS, NOTE, UI_VERSION

WHEEL_VARIABLE = "LEOFLOW_UI_WHEEL"
DOWNLOAD_TIMEOUT_S = 300.0
COMPRESS_ABOVE_BYTES = 1024

_SIMPLE_AUTH = "airflow/api_fastapi/auth/managers/simple"
_FOLDERS = {
    "airflow/ui/dist/": "main",
    f"{_SIMPLE_AUTH}/ui/dist/": "login",
    "airflow/api_fastapi/core_api/openapi/": "openapi",
    f"{_SIMPLE_AUTH}/openapi/": "openapi",
    **{f"apache_airflow_core-{version}.dist-info/licenses/": "licenses" for version in BUILDS},
}
"""Member prefix in the wheel -> folder in the cache. Everything else in the wheel stays there."""
_KEPT_OF_OPENAPI = ".yaml"
_ALREADY_COMPRESSED = frozenset({".png", ".gz", ".woff2"})


class UiUnavailable(LeoflowError):
    """The UI build cannot be had; the message says what to do."""


def prepare_ui(cache_dir: Path, *, progress: Callable[[str], None], version: str = UI_VERSION) -> Path:
    """The folder with the UI's files, `cache_dir/<sha256 of the wheel>`; made on the first call. `version`: of BUILDS.

    Blocks for the download: call it in a thread. Raises `UiUnavailable` without network, for a wheel with another
    checksum, and for one whose content is not what we expect.
    """
    ready = cache_dir / BUILDS[version]
    if (ready / "main" / "index.html").is_file():
        return ready
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ui-", dir=cache_dir) as scratch:
        wheel = _given_wheel() or _download_wheel(version, Path(scratch), progress)
        _check_wheel(version, wheel)
        progress("unpacking the UI")
        unpacked = Path(scratch) / "unpacked"
        extract_ui(wheel, unpacked)
        (unpacked / NOTE).write_text(version)
        _publish(unpacked, ready)
    return ready


def extract_ui(wheel: Path, target: Path) -> None:
    """Unpack the wanted members of a wheel below `target`. A member that would land outside is refused."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or (name := _place(member.filename)) is None:
                continue
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.read(member)
            path.write_bytes(content)
            if len(content) > COMPRESS_ABOVE_BYTES and path.suffix not in _ALREADY_COMPRESSED:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, 6, mtime=0))
    if not (target / "main" / "index.html").is_file():
        raise UiUnavailable(f"{wheel} holds no airflow/ui/dist/index.html: not a wheel of apache-airflow-core")


def _place(member: str) -> str | None:
    """Where a member goes, relative to the cache folder; None if it is not wanted."""
    for prefix, folder in _FOLDERS.items():
        if member.startswith(prefix):
            rest = member.removeprefix(prefix)
            parts = PurePosixPath(rest).parts
            if not parts or ".." in parts or rest.startswith("/") or "\\" in rest or ":" in rest or "\0" in rest:
                raise UiUnavailable(f"the wheel holds a member that would be written elsewhere: {member!r}")
            if folder == "openapi" and not rest.endswith(_KEPT_OF_OPENAPI):
                return None
            return f"{folder}/{rest}"
    return None


def _publish(unpacked: Path, ready: Path) -> None:
    """Move the finished folder into place in one step; another process may have been faster."""
    if ready.exists() and not (ready / "main" / "index.html").is_file():
        shutil.rmtree(ready)  # never made by us: we only ever rename complete folders
    try:
        unpacked.rename(ready)
    except OSError:
        if not (ready / "main" / "index.html").is_file():
            raise


# --- getting the wheel -------------------------------------------------------------------------------------------


def _given_wheel() -> Path | None:
    if not (named := os.environ.get(WHEEL_VARIABLE)):
        return None
    wheel = Path(named).expanduser()
    if not wheel.is_file():
        raise UiUnavailable(f"{WHEEL_VARIABLE}={named}: there is no such file. Name a wheel or unset the variable.")
    return wheel


def _check_wheel(version: str, wheel: Path) -> None:
    with wheel.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != BUILDS[version]:
        raise UiUnavailable(
            f"{wheel.name} is not the wheel that Leoflow was tested with (apache-airflow-core {version}): "
            f"its sha256 is {found}, expected {BUILDS[version]}. Nothing of it was used. Delete it and try again, "
            f"or point {WHEEL_VARIABLE} at the right file."
        )


def _download_wheel(version: str, scratch: Path, progress: Callable[[str], None]) -> Path:
    """Fetch the pinned wheel with the packager of this interpreter, so that its index and proxy settings apply."""
    progress(f"downloading the Airflow {version} UI (6 MB, first start only)")
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"apache-airflow-core=={version} --hash=sha256:{BUILDS[version]}\n")
    options = (
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "-q",
        "--retries=2",
    )
    command = [*_pip(version), "download", *options, "--dest", str(scratch), "--requirement", str(requirements)]
    try:
        # Only fixed words and paths that we made ourselves.
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise UiUnavailable(_advice(version, f"no end after {DOWNLOAD_TIMEOUT_S:.0f} s")) from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise UiUnavailable(_advice(version, _last_line(done.stderr) or f"{command[0]} exited with {done.returncode}"))
    return wheels[0]


def _pip(version: str) -> Sequence[str]:
    """pip of this interpreter; environments made by uv have none, so uv runs one for us."""
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise UiUnavailable(_advice(version, "neither pip nor uv is installed beside this Python"))
    return (uv, "tool", "run", "--quiet", "--from", "pip", "pip")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _advice(version: str, reason: str) -> str:
    return (
        f"cannot download the UI (apache-airflow-core {version}): {reason}. The first start needs a package index "
        f"once; later ones need no network. Check the connection, or fetch the wheel on another machine "
        f"(pip download --no-deps apache-airflow-core=={version}) and set {WHEEL_VARIABLE} to its path."
    )
