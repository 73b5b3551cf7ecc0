"""`typing.override` of Python 3.12 without typing_extensions at run time: neither the base install nor an agent has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override as override
else:

    def override(method):
        return method
