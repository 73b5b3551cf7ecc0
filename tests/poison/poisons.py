"""What somebody may send. One line more here is one value more at every entrance.

An expression is Python, for the code of a task; `nested(n)` is a list n levels deep. `kept`: JSON carries it exactly,
so that whoever accepts it gives it back as it was; else it is refused with a sentence, or shown where it is only text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NESTED = """
def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value
"""


class Poison(NamedTuple):
    name: str
    expression: str
    kept: bool

    @property
    def value(self) -> Any:
        return _evaluated(self.expression)

    @property
    def is_key(self) -> bool:
        """May the key of an XCom be so?"""
        value = self.value
        return self.kept and isinstance(value, str) and "\0" not in value and 0 < len(value) <= 512


def _evaluated(expression: str) -> Any:
    names: dict[str, Any] = {}
    exec(NESTED, names)
    return eval(expression, names)


POISONS = (
    Poison("nul", r"'a\0b'", kept=True),
    Poison("lone_surrogate", r"'a\ud800b'", kept=False),
    Poison("big_integer", "2**70", kept=True),
    Poison("huge_integer", "10**4200", kept=False),
    Poison("not_a_number", "float('nan')", kept=False),
    Poison("float_1e20", "1e20", kept=True),
    Poison("deep_250", "nested(250)", kept=True),
    Poison("deep_300", "nested(300)", kept=False),
    Poison("empty_text", "''", kept=True),
    Poison("empty_key", "{'': 1}", kept=True),
    Poison("nul_key", r"{'a\0b': 1}", kept=True),
    Poison("long_key", "'k' * 600", kept=True),
    Poison("large", "'x' * 300_000", kept=False),
    Poison("control", r"'\x01\x1b[31m\x7f'", kept=True),
    Poison("right_to_left", r"'\u202eabc'", kept=True),
)
