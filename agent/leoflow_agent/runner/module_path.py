"""Where the modules of a bundle are looked for, in processes without the shim, whose `put_on_path` does the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def put(bundle: str, import_paths: Sequence[str]) -> None:
    """The bundle itself before what is installed; or its `import_paths` behind that, as in Airflow."""
    if not import_paths and bundle not in sys.path:
        sys.path.insert(1, bundle)
    for path in import_paths:
        folder = os.path.normpath(os.path.join(bundle, path))
        if folder not in sys.path:
            sys.path.append(folder)
