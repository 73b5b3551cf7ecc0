"""The projects that a new workspace begins with: the starter, and in the default workspace the examples too.

`cli.lite` calls it before the workspace is watched. A workspace that holds anything at all is left alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

EXAMPLES = Path(__file__).parent / "examples"
STARTER = "starter"


def fill_workspace(workspace: Path, *, with_examples: bool) -> tuple[str, ...]:
    """Make the folder if need be; when it is empty, copy the projects into it. Names of what was copied."""
    workspace.mkdir(parents=True, exist_ok=True)
    if any(workspace.iterdir()):
        return ()
    names = [STARTER, *(name for name in example_names() if name != STARTER)] if with_examples else [STARTER]
    for name in names:
        target = workspace / name if name == STARTER else workspace / "examples" / name
        shutil.copytree(EXAMPLES / name, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return tuple(names)


def example_names() -> tuple[str, ...]:
    """All projects that come with Leoflow, by name."""
    return tuple(
        sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    )
