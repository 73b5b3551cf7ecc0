"""Documents name tests as proof: those tests are there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
DOCUMENTS = [path for path in sorted((REPOSITORY / "docs").rglob("*.md")) if NAMED.search(path.read_text())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_test_that_a_document_names_is_there(document) -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED.findall(document.read_text())
        if not (REPOSITORY / file).is_file() or not re.search(rf"def {name}\(", (REPOSITORY / file).read_text())
    ]
    assert missing == []


def test_documents_name_some() -> None:
    assert {"security.md"} < {path.name for path in DOCUMENTS}
