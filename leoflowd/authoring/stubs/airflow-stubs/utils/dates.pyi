# Made by `make docs` from the shim's signatures; do not edit.
from typing import Any
cron_presets: Any
