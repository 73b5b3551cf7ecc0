"""`leoflow deploy`: compile, build an image, push it, pin its digest, register the version; the same here and in CI.

A fact's walk: `leoflow.yaml` and the DAG file -> `Compilation` -> a folder with Dockerfile, packages and code
(`authoring.image`) -> builder -> the registry's digest -> `DagSpec.image` -> the server's version -> the pod of a try.
What a tag means later changes nothing: pods are made of the digest.

No secret is shipped: the image holds code and packages, the artifact names connections, and the server has them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.image_builder import BUILDERS, Builder, find_builder
from leoflowd.cli.local_compile import (
    Compiler,
    data_dir_option,
    failure_of,
    faults_of,
    opened,
    python_option,
    requirements_in_image,
    told_of,
    warning_lines,
)
from leoflowd.cli.options import confirm, output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.push import CHECK, ROUTE, note_missing, warnings_of
from leoflowd.cli.runs import trigger_run
from leoflowd.cli.signing import check_key, register, sign_key_option
from leoflowd.cli.variable_sources import loadable_of_file, variables_option
from leoflowd.contract.named_connections import connections_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from leoflowd.authoring.compiler import Compilation
    from leoflowd.authoring.project import Project, ProjectConfig
    from leoflowd.cli.client import Client
    from leoflowd.contract.dag_spec import DagSpec

BASE_VARIABLE, REGISTRY_VARIABLE, BUILDER_VARIABLE = "LEOFLOW_BASE_IMAGE", "LEOFLOW_REGISTRY", "LEOFLOW_BUILDER"
PLATFORM = "linux/amd64"
SECRET_FILES = (".env", ".env.*", ".netrc", ".pgpass", ".pypirc", "*.pem", "*.key", "*.p12", "id_rsa", "id_ed25519")
"""Names of files that hold secrets more often than not."""
DOCKERIGNORE = ".dockerignore"
_NAME = re.compile(r"[^a-z0-9]+")


def _percent(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,2} ?%?", value.strip()) is None:
        raise click.BadParameter(f"{value!r} is no share: write 10%, in whole percent, at most 99%")
    return int(value.strip().rstrip("% "))


class Plan(msgspec.Struct, frozen=True):
    """One project, compiled, and what its image will be called."""

    project: Any
    config: Any
    done: Any
    tag: str
    base: str
    platform: str


@click.command()
@click.argument("target", metavar="[PATH|DAG_ID]", default=".")
@click.option("--all", "everything", is_flag=True, help="Every project there; one that fails does not stop the others.")
@click.option("--registry", envvar=REGISTRY_VARIABLE, help=f"Where images go; over leoflow.yaml [{REGISTRY_VARIABLE}].")
@click.option("--base", envvar=BASE_VARIABLE, help=f"Image to build on; over `base_image` [{BASE_VARIABLE}].")
@click.option(
    "--builder",
    envvar=BUILDER_VARIABLE,
    type=click.Choice(BUILDERS),
    help=f"Default: the first that is installed [{BUILDER_VARIABLE}].",
)
@click.option(
    "--builder-option",
    "options",
    multiple=True,
    metavar="OPTION",
    help="Handed to `build`, e.g. --builder-option=--isolation=chroot.",
)
@click.option("--platform", help=f"Of the nodes; over leoflow.yaml; default {PLATFORM}, also on other machines.")
@click.option("--dag-version", default="", help="A label for people, e.g. `$(git describe --always --dirty)`.")
@click.option("--trigger", "triggers", is_flag=True, help="Start a run of each DAG.")
@click.option("--wait", is_flag=True, help="With --trigger: wait for their ends; exit 1 when one fails.")
@click.option(
    "--canary",
    callback=_percent,
    metavar="10%",
    help="A share of the new runs, until `leoflow promote`.",
)
@click.option(
    "--rollback-above",
    callback=_percent,
    metavar="20%",
    help="Of a canary: back when more of its runs failed [20%].",
)
@click.option("--after", type=click.IntRange(1, 10_000), help="Of a canary: judged from so many ended runs on [10].")
@click.option("--dry-run", is_flag=True, help="Compile, and show Dockerfile and commands; nothing is built or sent.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@python_option
@data_dir_option
@variables_option
@sign_key_option
@click.option("--server", metavar="URL", help="Overrides LEOFLOW_SERVER and the saved login.")
@click.option("--token", metavar="TOKEN", help="Overrides LEOFLOW_TOKEN and the saved login.")
@output_option
@click.pass_obj
def deploy(
    out: Output,
    target: str,
    everything: bool,
    registry: str | None,
    base: str | None,
    builder: str | None,
    options: tuple[str, ...],
    platform: str | None,
    dag_version: str,
    triggers: bool,
    wait: bool,
    canary: int | None,
    rollback_above: int | None,
    after: int | None,
    dry_run: bool,
    yes: bool,
    python: Path | None,
    data_dir: Path,
    variables: Path | None,
    sign_key: Ed25519PrivateKey | None,
    server: str | None,
    token: str | None,
) -> None:
    """Build, push and register the DAGs of a project; of a folder of projects with --all."""
    from leoflowd.cli.client import open_client

    if wait and not triggers:
        raise CommandFailed(ExitCode.USAGE, "--wait waits for the runs of --trigger; add --trigger or leave it out")
    route = _route(canary, rollback_above, after)
    chosen = Builder(builder or BUILDERS[0], options) if dry_run else find_builder(builder, options)
    compiler = Compiler(out, python, data_dir, loadable_of_file(variables), for_pods=True)
    found = _projects(target, everything)
    with nullcontext() if dry_run else open_client(server, token) as client:
        if client is not None:
            confirm(out, f"Deploy {_names(found)} to {client.login.server}?", yes=yes)
        deployment = _Deployment(
            out, client, chosen, compiler, registry, base, platform, dag_version, Path(target), route, sign_key
        )
        done, failed = deployment.run(found)
        runs = [] if client is None or not triggers else list(_trigger(client, out, done, wait=wait))
    out.show({"deployed": done, "failed": failed, "runs": runs}, lambda: _print(out, done, runs, dry_run=dry_run))
    if failed:
        count = f"{len(failed)} of {len(found)} projects" if len(found) > 1 else "the project"
        raise CommandFailed(
            ExitCode(failed[0]["code"]),
            f"{count} failed: " + "; ".join(f"{each['project']}: {each['error']}" for each in failed),
            failed=failed,
        )
    if any(run.get("state") == "failed" for run in runs):
        raise click.exceptions.Exit(ExitCode.RUN_FAILED)


def _route(canary: int | None, rollback_above: int | None, after: int | None) -> str:
    """Where versions are registered, with the terms of a canary."""
    if canary is None and (rollback_above is not None or after is not None):
        raise CommandFailed(ExitCode.USAGE, "--rollback-above and --after are a canary's; add --canary 10%")
    terms = {"canary": canary, "rollback_above": rollback_above, "after": after}
    query = "&".join(f"{name}={value}" for name, value in terms.items() if value is not None)
    return f"{ROUTE}?{query}" if query else ROUTE


class _Deployment:
    """Project after project; what fails, fails alone."""

    def __init__(
        self,
        out: Output,
        client: Client | None,
        builder: Builder,
        compiler: Compiler,
        registry: str | None,
        base: str | None,
        platform: str | None,
        dag_version: str,
        named: Path,
        route: str,
        sign_key: Ed25519PrivateKey | None,
    ) -> None:
        self._out = out
        self._client = client
        self._builder = builder
        self._compiler = compiler
        self._registry = registry
        self._base = base
        self._platform = platform
        self._dag_version = dag_version
        self._route = route
        self._sign_key = sign_key
        self._named = named if named.exists() else Path()

    def run(self, projects: Sequence[Project]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What was deployed, and what failed: {project, error, code}."""
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for project in projects:
            try:
                done += self._deploy(project)
            except CommandFailed as error:
                if len(projects) == 1:
                    raise
                self._out.note(f"{project.path}: {error}")
                failed.append({"project": project.path, "error": str(error), "code": int(error.code)})
        return done, failed

    def _deploy(self, project: Project) -> list[dict[str, Any]]:
        plan = self._plan(project)
        self._out.note(f"{project.path}: compiled {', '.join(spec.dag_id for spec in plan.done.specs)}")
        with tempfile.TemporaryDirectory(prefix="leoflow-deploy-") as folder:
            scratch = Path(folder)
            context, dockerfile = self._write_context(plan, scratch)
            command = self._builder.build_command(
                context,
                plan.tag,
                platform=plan.platform,
                dockerfile=dockerfile,
                labels=plan.config.build.get("labels", {}),
            )
            if self._client is None:
                text = (dockerfile or context / "Dockerfile").read_text()
                return [self._row(spec, image=plan.tag, dockerfile=text, command=command) for spec in plan.done.specs]
            for spec in plan.done.specs:
                _check(self._client, spec, self._sign_key)
            self._out.note(f"{project.path}: building an image ({plan.platform})")
            self._builder.build(command)
            self._out.note(f"{project.path}: pushing {plan.tag}")
            image = self._builder.push(plan.tag, scratch)
        return [self._register(spec, image) for spec in plan.done.specs]

    def _plan(self, project: Project) -> Plan:
        """Raises `CommandFailed` for what can be known before anything is built."""
        from leoflowd.authoring.errors import DagCompileError
        from leoflowd.authoring.project import config_of

        try:
            done, config = self._compiler.compiled(project), config_of(project)
            _refuse_unused(config)
        except DagCompileError as error:
            raise failure_of(faults_of(self._named, project, error)) from error
        if not done.specs:
            raise CommandFailed(ExitCode.INVALID, f"{project.path} defines no DAG")
        for line in (*told_of(project, done), *warning_lines(self._named, project, done)):
            self._out.note(line)
        platforms = config.build.get("platforms") or [PLATFORM]
        if self._platform is None and len(platforms) > 1:
            raise CommandFailed(
                ExitCode.INVALID,
                f"{project.path}: build.platforms names {len(platforms)} platforms; choose one with --platform",
            )
        return Plan(
            project=project,
            config=config,
            done=done,
            tag=self._tag(project, config, done),
            base=self._base_of(project, config),
            platform=self._platform or str(platforms[0]),
        )

    def _tag(self, project: Project, config: ProjectConfig, done: Compilation) -> str:
        registry = self._registry or config.registry.get("url")
        if not registry:
            raise CommandFailed(
                ExitCode.INVALID,
                f"{project.path}: no registry is named; add to {project.folder / 'leoflow.yaml'}:\n"
                "registry:\n  url: registry.example.com/team\n"
                f"or give --registry, or set {REGISTRY_VARIABLE}",
            )
        name = config.registry.get("image_name") or _NAME.sub("-", done.specs[0].dag_id.lower()).strip("-") or "dag"
        # after the content, so that equal content is one tag; what runs is pinned by digest anyway
        return f"{registry.removeprefix('https://').rstrip('/')}/{name}:{_content_of(done)}"

    def _base_of(self, project: Project, config: ProjectConfig) -> str:
        base = self._base or config.base_image
        if not base and not config.build.get("dockerfile"):
            raise CommandFailed(
                ExitCode.INVALID,
                f"{project.path}: no base image is named; build Leoflow's (`make image`), push it, and add to "
                f"{project.folder / 'leoflow.yaml'}:\nbase_image: registry.example.com/leoflow-base@sha256:...\n"
                f"or give --base, or set {BASE_VARIABLE}",
            )
        return base or ""

    def _write_context(self, plan: Plan, scratch: Path) -> tuple[Path, Path | None]:
        """The folder that is built, and the author's own Dockerfile if there is one."""
        own = plan.config.build.get("dockerfile")
        if own:
            file = plan.project.folder / own
            if not file.is_file():
                raise CommandFailed(
                    ExitCode.INVALID, f"{plan.project.path}: build.dockerfile names {file}, which is no file"
                )
            context = plan.project.folder / plan.config.build.get("context", ".")
            _refuse_secrets(plan.project, context, _not_ignored(context), f"name it in {context / DOCKERIGNORE}")
            return context, file
        from leoflowd.authoring.bundle import copy_bundle
        from leoflowd.authoring.compiler import excluded_of
        from leoflowd.authoring.errors import EnvironmentFailed
        from leoflowd.authoring.image import CODE, DagImage, write_image

        environment = plan.done.specs[0].environment
        context = scratch / "context"
        try:
            requirements, constraints = requirements_in_image(environment)
            image = DagImage(
                base=plan.base,
                requirements=requirements,
                constraints=constraints,
                system_packages=environment.system_packages,
                python_version=environment.python_version,
            )
            write_image(context, image)
        except EnvironmentFailed as error:
            raise CommandFailed(ExitCode.INVALID, f"{plan.project.path}: {error}") from error
        copied = copy_bundle(
            plan.project.folder,
            context / CODE,
            plan.config.include_paths,
            excluded_of(plan.project, plan.config),
            is_shared=plan.project.in_tree,
            modules=plan.done.modules,
        )
        if copied != plan.done.specs[0].bundle_digest:
            raise CommandFailed(ExitCode.CONFLICT, f"{plan.project.path}: its files changed meanwhile; deploy again")
        settings = plan.project.folder / "leoflow.yaml"
        remedy = f"list it under `exclude_paths:` in {settings}"
        _refuse_secrets(plan.project, context / CODE, _secrets_below(context / CODE), remedy)
        return context, None

    def _register(self, spec: DagSpec, image: str) -> dict[str, Any]:
        from leoflowd.contract import dag_spec

        assert self._client is not None, "a dry run registers nothing"
        pinned = msgspec.structs.replace(spec, image=image, dag_version=self._dag_version)
        answer = register(self._client, self._out, self._route, dag_spec.encode_canonical(pinned), self._sign_key)
        missing = note_missing(self._out, answer)
        for warning in warnings_of(answer):
            self._out.note(warning)
        facts = {"version": answer["version_number"], "new": answer["created"], "missing_connections": missing}
        facts["warnings"] = list(answer.get("warnings", ()))
        facts |= {"canary": answer.get("canary"), "signed_by": answer.get("signed_by")}
        if self._route != ROUTE and facts["canary"] is None:
            self._out.note(f"{spec.dag_id}: no canary: its first version, or the one that is current already")
        return self._row(spec, image=image, **facts)

    def _row(self, spec: DagSpec, **facts: Any) -> dict[str, Any]:
        return {"dag_id": spec.dag_id, **facts, "connections": connections_in(spec)}


def _check(client: Client, spec: DagSpec, sign_key: Ed25519PrivateKey | None) -> None:
    """Raises `CommandFailed` for what the server would refuse after minutes of building."""
    from leoflowd.contract import dag_spec

    answer = client.post_bytes(CHECK, dag_spec.encode_canonical(spec))
    if not answer.get("code_is_here", True):  # an older server does not say
        raise CommandFailed(
            ExitCode.CONFLICT,
            f"{client.login.server} runs the projects of its workspace and no images: put the folder of {spec.dag_id} "
            "into that workspace, or deploy to a cluster. Nothing was built",
        )
    check_key(answer.get("signatures"), sign_key, client.login.server)


def _refuse_unused(config: ProjectConfig) -> None:
    """What leoflow.yaml may say and an image that is built here would not have. Raises `DagCompileError`."""
    has_own = "dockerfile" in config.build
    unused: list[tuple[str, Any, bool, str, str]] = [
        (
            "image",
            config.image,
            config.image is not None,
            "deploy builds an image and pins that",
            "remove it, or `leoflow push` the version as it is",
        ),
        (
            "registry.auth_method",
            config.registry.get("auth_method"),
            config.registry.get("auth_method") in ("env", "iam"),
            "the builder's own login is used",
            "log in with your builder, and remove it or write docker_config",
        ),
        (
            "registry.tag_strategy",
            config.registry.get("tag_strategy"),
            "tag_strategy" in config.registry,
            "tags are made of the content, and what runs is pinned by its digest",
            "remove it; --dag-version is a label for people",
        ),
        (
            "build.context",
            config.build.get("context"),
            "context" in config.build and not has_own,
            "without build.dockerfile the image is made of the project",
            "remove it, or name your Dockerfile",
        ),
        (
            "base_image",
            config.base_image,
            config.base_image is not None and has_own,
            "a Dockerfile of your own says in FROM what it is built on",
            "remove one of the two",
        ),
    ]
    for at, value, is_unused, why, remedy in unused:
        if is_unused:
            raise config.error(at, f"{at} is {value!r}", why, remedy)


def _refuse_secrets(project: Project, folder: Path, found: Sequence[Path], remedy: str) -> None:
    """Whoever can pull the image can read it. Raises `CommandFailed`."""
    if found:
        shown = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        raise CommandFailed(
            ExitCode.INVALID,
            f"{project.path}: {shown} would be in the image; files of that name hold secrets. To leave it out "
            f"{remedy}, and keep the secret in a connection or variable",
        )


def _secrets_below(folder: Path) -> list[Path]:
    """In folders that may be an author's: a virtual environment has certificates."""
    found = []
    for top, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".") and not Path(top, one, "pyvenv.cfg").exists()]
        found += [Path(top, file) for file in files if any(fnmatch(file, pattern) for pattern in SECRET_FILES)]
    return sorted(found)


def _not_ignored(context: Path) -> list[Path]:
    """The secrets that a builder sees there."""
    try:
        lines = (context / DOCKERIGNORE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        lines = []
    patterns = [line.strip() for line in lines]
    if any(pattern.startswith("!") for pattern in patterns):
        patterns = []  # what is taken back depends on the order of all lines: the builder's to say
    return [path for path in _secrets_below(context) if not _is_ignored(path.relative_to(context), patterns)]


def _is_ignored(path: Path, patterns: Sequence[str]) -> bool:
    """By a pattern that fits it or a folder that it is in, part by part; `**/` in front is any folder."""
    for place in (path, *path.parents[:-1]):
        for pattern in patterns:
            parts = pattern.removeprefix("**/").strip("/").split("/")
            found = place.parts[-len(parts) :] if pattern.startswith("**/") else place.parts
            if len(found) == len(parts) and all(map(fnmatch, found, parts)):
                return True
    return False


def _content_of(done: Compilation) -> str:
    text = "\n".join((done.specs[0].bundle_digest, repr(done.specs[0].environment)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _projects(target: str, everything: bool) -> tuple[Project, ...]:
    """Of a path, or the one in this folder whose DAG has that id. Raises `CommandFailed`."""
    path = Path(target)
    if not path.exists() and os.sep not in target:
        return _with_dag(target)
    if not path.exists():
        raise CommandFailed(ExitCode.USAGE, f"{target} does not exist")
    found = opened(path)
    if len(found) > 1 and not everything:
        raise CommandFailed(
            ExitCode.USAGE,
            f"{target} holds {len(found)} projects ({_names(found)}); name one, or add --all for all of them",
        )
    return found


def _with_dag(dag_id: str) -> tuple[Project, ...]:
    """A project whose folder or file has that name, or whose text has that id: nothing is compiled to find it."""
    found = opened(Path())
    named = [each for each in found if Path(each.path).stem == dag_id or each.folder.name == dag_id]
    quoted = re.compile(rf"""["']{re.escape(dag_id)}["']""")
    named = named or [each for each in found if quoted.search(_text_of(each))]
    if len(named) != 1:
        how = "no project here has" if not named else f"{len(named)} projects here may have ({_names(named)})"
        raise CommandFailed(ExitCode.NOT_FOUND, f"{how} the DAG {dag_id!r}; give the project's path")
    return tuple(named)


def _text_of(project: Project) -> str:
    try:
        return (project.folder / project.source_path).read_text(errors="replace")
    except OSError:
        return ""


def _names(projects: Sequence[Project]) -> str:
    names = [project.path for project in projects]
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def _trigger(
    client: Client, out: Output, deployed: Sequence[dict[str, Any]], *, wait: bool
) -> Iterator[dict[str, Any]]:
    for each in deployed:
        yield trigger_run(client, out, each["dag_id"], wait=wait)


def _print(out: Output, done: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], *, dry_run: bool) -> None:
    for each in done:
        if dry_run:
            echo(f"# {each['dag_id']}\n{each['dockerfile']}\n{shlex.join(each['command'])}")
        else:
            new = "" if each["new"] else " (as it was)"
            share = f", canary of {each['canary']['share']} % of the new runs" if each["canary"] else ""
            signed = f", signed by {each['signed_by']}" if each["signed_by"] else ""
            echo(f"{each['dag_id']}: version {each['version']}{new}{share}, {each['image']}{signed}")
        if each["connections"]:
            echo(f"{each['dag_id']}: needs the connections {', '.join(each['connections'])}")
    for run in runs:
        echo(f"{run['dag_id']}: run {run['dag_run_id']} {run['state']}")
