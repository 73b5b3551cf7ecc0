"""The environment that a task starts with: clean, so that nothing of the daemon's or the agent's leaks into it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from leoflowd.contract.variable import OF_PEOPLE

_KEPT = frozenset(
    (
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    )
)
_KEPT_PREFIXES = ("LC_", *OF_PEOPLE)
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What tasks of this interpreter start with; `LEOFLOW_*` and every unknown name stay out."""
    kept = {name: value for name, value in source.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    kept.setdefault("LANG", "C.UTF-8")
    # The interpreter's own folder first: `bash_command="python ..."` means the DAG's environment.
    kept["PATH"] = f"{Path(python).parent}:{source.get('PATH', _DEFAULT_PATH)}"
    return kept
