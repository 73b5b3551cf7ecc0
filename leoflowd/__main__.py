"""`leoflowd run` and `leoflowd migrate`: the daemon without the comforts of Lite, configured by the environment."""

from __future__ import annotations

import sys

import trio

from leoflowd import daemon
from leoflowd.config import from_environment
from leoflowd.contract.errors import LeoflowError

USAGE = "usage: leoflowd run | migrate      settings: LEOFLOW_DATABASE, LEOFLOW_API_PORT, ... (docs/configuration.md)"


def main() -> None:
    """Exit code 0 after a drain, 1 when something broke, 64 for a wrong command line."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in ("run", "migrate"):
        sys.stderr.write(USAGE + "\n")
        sys.exit(64)
    try:
        config = from_environment()
        trio.run(daemon.run if command == "run" else daemon.migrate_only, config)
    except* LeoflowError as group:
        for error in group.exceptions:
            sys.stderr.write(f"leoflowd: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
