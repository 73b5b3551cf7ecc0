"""Entry point of `leoflow`: finds the command, runs it, turns every failure into a message and an exit code.

Commands are imported when they are called, so that `leoflow version` or a shell completion costs what click costs.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from leoflowd.cli.failures import EXIT_CODE_HELP, CommandFailed, ExitCode, did_you_mean
from leoflowd.cli.options import SERVER_VARIABLE, output_option, server_before_option
from leoflowd.cli.output import Output, echo, json_line
from leoflowd.contract.overriding import override

COMMANDS = {
    "lite": ("leoflowd.cli.lite", "lite", "Run Leoflow on this machine: database, scheduler, UI."),
    "setup": ("leoflowd.cli.lite", "setup", "Fetch once what `lite` needs, with progress."),
    "init": ("leoflowd.cli.init", "init", "Make a new project; never overwrites."),
    "validate": ("leoflowd.cli.compile", "validate", "Compile projects and report, writing nothing."),
    "compile": ("leoflowd.cli.compile", "compile_project", "Compile a project to its artifact."),
    "upgrade": ("leoflowd.cli.upgrade", "upgrade", "Rewrite DAG files to the spelling of Airflow 3."),
    "push": ("leoflowd.cli.push", "push", "Register an artifact at the server."),
    "deploy": ("leoflowd.cli.deploy", "deploy", "Build an image of a project, push it, register its DAGs."),
    "dags": ("leoflowd.cli.dags", "dags", "List, show, delete, pause and unpause DAGs."),
    "runs": ("leoflowd.cli.runs", "runs", "Trigger, list, follow, compare and clear dag runs."),
    "backfill": ("leoflowd.cli.backfill", "backfill", "Make runs of the past; list, pause and cancel backfills."),
    "assets": ("leoflowd.cli.assets", "assets", "List assets, events and watchers; make events and runs."),
    "connections": ("leoflowd.cli.connections", "connections", "Add, list, test and delete connections."),
    "variables": ("leoflowd.cli.variables", "variables", "List, set, delete, import and export variables."),
    "pools": ("leoflowd.cli.pools", "pools", "List, set and delete pools: slots that tasks share."),
    "versions": ("leoflowd.cli.versions", "versions", "List the versions of a DAG, and what became of canaries."),
    "promote": ("leoflowd.cli.versions", "promote", "Make the canary of a DAG its current version."),
    "diff": ("leoflowd.cli.versions", "diff", "Show what differs between two versions of a DAG."),
    "rollback": ("leoflowd.cli.versions", "rollback", "Make an older version of a DAG current."),
    "test": ("leoflowd.cli.test", "test", "Run a DAG to the end here, without a server."),
    "tree": ("leoflowd.cli.tree", "tree", "Show the server's components and their state."),
    "top": ("leoflowd.cli.top", "top", "Watch runs, waits, pools and how late they begin."),
    "waits": ("leoflowd.cli.waits", "waits", "List, explain, probe, fire and fail what tasks wait for."),
    "callbacks": ("leoflowd.cli.callbacks", "callbacks", "List callbacks, mails and alerts; their logs; once more."),
    "actions": ("leoflowd.cli.actions", "actions", "List and answer what tasks ask people."),
    "audit": ("leoflowd.cli.audit", "audit", "List what was done, by whom, from where; verify the log of it."),
    "db": ("leoflowd.cli.db", "db", "Remove history that is too old, or too much."),
    "explain": ("leoflowd.cli.explain", "explain", "Say why a task is in its state, or why a DAG does not run."),
    "schedule": ("leoflowd.cli.schedule", "schedule", "Show when a DAG would run."),
    "mcp": ("leoflowd.cli.mcp", "mcp", "Serve editors and chat programs over MCP; reads only, unless allowed."),
    "auth": ("leoflowd.cli.auth", "auth", "Log in and out; change your password; access tokens."),
    "users": ("leoflowd.cli.users", "users", "List, create, change, disable and delete users."),
    "roles": ("leoflowd.cli.roles", "roles", "List, create, change and delete roles."),
    "teams": ("leoflowd.cli.teams", "teams", "List, create, change and delete teams."),
    "doctor": ("leoflowd.cli.doctor", "doctor", "Check this machine."),
    "version": ("leoflowd.cli.version", "version", "Print the version."),
    "completion": ("leoflowd.cli.completion", "completion", "Print the shell completion script."),
}
"""name -> module, attribute, one line for `--help`; the order is the order shown."""


AIRFLOWS = {
    "dags trigger": "runs trigger",
    "dags test": "test",
    "dags backfill": "backfill create",
    "dags list-runs": "runs list",
    "dags list-import-errors": "validate",
    "dags next-execution": "schedule",
    "dags state": "runs status",
    "dags details": "dags show",
    "tasks": "runs",
    "standalone": "lite",
    "webserver": "lite",
    "api-server": "lite",
    "scheduler": "lite",
    "triggerer": "lite",
    "dag-processor": "lite",
    "info": "doctor",
    "providers": "doctor",
    "rotate-fernet-key": "lite rotate-key",
}
"""What people type who know the command line of Airflow -> what does that here."""

LOCAL = frozenset({"lite", "setup", "init", "upgrade", "test", "doctor", "version", "completion"})
"""Commands that ask no server."""


class LazyGroup(click.Group):
    """The root: knows the names of its commands without importing them."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        if isinstance(command, click.Group) and cmd_name not in LOCAL:
            _take_before(command)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _take_before(group: click.Group) -> None:
    """`leoflow dags -o json --server URL list` means the same as with both behind `list`."""
    if not any("--server" in parameter.opts for parameter in group.params):
        server_before_option(output_option(group))


@click.group(cls=LazyGroup, epilog=EXIT_CODE_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@output_option
@server_before_option
@click.version_option(package_name="leoflow", message="%(prog)s %(version)s")
@click.pass_context
def root(context: click.Context) -> None:
    """Standard Airflow DAGs on a control plane that never imports Airflow."""
    name = context.invoked_subcommand
    if name in LOCAL and SERVER_VARIABLE in context.meta:
        raise CommandFailed(
            ExitCode.USAGE, f"`leoflow {name}` works on this machine and asks no server: leave out --server"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    out = Output()
    try:
        if _completes():
            return int(_complete())
        code = root.main(arguments, prog_name="leoflow", standalone_mode=False, obj=out)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _report(out, arguments, _usage(error))
    except CommandFailed as error:
        return _report(out, arguments, error)
    except BrokenPipeError:
        _silence(sys.stdout)
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001  # the last line of defence: a bug gets its code and its traceback
        import traceback

        failure = CommandFailed(ExitCode.UNEXPECTED, f"a fault of leoflow itself: {error!r}")
        return _report(out, arguments, failure, traceback.format_exc())
    return int(code) if isinstance(code, int) else ExitCode.OK


def _report(out: Output, arguments: Sequence[str], failure: CommandFailed, trace: str = "") -> int:
    """The exit code tells, also where nobody reads the message any more (`2>&1 | head`)."""
    try:
        if trace:
            echo(trace, err=True)
        _say(out, arguments, failure)
    except BrokenPipeError:
        _silence(sys.stderr)
    return failure.code


def _say(out: Output, arguments: Sequence[str], failure: CommandFailed) -> None:
    if out.as_json or _asks_for_json(arguments):
        echo(json_line(failure.document()), err=True)
    elif failure.code is ExitCode.INVALID and "compile_errors" in failure.facts:
        echo(str(failure), err=True)  # `path:line: ...`, which editors read: nothing before the path
    else:
        echo(f"error: {failure}", err=True)


def _usage(error: click.ClickException) -> CommandFailed:
    message = _near_miss(error) or error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message += f" See `{error.ctx.command_path} --help`."
    return CommandFailed(ExitCode.USAGE, message)


def _near_miss(error: click.ClickException) -> str:
    """For a command that does not exist: one that is spelt nearly so, said alike for groups that click knows whole and
    those that are loaded late. click does this for options."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or not isinstance(context.command, click.Group):
        return ""
    asked = re.match(r"No such command '([^']*)'\.", error.format_message())
    if asked is None:
        return ""
    path = f"{context.command_path} {asked[1]}".partition(" ")[2]
    if path in AIRFLOWS:
        return f"{asked[0]} What Airflow does by `{path}` is `leoflow {AIRFLOWS[path]}` here."
    return asked[0] + did_you_mean(asked[1], context.command.list_commands(context))


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """A usage error comes before the flags are known, so that we look at the words."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        word in {"-ojson", "--output=json"} or (word in {"-o", "--output"} and after == "json") for word, after in pairs
    )


def _completes() -> bool:
    return "_LEOFLOW_COMPLETE" in os.environ


def _complete() -> int:
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, "leoflow", "_LEOFLOW_COMPLETE", os.environ["_LEOFLOW_COMPLETE"])


def _silence(stream: TextIO) -> None:
    """The reader of the pipe is gone (`| head`); without this Python complains again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
