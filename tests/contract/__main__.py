"""Does a real Lite keep what Airflow's OpenAPI documents promise? `make contract ARGS="--examples 10 --seed 7"`.

schemathesis makes requests from the documents in Airflow's wheel, valid ones and invalid ones, bounded and always the
same for a seed: first with ids as they come, then with ids that exist; reads, then writes, then what deletes. Exits
with 1 when a finding is not in `known.py`, or when one that is there does not come any more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from loadtests.lite_process import Api, Lite, temporary_folder
from tests.conftest import ARTIFACTS, REPOSITORY, pinned_wheel, unpacked_ui
from tests.contract.known import FINDINGS
from tests.contract.seed import WORKSPACE, seed

DOCUMENTS = {
    "public": "v2-rest-api-generated.yaml",
    "ui": "_private_ui.yaml",
    "login": "v2-simple-auth-manager-generated.yaml",
}
METHODS = {"reads": ("GET",), "writes": ("POST", "PUT", "PATCH"), "deletes": ("DELETE",)}
"""In this order, or the others would find nothing."""
LEFT_OUT = r"/auth/logout$"
"""Ends the login that all requests are made with."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "valid_data_accepted",
)
"""The last one is `hooks.py`'s."""
EXAMPLES, SEED = 3, 1
WITHIN_S = 3600


class Part(NamedTuple):
    """One run of schemathesis."""

    document: str
    methods: str
    ids: str
    """`any` or `known`."""

    @property
    def name(self) -> str:
        return f"{self.document}-{self.methods}-{self.ids}"


def parts(only: str) -> list[Part]:
    every = [Part(document, methods, ids) for methods in METHODS for document in DOCUMENTS for ids in ("any", "known")]
    return [part for part in every if only in part.name]


def run(part: Part, url: str, token: str, known: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """schemathesis' report; what it prints is kept for people."""
    folder = ARTIFACTS / "contract"
    folder.mkdir(parents=True, exist_ok=True)
    config, report = folder / f"{part.name}.toml", folder / f"{part.name}.json"
    config.write_text(_config(known if part.ids == "known" else {}))
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run"]
    command += [str(unpacked_ui() / "openapi" / DOCUMENTS[part.document]), "--url", url]
    command += ["--header", f"Authorization: Bearer {token}", "--mode", "all", "--phases", "coverage,fuzzing"]
    command += ["--max-examples", str(options.examples), "--seed", str(options.seed), "--no-shrink"]
    command += ["--generation-database", "none", "--continue-on-failure", "--checks", ",".join(CHECKS)]
    command += ["--output-sanitize", "false"]
    command += ["--exclude-path-regex", LEFT_OUT, "--no-color", "--warnings", "off", "--request-timeout", "60"]
    command += ["--report-json-path", str(report)]
    command += [word for method in METHODS[part.methods] for word in ("--include-method", method)]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.hooks", "PYTHONPATH": str(REPOSITORY)}
    report.unlink(missing_ok=True)
    with report.with_suffix(".txt").open("w") as output:
        command_in = {"cwd": folder, "env": environment}  # it keeps notes where it runs
        subprocess.run(command, stdout=output, stderr=output, timeout=WITHIN_S, check=False, **command_in)
    if not report.exists():
        raise SystemExit(f"schemathesis did not get through:\n{report.with_suffix('.txt').read_text()[-3000:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _config(known: dict[str, Any]) -> str:
    """In TOML, whose strings are written as JSON's."""
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in known.items()]
    return "\n".join(["[parameters]", *lines, ""])


def findings(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, operation): the keys of `FINDINGS`."""
    for failure in report["failures"]:
        for operation in failure["operations"]:
            yield failure["type"], operation
    for error in report["errors"]:
        yield "error", str(error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each operation and kind, besides the edges")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", metavar="WORD", help="parts whose name has it, such as public-reads")
    options = parser.parse_args()
    chosen = parts(options.only)
    found: dict[tuple[str, str], list[str]] = {}
    requests = 0
    with temporary_folder("leoflow-contract-") as root:
        for name, text in WORKSPACE.items():
            folder = root / "workspace" / name
            folder.mkdir(parents=True)
            (folder / "dag.py").write_text(text)
        environment = {"LEOFLOW_UI_WHEEL": str(pinned_wheel())}
        with Lite(workspace=root / "workspace", data_dir=root / "data", env=environment) as lite, lite.api() as api:
            known = seed(api)
            for part in chosen:
                report = run(part, lite.url, _token(api), known, options)
                of_part = set(findings(report))
                sent = report["test_cases"]["generated"]
                requests += sent
                print(f"{part.name}: {sent} requests, {len(of_part)} findings", flush=True)
                for finding in of_part:
                    found.setdefault(finding, []).append(part.name)
    new = {finding: where for finding, where in found.items() if finding not in FINDINGS}
    for (what, operation), where in sorted(new.items()):
        print(f"NEW: {what}: {operation} (tests/artifacts/contract/{where[0]}.txt)")
    is_whole = not options.only and options.examples >= EXAMPLES and options.seed == SEED
    gone = sorted(FINDINGS.keys() - found.keys()) if is_whole else []
    for what, operation in gone:
        print(f"GONE: {what}: {operation} is in tests/contract/known.py and did not come")
    print(f"{requests} requests, {len(new)} new findings, {len(found) - len(new)} known ones")
    return int(bool(new or gone))


def _token(api: Api) -> str:
    return str(api.http.headers["Authorization"]).removeprefix("Bearer ")


if __name__ == "__main__":
    sys.exit(main())
