"""`typing.override` of Python 3.12 for the base install, which has no typing_extensions at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override as override
else:

    def override(method):
        return method
