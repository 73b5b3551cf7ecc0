"""The README's code is code that runs: copied from the examples, or compiled here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
BLOCK = re.compile(r"<!-- (file|dag): (\S+) -->\n```python\n(.*?)```", re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]


@pytest.mark.parametrize(("name", "code"), [(name, code) for kind, name, code in BLOCKS if kind == "file"])
def test_an_example_in_the_readme_is_the_file_it_names(name: str, code: str) -> None:
    assert code.strip() in (REPOSITORY / name).read_text()
    assert code.strip()


def test_the_readme_shows_every_command_that_ci_runs() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text()
    assert "exec make check test" in ci
    assert "make check test" in README


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    documents = README + (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = {word for words in re.findall(r"`?make ((?:[a-z0-9-]+ ?)+)", documents) for word in words.split()[:1]}
    assert named - {"alone"} <= targets
