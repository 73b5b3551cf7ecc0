"""What a port hides stays hidden: one place knows how it is done (ADR 33)."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_sql_about_xcom_values_is_in_one_file() -> None:
    """`api_xcoms` lists entries without their values."""
    around = re.compile(r"\b(from|join|into|update|using)\s+xcom\b", re.IGNORECASE)
    queries = (REPOSITORY / "leoflowd" / "store" / "queries").glob("*.sql")
    assert {path.name for path in queries if around.search(path.read_text())} == {"xcoms.sql", "api_xcoms.sql"}
    assert "value" not in (REPOSITORY / "leoflowd/store/queries/api_xcoms.sql").read_text().replace("values are in", "")
