"""`leoflow lite`, its upkeep commands, and `leoflow setup`: the only part of the CLI that loads the daemon."""

from __future__ import annotations

import errno
import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode, did_you_mean
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo
from leoflowd.contract.overriding import override
from leoflowd.contract.ui_builds import BUILDS, UI_VERSION
from leoflowd.contract.variable import BASE_URL

if TYPE_CHECKING:
    from leoflowd.config import LiteClusterConfig, LiteConfig

DEFAULT_WORKSPACE = Path("~/leoflow")
DEFAULT_DATA_DIR = Path("~/.leoflow")
DEFAULT_PORT = 8088
AGENT_PORT = 8089
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Database, environments, logs, UI files.",
)
postgres_option = click.option(
    "--postgres", metavar="URL", envvar="LEOFLOW_POSTGRES", help="A Postgres of your own instead of the embedded one."
)
ui_version_option = click.option(
    "--ui-version",
    type=click.Choice(list(BUILDS)),
    envvar="LEOFLOW_UI_VERSION",
    default=UI_VERSION,
    show_default=True,
    help="Build of Airflow's UI.",
)


class LiteGroup(click.Group):
    """`leoflow lite [WORKSPACE]` runs; a first word that names a command is that command."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            if args and not Path(args[0]).exists() and (near := did_you_mean(args[0], self.commands)):
                raise CommandFailed(
                    ExitCode.USAGE, f"there is no folder {args[0]!r}{near}; a new workspace is made by ./{args[0]}"
                )
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=LiteGroup)
def lite() -> None:
    """Run Leoflow on this machine."""


@lite.command(
    epilog="""\b
Also:
  leoflow lite reset-password   a new password for the admin
  leoflow lite forget DAG       delete a DAG whose project is gone
  leoflow lite rotate-key       encrypt connections and variables with a new key
"""
)
@click.argument("folder", metavar="[WORKSPACE]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--workspace", type=click.Path(file_okay=False, path_type=Path), help="The same as WORKSPACE.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@data_dir_option
@postgres_option
@ui_version_option
@click.option(
    "--run-as",
    metavar="USER",
    envvar="LEOFLOW_LITE_RUN_AS",
    help="User that tasks run as, instead of yours; only root may choose one. See docs/security.md.",
)
@click.option(
    "--executor",
    type=click.Choice(["process", "kubernetes"]),
    default="process",
    show_default=True,
    help="Tasks run as processes of this machine, or in pods of a cluster.",
)
@click.option("--kubeconfig", type=click.Path(dir_okay=False, path_type=Path), help="Of the cluster; else kubectl's.")
@click.option("--context", default="", help="Of the kubeconfig; else its current one.")
@click.option("--namespace", default="default", show_default=True, help="Where pods are created.")
@click.option("--image", default="", help="For projects whose leoflow.yaml names none.")
@click.option(
    "--agent-address",
    metavar="HOST[:PORT]",
    default="",
    help=f"This machine as pods see it; else found by the way to the cluster. Port {AGENT_PORT} if none is given.",
)
@click.pass_obj
def run(
    out: Output,
    /,
    folder: Path | None,
    workspace: Path | None,
    port: int,
    host: str,
    data_dir: Path,
    postgres: str | None,
    ui_version: str,
    run_as: str | None,
    executor: str,
    **pods: Any,
) -> None:
    """Run database, scheduler, agent and UI until Ctrl-C, and watch the projects in WORKSPACE (~/leoflow).

    Prints `ready: URL` when the UI answers. LEOFLOW_ADMIN_PASSWORD sets the admin's password, or
    LEOFLOW_ADMIN_PASSWORD_FILE a file with it; otherwise one is made at the first start and printed once.
    """
    if folder is not None and workspace is not None:
        raise CommandFailed(ExitCode.USAGE, "give the workspace once: as an argument or with --workspace")
    if host not in LOOPBACK:
        out.note(f"warning: {host} can be reached from outside and traffic is plain HTTP; put TLS in front of it")
    _require_daemon()
    from leoflowd.lite.given_password import take_password

    password = _or_not_ready(take_password)
    from leoflowd.config import LiteConfig
    from leoflowd.lite.setup import prepare
    from leoflowd.lite.starter import fill_workspace

    chosen = folder or workspace
    config = LiteConfig(
        workspace=_absolute(chosen or DEFAULT_WORKSPACE),
        data_dir=_absolute(data_dir),
        host=host,
        port=port,
        postgres=postgres,
        admin_password=password,
        run_as=run_as or None,
        ui_version=ui_version,
        cluster=_cluster(executor, run_as, **pods),
    )
    _refuse_data_in_workspace(config.data_dir, config.workspace)
    _refuse_taken_port(host, port)
    if config.cluster is not None:
        _refuse_taken_port("0.0.0.0", config.cluster.agent_port, "--agent-address HOST:PORT")  # noqa: S104
    _or_not_ready(lambda: prepare(config.data_dir, out.note, ui_version=ui_version))
    copied = fill_workspace(config.workspace, with_examples=chosen is None)
    if copied:
        out.note(f"new workspace {config.workspace} with {', '.join(copied)}")
    _note_what_lies_beside(out, config.workspace)
    _run_daemon(config)


def _refuse_data_in_workspace(data_dir: Path, workspace: Path) -> None:
    """It holds copies of each version of each project, and changes all the time."""
    data, top = data_dir.resolve(), workspace.resolve()
    if data.is_relative_to(top) and not any(part.startswith(".") for part in data.relative_to(top).parts):
        raise CommandFailed(
            ExitCode.USAGE,
            f"the data folder {data} lies in the workspace {top}: what is written there would be taken for projects; "
            "with --data-dir name one outside of it, or one that begins with a dot",
        )


def _note_what_lies_beside(out: Output, workspace: Path) -> None:
    from leoflowd.authoring.discovery import airflow_folder_around

    around = airflow_folder_around(workspace)
    if around is not None:
        out.note(
            f"{workspace} belongs to the Airflow folder {around}: its plugins, modules and requirements are outside of "
            f"this workspace; `leoflow lite {shlex.quote(str(around))}` takes them along"
        )


def _cluster(
    executor: str,
    run_as: str | None,
    *,
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    image: str,
    agent_address: str,
) -> LiteClusterConfig | None:
    from leoflowd.config import LiteClusterConfig

    if executor == "process":
        if kubeconfig or context or image or agent_address or namespace != "default":
            raise CommandFailed(ExitCode.USAGE, "that is about a cluster: add --executor kubernetes")
        return None
    if run_as:
        raise CommandFailed(ExitCode.USAGE, "--run-as is for processes of this machine; pods have users of their own")
    _require_packages("kubernetes", what="Kubernetes", extra="lite,cluster")
    host, _, port = agent_address.rpartition(":") if agent_address.count(":") == 1 else (agent_address, "", "")
    if port and not port.isdecimal():
        raise CommandFailed(ExitCode.USAGE, f"--agent-address {agent_address}: give HOST or HOST:PORT")
    return LiteClusterConfig(
        kubeconfig=None if kubeconfig is None else _absolute(kubeconfig),
        context=context,
        namespace=namespace,
        image=image,
        agent_host=host,
        agent_port=int(port or AGENT_PORT),
    )


def _run_daemon(config: LiteConfig) -> None:
    import trio

    from leoflowd import daemon

    os.environ.setdefault(BASE_URL, _base_url(config.host, config.port))  # the agent starts with ours, and its tasks
    _or_failed(lambda: trio.run(daemon.run, config))


def _base_url(host: str, port: int) -> str:
    """What a browser on this machine reaches us by."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@lite.command("reset-password")
@data_dir_option
@postgres_option
@output_option
@click.pass_obj
def reset_password(out: Output, data_dir: Path, postgres: str | None) -> None:
    """Give the admin a new password and end its sessions; LEOFLOW_ADMIN_PASSWORD chooses it."""
    _require_daemon()
    import trio

    from leoflowd.lite.given_password import given_password
    from leoflowd.lite.maintenance import reset_password
    from leoflowd.lite.passwords import ADMIN
    from leoflowd.telemetry import utc_now

    given = _or_not_ready(given_password)
    password = _or_failed(lambda: trio.run(reset_password, _absolute(data_dir), postgres, given, utc_now()))
    shown = None if given else password
    text = f"the password of {ADMIN} is now the one in LEOFLOW_ADMIN_PASSWORD" if given else f"{ADMIN}: {password}"
    out.show({"username": ADMIN, "password": shown}, lambda: echo(text))


@lite.command()
@click.argument("dag_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@data_dir_option
@postgres_option
@output_option
@click.pass_obj
def forget(out: Output, dag_id: str, yes: bool, data_dir: Path, postgres: str | None) -> None:
    """Delete a DAG whose project is gone, with all its runs."""
    from leoflowd.cli.options import confirm

    confirm(out, f"Delete DAG {dag_id!r} with all its runs?", yes=yes)
    _require_daemon()
    import trio

    from leoflowd.lite.maintenance import forget_dag

    _or_failed(lambda: trio.run(forget_dag, _absolute(data_dir), postgres, dag_id))
    out.show({"dag_id": dag_id, "deleted": True}, lambda: echo(f"forgot {dag_id}"))


@lite.command("rotate-key")
@data_dir_option
@postgres_option
@output_option
@click.pass_obj
def rotate_key(out: Output, data_dir: Path, postgres: str | None) -> None:
    """Encrypt stored secrets with a new key; a running server goes on. Old keys stay in the key file."""
    _require_daemon()
    import trio

    from leoflowd.lite.maintenance import rotate_key
    from leoflowd.telemetry import utc_now

    key_id, connections, variables = _or_failed(lambda: trio.run(rotate_key, _absolute(data_dir), postgres, utc_now()))
    document = {"key_id": key_id, "connections": connections, "variables": variables}
    sentence = f"{connections} connections and {variables} variables are encrypted with the new key {key_id}"
    out.show(document, lambda: echo(sentence))


@click.command()
@data_dir_option
@ui_version_option
@output_option
@click.pass_obj
def setup(out: Output, data_dir: Path, ui_version: str) -> None:
    """Fetch the UI's files and build the default task environment, so that `leoflow lite` needs no network."""
    _require_daemon()
    from leoflowd.lite.setup import prepare

    prepared = _or_not_ready(lambda: prepare(_absolute(data_dir), out.note, ui_version=ui_version))
    document = {"data_dir": str(_absolute(data_dir)), "ui": str(prepared.ui_dir), "python": str(prepared.python)}
    out.show(document, lambda: echo(f"ready: UI in {prepared.ui_dir}, tasks run with {prepared.python}"))


# --- small parts -------------------------------------------------------------------------------------------------


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _require_daemon() -> None:
    _require_packages("trio", "psycopg", "watchfiles", "quart_trio", what="Lite", extra="lite")


def _require_packages(*names: str, what: str, extra: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise CommandFailed(
            ExitCode.NOT_READY,
            f"this is the small install without {what} (missing: {', '.join(missing)}); pip install 'leoflow[{extra}]'",
        )


def _refuse_taken_port(host: str, port: int, other: str = "--port") -> None:
    """Say so before Postgres is started; whoever takes the port after this look makes the daemon fail instead."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = f"Lite may run already; choose another with {other}"
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                hint = "name an address of this machine with --host"
            elif error.errno == errno.EACCES:
                hint = f"choose a port above 1023 with {other}"
            raise CommandFailed(
                ExitCode.NOT_READY, f"cannot listen on {host}:{port}: {error.strerror}; {hint}"
            ) from error


def _or_not_ready(step: Callable[[], Any]) -> Any:
    """A set-up step that fails is this machine's matter: exit code 9 with the step's own advice."""
    from leoflowd.contract.errors import LeoflowError

    try:
        return step()
    except (LeoflowError, OSError) as error:
        raise CommandFailed(ExitCode.NOT_READY, str(error)) from error


def _or_failed(step: Callable[[], Any]) -> Any:
    """Errors of an upkeep command with the exit codes that the server's answers would have."""
    from leoflowd.contract.errors import Conflict, Invalid, LeoflowError, NotFound, StoreUnavailable

    codes = {
        NotFound: ExitCode.NOT_FOUND,
        Conflict: ExitCode.CONFLICT,
        Invalid: ExitCode.INVALID,
        StoreUnavailable: ExitCode.UNREACHABLE,
    }
    failure: LeoflowError | None = None
    result: Any = None
    try:
        result = step()
    except* LeoflowError as group:
        found: BaseException = group
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        assert isinstance(found, LeoflowError)
        failure = found
    if failure is not None:
        raise CommandFailed(codes.get(type(failure), ExitCode.NOT_READY), str(failure)) from failure
    return result
