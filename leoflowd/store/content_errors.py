"""How a value that cannot be carried shows itself, in contrast to a Postgres that does not answer.

Whoever stores or reads a unit of work catches these and sets that unit aside (`contract.values` refuses most of it at
the borders; this is the containment behind them).
"""

from __future__ import annotations

import struct

import msgspec
from psycopg import errors

LIMIT_ERRORS = (
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    errors.TooManyArguments,
    errors.TooManyColumns,
)
"""A row, a key or a JSON text that is too large. psycopg counts them as operational, like a lost connection."""

CONTENT_ERRORS = (
    *LIMIT_ERRORS,
    errors.DataError,
    errors.IntegrityError,
    errors.InternalError,
    errors.NotSupportedError,
    errors.ProgrammingError,
    ValueError,  # also UnicodeError
    TypeError,
    OverflowError,
    RecursionError,
    struct.error,
    msgspec.MsgspecError,
)
