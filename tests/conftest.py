"""What every test may use: the rule for missing parts, and one real Lite per test session.

A test that needs a part this machine lacks is skipped with its reason; in CI (CI=true) the missing part is a failure.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio_asyncio  # noqa: F401  # first: it takes over asyncio's policy when it is imported
from hypothesis import HealthCheck, settings

from leoflowd.config import RedisConfig
from leoflowd.contract.ui_builds import BUILDS, UI_VERSION
from leoflowd.lite.npm_packages import PACKAGES
from leoflowd.lite.ui_assets import WHEEL_VARIABLE, prepare_ui
from leoflowd.redis.link import RedisLink
from loadtests.lite_process import PATIENCE, Api, Lite, temporary_folder

# The machine may be busy: how long an example takes, or is in the making, says nothing.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Outside Trio, asyncio is asyncio: the browser driver and the agent's tests run on its own loop.
asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())

# A shell that starts us in the background ignores SIGINT for us, and for every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
ARTIFACTS = REPOSITORY / "tests" / "artifacts"
UI_CACHE = ARTIFACTS / "ui"
NPM_CACHE = REPOSITORY / ".cache" / "npm"
WHEEL_CACHE = REPOSITORY / ".cache" / "airflow-wheels"
DOWNLOAD_WITHIN_S = 300 * PATIENCE
PATIENCE_S = 30.0 * PATIENCE
"""How long a test waits for what a moment brings on an idle machine."""
BUILD = pytest.StashKey[subprocess.Popen[bytes]]()
"""Of a real API server."""
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
"""One of several processes that share the tests of a run (ADR 0027)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start a Lite come first: they are the long ones, and workers take files in this order (ADR 0027)."""
    long = {item.path for item in items if "lite_environment" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: looking through it again and again was a twentieth of a run."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call() -> None:
    """Not a name for each test: loaders are kept for as long as the environment is the same (ADR 102)."""
    os.environ["PYTEST_CURRENT_TEST"] = "one of them"


def pytest_sessionstart(session: pytest.Session) -> None:
    """A whole run in CI needs a real API server at its end; building one, where there is none, begins at once."""
    if (
        os.environ.get("CI") == "true"
        and not IS_WORKER
        and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    ):
        from tests.kube.clusters import begin_build, is_built  # which asks this module for more

        if not is_built():
            session.config.stash[BUILD] = begin_build(ARTIFACTS / "kube-build.txt")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if build := session.config.stash.get(BUILD, None):
        from tests.kube.clusters import end_build

        end_build(build)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """What a test printed or logged goes from a worker to the one process that tells it, as UTF-8."""
    return _carried((yield))


def _carried(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_carried(key): _carried(item) for key, item in value.items()}
    return type(value)(map(_carried, value)) if type(value) in (list, tuple) else value


def missing(part: str) -> NoReturn:
    """Skip the running test for want of `part`, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have every part, and this is missing: {part}", pytrace=False)
    pytest.skip(f"missing on this machine: {part}")


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Of all workers only one is inside for this path: what several need is made once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a test run see, and no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if IS_WORKER else base


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Folder for screenshots and outputs that people look at after a run; not committed."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def airflow_wheel() -> Path:
    return pinned_wheel()


def pinned_wheel(version: str = UI_VERSION) -> Path:
    """Airflow's published wheel, pinned: from the cache, or from the index that pip is configured for.

    Holds the UI that Lite serves and the example DAGs that it must run. Nothing of it is committed.
    """
    wheel = WHEEL_CACHE / f"apache_airflow_core-{version}-py3-none-any.whl"
    with one_at_a_time(wheel):
        if not wheel.exists():
            _download_wheel(version)
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == BUILDS[version], (
        f"{wheel} is not the pinned file; remove it"
    )
    return wheel


def _download_wheel(version: str) -> None:
    requirement = WHEEL_CACHE / f"requirement-{version}.txt"
    requirement.write_text(f"apache-airflow-core=={version} --hash=sha256:{BUILDS[version]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--dest", str(WHEEL_CACHE), "--requirement", str(requirement)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_WITHIN_S, check=False)
    if answer.returncode != 0:
        missing(f"the wheel of apache-airflow-core {version}; pip says: {answer.stderr[-500:]}")


@pytest.fixture(scope="session")
def ui_dir() -> Path:
    return unpacked_ui()


def unpacked_ui(version: str = UI_VERSION) -> Path:
    """The UI build of that wheel, with Airflow's API documents in `openapi/`; unpacked by the first run, then kept."""
    with one_at_a_time(UI_CACHE), pytest.MonkeyPatch.context() as environment:
        environment.setenv(WHEEL_VARIABLE, str(pinned_wheel(version)))
        return prepare_ui(UI_CACHE, progress=lambda _: None, version=version)


def npm_tarball(name: str, version: str, file: str) -> Path:
    """A published npm package, from the cache or from the registry that npm is configured for."""
    tarball = NPM_CACHE / file
    with one_at_a_time(tarball):
        if not tarball.exists():
            command = [
                "npm",
                "pack",
                "--silent",
                "--ignore-scripts",
                f"--pack-destination={NPM_CACHE}",
                f"{name}@{version}",
            ]
            try:
                answer = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_WITHIN_S, check=False)
            except FileNotFoundError:
                missing("npm")
            if answer.returncode != 0:
                missing(f"{name} {version} from npm, which says: {answer.stderr[-500:]}")
    return tarball


@pytest.fixture(scope="session")
def npm_tarballs() -> Path:
    """Folder with the packages that our own pages use; their checksums are looked at when they are unpacked."""
    for package in PACKAGES:
        npm_tarball(package.name, package.version, package.tarball)
    return NPM_CACHE


@pytest.fixture(scope="session")
def lite_environment(airflow_wheel: Path) -> dict[str, str]:
    """For every Lite of the tests: the UI comes from the wheel at hand, so that none downloads it again."""
    return {"LEOFLOW_UI_WHEEL": str(airflow_wheel)}


@pytest.fixture(scope="session")
def lite(lite_environment: dict[str, str], artifacts: Path) -> Iterator[Lite]:
    """A real `leoflow lite` on an empty workspace, shared by all tests that only add projects of their own to it."""
    with temporary_folder("leoflow-e2e-") as root:
        (root / "workspace").mkdir()
        lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=lite_environment)
        try:
            with lite:
                yield lite
        finally:
            (artifacts / f"lite-output{os.environ.get('PYTEST_XDIST_WORKER', '')}.txt").write_text(lite.output())


@pytest.fixture(scope="session")
def api(lite: Lite) -> Iterator[Api]:
    """A logged-in HTTP client of the shared Lite."""
    with lite.api() as client:
        yield client


LinkTo = Callable[[RedisConfig], RedisLink]


@pytest.fixture
def link_to() -> Iterator[LinkTo]:
    """Makes links that are closed after the test: a socket that is collected elsewhere fails a test there."""
    with ExitStack() as links:
        yield lambda config: links.enter_context(closing(RedisLink(config)))
