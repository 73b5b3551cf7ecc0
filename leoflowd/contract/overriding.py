"""`typing.override` of Python 3.12 where typing_extensions is missing at run time: the base install and agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override as override
else:

    def override(method):
        return method
