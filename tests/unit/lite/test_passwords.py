"""Passwords that are made for people."""

from __future__ import annotations

from leoflowd.contract.passwords import generate_password


def test_passwords_are_long_readable_and_never_the_same() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 23 and not set(password) & set("ilo01") for password in made)
