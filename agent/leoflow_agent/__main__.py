"""`python -m leoflow_agent host ...` (Lite), `python -m leoflow_agent pod` (Kubernetes, from the environment)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from leoflow_agent import pod, trigger_pod
from leoflow_agent.host import HostConfig, run_host
from leoflow_agent.reports import set_up_logging
from leoflow_agent.running_try import FROZEN_AFTER_S, LOG_CAP_BYTES
from leoflow_agent.users import CannotRunAs, find_user


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    set_up_logging()
    if arguments.mode == "pod":
        return _run_pod()
    try:
        config = _host_config(arguments)
    except CannotRunAs as error:
        sys.stderr.write(f"leoflow_agent host: --run-as: {error}\n")
        return pod.EXIT_BAD_ENVIRONMENT
    return asyncio.run(run_host(config))


def _host_config(arguments: argparse.Namespace) -> HostConfig:
    return HostConfig(
        socket=arguments.socket,
        spool=arguments.spool,
        work=arguments.work or arguments.spool.with_name("work"),
        shim=arguments.shim,
        host_token=arguments.host_token_file.read_text().strip(),
        default_python=arguments.default_python,
        lock=arguments.lock,
        log_cap_bytes=arguments.log_cap_bytes,
        idle_exit_s=arguments.idle_exit_s,
        fork_server_idle_s=arguments.fork_server_idle_s,
        frozen_after_s=arguments.frozen_after_s,
        run_as=find_user(arguments.run_as) if arguments.run_as else None,
    )


def _run_pod() -> int:
    """The pod of a try, or of a trigger host: any image of a DAG is both."""
    try:
        if trigger_pod.HOST_ID in os.environ:
            return asyncio.run(trigger_pod.run_trigger_pod(trigger_pod.read_environment(os.environ)))
        config = pod.read_environment(os.environ)
    except (pod.BadEnvironment, OSError) as error:
        sys.stderr.write(f"leoflow_agent pod: {error}\n")
        pod.leave_refusal(os.environ, str(error))
        return pod.EXIT_BAD_ENVIRONMENT
    return asyncio.run(pod.run_pod(config))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leoflow_agent", description="Runs tries of tasks and reports them.")
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("pod", help="one try or trigger host, named by the environment (LEOFLOW_TRY_ID, ...)")
    host = modes.add_parser("host", help="all tries of this host")
    host.add_argument("--socket", type=Path, required=True, help="Unix socket that the daemon listens on")
    host.add_argument("--spool", type=Path, required=True, help="folder for logs and outcomes until they are stored")
    host.add_argument(
        "--work", type=Path, help="folder for the working directories of tries; default: beside the spool"
    )
    host.add_argument("--shim", type=Path, required=True, help="folder that stands in for airflow on the import path")
    host.add_argument("--host-token-file", type=Path, required=True)
    host.add_argument("--default-python", required=True, help="interpreter of DAGs without an environment of their own")
    host.add_argument("--lock", type=Path, help="held while the agent runs; exit code 75 if another one holds it")
    host.add_argument("--log-cap-bytes", type=int, default=LOG_CAP_BYTES, help="per try; default %(default)s")
    host.add_argument(
        "--idle-exit-s", type=float, default=120.0, help="end without tries and daemon; default %(default)s"
    )
    host.add_argument("--fork-server-idle-s", type=float, default=60.0, help="default %(default)s")
    host.add_argument(
        "--frozen-after-s", type=float, default=FROZEN_AFTER_S, help="fail a stopped task; default %(default)s"
    )
    host.add_argument("--run-as", metavar="USER", help="user that tasks run as (only for root); default: the agent's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
