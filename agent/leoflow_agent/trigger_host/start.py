"""Entry of a trigger host: `python -I -B start.py --parent PID ...`, started by `leoflowd.cheap_tasks.trigger_hosts`.

Descriptors: 0 is /dev/null, 1 and 2 are the host's log file; the channel to the daemon and the marker are inherited
under the numbers that the arguments name. `-I` keeps our folder off `sys.path`; the agent's package is loaded under a
private name instead, so that an author's own `leoflow_agent` is not shadowed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys


def main() -> None:
    arguments = _parser().parse_args()
    _load_package(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from leoflow_parts.trigger_host import main as host  # type: ignore[import-not-found]  # loaded above

    host.run(arguments)


def _load_package(folder: str) -> None:
    path = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("leoflow_parts", path, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["leoflow_parts"] = package
    spec.loader.exec_module(package)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", choices=("shim", "airflow"), required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--marker", type=int, required=True)
    parser.add_argument("--shim", required=True)
    parser.add_argument("--bundle", default="")
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-bytes", type=int, required=True)
    return parser


if __name__ == "__main__":  # `multiprocessing` with spawn imports this file again, in children of a trigger
    main()
