"""`leoflow deploy` with builders made of a shell script, and a server made of a function."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from leoflowd.cli.failures import ExitCode
from leoflowd.contract.signatures import DOMAIN, HEADER

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
BASE = "registry.example/base@sha256:" + "c" * 64
DAG = """\
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, task

with DAG("{dag_id}", schedule=None):
    wait = HttpSensor(task_id="wait", http_conn_id="shop_api", endpoint="x")

    @task
    def go():
        return 1

    wait >> go()
"""
BUILDER = """\
#!/bin/sh
echo "$0 $@" >> {log}
case "$1" in
build) for last; do :; done; find "$last" -type f | sort >> {log}; cat "$last/code/dag.py" >> {log} ;;
push) if [ "$2" = --digestfile ]; then echo {digest} > "$3"; fi ;;
image) echo '["elsewhere/x@{other}", "registry.example/team/shop@{digest}"]' ;;
esac
exit {code}
"""


class Builders:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"

    def install(self, name: str, *, digest: str = DIGEST, code: int = 0) -> None:
        program = self._folder / name
        program.write_text(BUILDER.format(log=self._log, digest=digest, other=OTHER, code=code))
        program.chmod(0o755)

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def calls(self) -> list[str]:
        """Program and verb, in order."""
        here = f"{self._folder}/"
        return [" ".join(line.removeprefix(here).split()[:2]) for line in self.lines() if line.startswith(here)]


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builders:
    for name in ("LEOFLOW_REGISTRY", "LEOFLOW_BASE_IMAGE", "LEOFLOW_BUILDER"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    found = Builders(folder)
    found.install("podman")
    return found


def project(folder: Path, dag_id: str = "shop", *, settings: str | None = None, source: str = DAG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dag.py").write_text(source.format(dag_id=dag_id))
    (folder / "leoflow.yaml").write_text(
        f"registry:\n  url: registry.example/team\nbase_image: {BASE}\n" if settings is None else settings
    )
    return folder


class Server:
    """Registers what it is sent, and says that it lacks this connection."""

    def __init__(self) -> None:
        self.registered: list[dict[str, Any]] = []
        self.triggered: list[str] = []
        self.warnings: list[str] = []
        self.signed_by: str | None = None
        self.checked = httpx.Response(200, json={"created": True, "warnings": []})
        """Of servers before `code_is_here`."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api/v2/leoflow/dags":
            self.registered.append(json.loads(request.content))
            answer = {"dag_id": self.registered[-1]["dag_id"], "version_number": len(self.registered), "created": True}
            answer |= {"missing_connections": ["shop_api"], "warnings": self.warnings}
            answer |= {"signed_by": self.signed_by}
            return httpx.Response(200, json=answer)
        if path == "/api/v2/leoflow/dags/check":
            return self.checked
        if path.endswith("/dagRuns"):
            dag_id = path.split("/")[-2]
            self.triggered.append(dag_id)
            return httpx.Response(200, json={"dag_id": dag_id, "dag_run_id": "r", "state": "queued"})
        return httpx.Response(404, json={"detail": "not there"})


def deploy(leoflow: Any, target: Path, *options: str) -> Any:
    return leoflow("deploy", str(target), "--builder", "podman", "--yes", *options)


def test_what_runs_is_what_the_registry_says_was_pushed(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    result = deploy(leoflow, project(tmp_path / "shop"), "--dag-version", "v7", "--trigger")
    assert result.code == 0, result.err
    assert builders.calls() == ["podman build", "podman push"]
    (artifact,) = known.registered
    assert artifact["image"] == f"registry.example/team/shop@{DIGEST}"
    assert artifact["dag_version"] == "v7"
    assert known.triggered == ["shop"]
    assert f"shop: version 1, registry.example/team/shop@{DIGEST}" in result.out
    built = "\n".join(builders.lines())
    assert "--platform linux/amd64" in built
    assert 'DAG("shop"' in built


def test_connections_are_named_and_those_that_the_server_lacks(
    leoflow, server, builders: Builders, tmp_path: Path
) -> None:
    server(Server())
    result = deploy(leoflow, project(tmp_path / "shop"), "-o", "json")
    (deployed,) = result.document["deployed"]
    assert deployed["connections"] == deployed["missing_connections"] == ["shop_api"]
    said = deploy(leoflow, tmp_path / "shop").err
    assert "shop: the server has no connection shop_api; see `leoflow connections add`" in said


def test_what_the_server_warns_of_is_told(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    known.warnings = ["pool 'gpu' does not exist"]
    server(known)
    result = deploy(leoflow, project(tmp_path / "shop"), "-o", "json")
    assert result.document["deployed"][0]["warnings"] == known.warnings
    assert "shop: pool 'gpu' does not exist" in deploy(leoflow, project(tmp_path / "shop")).err


def test_what_was_pinned_is_signed(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    known = Server()
    requests = server(known)
    known.signed_by = "ci (SHA256:x)"
    result = deploy(leoflow, project(tmp_path / "shop"), "--sign-key", str(tmp_path / "key"))
    assert result.code == 0, result.err
    assert f"shop@{DIGEST}, signed by ci (SHA256:x)" in result.out
    (sent,) = (request for request in requests if request.url.path == "/api/v2/leoflow/dags")
    signature = base64.b64decode(sent.headers[HEADER].split()[1])
    key.public_key().verify(signature, DOMAIN + sent.content)
    assert DIGEST.encode() in sent.content
    known.signed_by = None
    said = deploy(leoflow, tmp_path / "shop", "--sign-key", str(tmp_path / "key")).err
    assert "checks no signatures" in said


def test_a_key_that_the_server_will_want_is_missed_before_anything_is_built(
    leoflow, server, builders: Builders, tmp_path: Path
) -> None:
    known = Server()
    server(known)
    known.checked = httpx.Response(200, json={"created": True, "warnings": [], "signatures": "required"})
    result = deploy(leoflow, project(tmp_path / "shop"))
    assert (result.code, builders.lines(), known.registered) == (ExitCode.NOT_ALLOWED, [], [])
    assert "--sign-key" in result.err


def test_a_key_that_is_none_is_refused_before_anything_is_built(
    leoflow, server, builders: Builders, tmp_path: Path
) -> None:
    known = Server()
    server(known)
    (tmp_path / "key").write_text("hello")
    for name in ("key", "missing", "."):
        result = deploy(leoflow, project(tmp_path / "shop"), "--sign-key", str(tmp_path / name))
        assert (result.code, builders.lines(), known.registered) == (ExitCode.USAGE, [], [])


def test_docker_is_asked_for_the_digest_of_this_repository(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    builders.install("docker")
    assert deploy(leoflow, project(tmp_path / "shop"), "--builder", "docker").code == 0
    assert builders.calls() == ["docker build", "docker push", "docker image"]
    assert known.registered[0]["image"] == f"registry.example/team/shop@{DIGEST}"


@pytest.mark.parametrize("program", ["podman", "docker"])
def test_a_push_without_a_digest_registers_nothing(
    leoflow, server, builders: Builders, tmp_path: Path, program: str
) -> None:
    known = Server()
    server(known)
    builders.install(program, digest="latest")
    result = deploy(leoflow, project(tmp_path / "shop"), "--builder", program)
    assert result.code == ExitCode.UNEXPECTED
    assert known.registered == []


def test_a_build_that_fails_registers_nothing(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    builders.install("podman", code=7)
    result = deploy(leoflow, project(tmp_path / "shop"))
    assert result.code == ExitCode.NOT_READY
    assert "ended with exit code 7" in result.err
    assert known.registered == []


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (200, {"created": True, "code_is_here": False, "warnings": []}, "no images"),
        (403, {"detail": "Forbidden"}, "Forbidden"),
        (400, {"detail": "its wait has no such kind"}, "no such kind"),
    ],
)
def test_what_the_server_would_not_run_is_not_built(
    leoflow, server, builders: Builders, tmp_path: Path, status: int, answer: dict[str, Any], words: str
) -> None:
    known = Server()
    known.checked = httpx.Response(status, json=answer)
    server(known)
    result = deploy(leoflow, project(tmp_path / "shop"))
    assert result.code != 0
    assert words in result.err
    assert builders.calls() == []
    assert known.registered == []


def test_one_broken_project_does_not_stop_the_others(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    project(tmp_path / "all" / "good", "good")
    project(tmp_path / "all" / "broken", "broken", source="raise ValueError('no')  # {dag_id} DAG airflow")
    project(tmp_path / "all" / "other", "other")
    result = deploy(leoflow, tmp_path / "all", "--all")
    assert result.code == ExitCode.INVALID
    assert sorted(each["dag_id"] for each in known.registered) == ["good", "other"]
    assert "1 of 3 projects failed: broken" in result.err


def test_several_projects_are_deployed_on_request_only(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    project(tmp_path / "all" / "one", "one")
    project(tmp_path / "all" / "two", "two")
    result = deploy(leoflow, tmp_path / "all")
    assert result.code == ExitCode.USAGE
    assert "add --all" in result.err
    assert known.registered == []


def test_a_dag_is_found_by_its_id(leoflow, server, builders: Builders, tmp_path: Path, monkeypatch) -> None:
    known = Server()
    server(known)
    project(tmp_path / "all" / "a", "one")
    project(tmp_path / "all" / "b", "two")
    monkeypatch.chdir(tmp_path / "all")
    monkeypatch.setenv("LEOFLOW_BUILDER", "podman")
    assert leoflow("deploy", "two", "--yes").code == 0
    assert [each["dag_id"] for each in known.registered] == ["two"]
    assert leoflow("deploy", "three", "--yes").code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (f"base_image: {BASE}\n", "registry:\n  url: registry.example.com/team"),
        ("registry:\n  url: registry.example/team\n", "base_image: registry.example.com/leoflow-base@sha256:..."),
        (f"image: etl:dev\nbase_image: {BASE}\n", "leoflow.yaml:1"),
    ],
)
def test_what_is_missing_is_said_with_the_line_to_add(
    leoflow, server, builders: Builders, tmp_path: Path, settings: str, says: str
) -> None:
    server(Server())
    result = deploy(leoflow, project(tmp_path / "shop", settings=settings))
    assert result.code == ExitCode.INVALID
    assert says in result.err
    assert builders.calls() == []


def test_what_no_pod_gets_is_refused_before_anything_is_built(
    leoflow, server, builders: Builders, tmp_path: Path
) -> None:
    server(Server())
    folder = project(tmp_path / "shop")
    source = (folder / "dag.py").read_text()
    asked = "executor_config={'pod_override': {'spec': {'hostNetwork': True}}}"
    (folder / "dag.py").write_text(
        f"{source}\n\nfrom airflow.sdk import DAG\n"
        "from airflow.providers.standard.operators.empty import EmptyOperator\n"
        f"with DAG('other', schedule=None):\n    EmptyOperator(task_id='a', {asked})\n"
    )
    result = deploy(leoflow, folder)
    assert result.code == ExitCode.INVALID
    assert "pod_override.spec.hostNetwork is refused" in result.err
    assert builders.calls() == []


@pytest.mark.parametrize("name", [".env", "deploy.pem", "keys/id_rsa"])
def test_a_file_that_holds_secrets_is_not_shipped(
    leoflow, server, builders: Builders, tmp_path: Path, name: str
) -> None:
    server(Server())
    folder = project(tmp_path / "shop")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("PASSWORD=x")
    result = deploy(leoflow, folder)
    assert result.code == ExitCode.INVALID
    assert name in result.err
    assert builders.calls() == []
    with (folder / "leoflow.yaml").open("a") as settings:
        settings.write(f"exclude_paths: [{name}]\n")
    assert deploy(leoflow, folder).code == 0
    assert name not in "\n".join(builders.lines())


def test_a_dry_run_builds_and_sends_nothing(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    requests = server(Server())
    result = leoflow("deploy", str(project(tmp_path / "shop")), "--dry-run", "--builder", "buildah")
    assert result.code == 0, result.err
    assert f"FROM {BASE}" in result.out
    assert "buildah build --platform linux/amd64 --tag registry.example/team/shop:" in result.out
    assert builders.calls() == requests == []


def test_the_authors_own_dockerfile_is_built(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = Server()
    server(known)
    folder = project(
        tmp_path / "shop", settings="registry:\n  url: registry.example/team\nbuild:\n  dockerfile: Dockerfile\n"
    )
    (folder / "code").mkdir()
    (folder / "code" / "dag.py").write_text("")
    (folder / "Dockerfile").write_text("FROM mine\n")
    assert deploy(leoflow, folder).code == 0
    assert f"--file {folder / 'Dockerfile'} {folder}" in "\n".join(builders.lines())
    assert known.registered[0]["image"].endswith(DIGEST)


@pytest.mark.parametrize(
    ("name", "ignored", "is_shipped"),
    [
        (".env", None, True),
        (".env", "# secrets\n.env\n", False),
        ("keys/a.pem", "*.pem\n", True),
        ("keys/a.pem", "**/*.pem\n", False),
        ("keys/a.pem", "/keys/\n", False),
        ("keys/a.pem", "keys\n!keys/a.pem\n", True),
    ],
)
def test_a_secret_is_not_shipped_by_the_authors_own_dockerfile_either(
    leoflow, server, builders: Builders, tmp_path: Path, name: str, ignored: str | None, is_shipped: bool
) -> None:
    """`COPY . .` took it along."""
    server(Server())
    settings = "registry:\n  url: registry.example/team\nbuild:\n  dockerfile: Dockerfile\n"
    folder = project(tmp_path / "shop", settings=settings)
    (folder / "Dockerfile").write_text("FROM mine\nCOPY . /opt/leoflow/dags\n")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("PASSWORD=x")
    if ignored is not None:
        (folder / ".dockerignore").write_text(ignored)
    result = deploy(leoflow, folder)
    assert result.code == (ExitCode.INVALID if is_shipped else 0)
    assert (name in result.err) is is_shipped
    assert bool(builders.calls()) is not is_shipped


def test_equal_content_is_one_tag_and_other_content_another(
    leoflow, server, builders: Builders, tmp_path: Path
) -> None:
    folder = project(tmp_path / "shop")

    def tag() -> str:
        return leoflow("deploy", str(folder), "--dry-run", "-o", "json").document["deployed"][0]["image"]

    first = tag()
    assert tag() == first
    (folder / "more.py").write_text("X = 1\n")
    assert tag() != first


def test_without_a_builder_it_says_which_there_are(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    server(Server())
    result = leoflow("deploy", str(project(tmp_path / "shop")), "--yes", "--builder", "nerdctl")
    assert result.code == ExitCode.NOT_READY
    assert "install one of docker, podman, nerdctl, buildah" in result.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("image: mine:1\n", "leoflow.yaml:4: image is 'mine:1'"),
        ("  tag_strategy: git_sha\n", "registry.tag_strategy is 'git_sha'"),
        ("  auth_method: iam\n", "registry.auth_method is 'iam'"),
        ("build: {context: .}\n", "build.context is '.'"),
        ("build: {dockerfile: Dockerfile}\n", "base_image is"),
    ],
)
def test_a_setting_that_the_image_would_not_have_is_refused(
    leoflow, server, builders: Builders, tmp_path: Path, more: str, says: str
) -> None:
    server(Server())
    settings = f"base_image: {BASE}\nregistry:\n  url: registry.example/team\n{more}"
    result = deploy(leoflow, project(tmp_path / "shop", settings=settings))
    assert result.code == ExitCode.INVALID
    assert says in result.err
    assert builders.calls() == []


def test_labels_platform_and_python_are_those_of_the_project(leoflow, tmp_path: Path, builders: Builders) -> None:
    version = f"3.{sys.version_info.minor}"
    settings = (
        f"base_image: {BASE}\npython_version: '{version}'\n"
        "registry: {url: registry.example/team, image_name: named}\n"
        "build:\n  labels: {team: data}\n  platforms: [linux/arm64]\n"
    )
    result = leoflow("deploy", str(project(tmp_path / "shop", settings=settings)), "--dry-run", "-o", "json")
    assert result.code == 0, result.err
    (planned,) = result.document["deployed"]
    assert {"--label=team=data", "linux/arm64"} <= set(planned["command"])
    assert planned["image"].startswith("registry.example/team/named:")
    assert f"python_version is {version}" in planned["dockerfile"]


# --- canaries ----------------------------------------------------------------------------------------------------


class CanaryServer(Server):
    """Answers with the terms it was given; the first version of a DAG is none."""

    def __init__(self, *, is_first: bool = False) -> None:
        super().__init__()
        self.is_first = is_first
        self.queries: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = super().__call__(request)
        if request.url.path != "/api/v2/leoflow/dags":
            return answer
        self.queries.append(dict(request.url.params))
        canary = None if self.is_first else {"share": int(self.queries[-1].get("canary", 0))}
        return httpx.Response(200, json=answer.json() | {"canary": canary})


def test_a_canary_is_registered_with_its_terms(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    known = CanaryServer()
    server(known)
    options = ("--canary", "10%", "--rollback-above", "25", "--after", "7")
    result = deploy(leoflow, project(tmp_path / "shop"), *options)
    assert result.code == 0, result.err
    assert known.queries == [{"canary": "10", "rollback_above": "25", "after": "7"}]
    assert "canary of 10 % of the new runs" in result.out


def test_a_canary_that_could_be_none_is_said_to_be_none(leoflow, server, builders: Builders, tmp_path: Path) -> None:
    server(CanaryServer(is_first=True))
    result = deploy(leoflow, project(tmp_path / "shop"), "--canary", "10%")
    assert "no canary" in result.err
    assert "canary" not in result.out


@pytest.mark.parametrize(
    "options",
    [("--canary", "100%"), ("--canary", "x"), ("--canary", "1.5"), ("--after", "3"), ("--rollback-above", "3")],
)
def test_terms_that_are_none_are_wrong_usage(
    leoflow, server, builders: Builders, tmp_path: Path, options: tuple[str, ...]
) -> None:
    known = CanaryServer()
    server(known)
    assert deploy(leoflow, project(tmp_path / "shop"), *options).code == ExitCode.USAGE
    assert not known.queries
    assert builders.calls() == []
