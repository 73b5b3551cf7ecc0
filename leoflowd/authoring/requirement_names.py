"""How a requirement is called: `Foo_Bar[extra]>=1; marker` is of `foo-bar`."""

from __future__ import annotations

import re

NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """Normalised; empty for one that has no name, such as an address."""
    found = NAME.match(requirement.strip())
    return normalised(found[1]) if found else ""
