"""Entry of the author's interpreter: `python -I -B start.py serve|once ...`, started by `leoflow_agent.fork_servers`.

Descriptors: 0 is /dev/null; `serve` has its socket to the agent on 3; `once` has the try's output on 1 and 2 and its
control socket on 3. `-I` keeps our folder off `sys.path`; the package is loaded under a private name instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys


def main() -> None:
    arguments = _parser().parse_args()
    _load_package(os.path.dirname(os.path.abspath(__file__)))
    if arguments.runtime == "airflow":
        from leoflow_runner import real_airflow  # type: ignore[import-not-found]  # loaded above

        real_airflow.prepare_environment(arguments.shim)
    else:
        # First on the path: the shim is `airflow` here, even where the real one is installed.
        sys.path.insert(0, arguments.shim)
    if arguments.mode == "serve":
        from leoflow_runner import fork_server

        preload = json.loads(arguments.preload)
        fork_server.serve(parent=arguments.parent, runtime=arguments.runtime, preload=preload)
    else:
        from leoflow_runner import main as runner

        runner.run_once(parent=arguments.parent)


def _load_package(folder: str) -> None:
    path = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("leoflow_runner", path, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["leoflow_runner"] = package
    spec.loader.exec_module(package)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("serve", "once"))
    parser.add_argument("--runtime", choices=("shim", "airflow"), default="shim")
    parser.add_argument("--shim", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--preload", default="[]")
    return parser


if __name__ == "__main__":  # `multiprocessing` with spawn imports this file again, in children of the task
    main()
