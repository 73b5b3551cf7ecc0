"""What a stored password costs whoever guesses it. Integration tests hash cheaply; this is what everybody else gets."""

from __future__ import annotations

from leoflowd.store.api_users import hash_password, verify_password


def test_a_hash_is_argon2id_with_64_mib_and_three_rounds() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=")
    assert verify_password(hashed, "correct horse")
    assert not verify_password(hashed, "correct house")
