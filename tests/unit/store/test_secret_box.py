"""Sealing and opening: what must open, and above all what must not."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from leoflowd.config import SecretsConfig
from leoflowd.store.secret_box import (
    NONCE_BYTES,
    CannotOpen,
    CannotSeal,
    KeyRing,
    KeysRefused,
    Sealed,
    SecretBox,
    add_key,
    box_of,
    make_key_file,
    parse_keys,
    read_key_file,
)

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = "connection\0pg\0password"


def box(**keys: bytes) -> SecretBox:
    return SecretBox(lambda: keys)


def seal(sealing: SecretBox, text: str = "hunter2", place: str = PLACE) -> Sealed:
    return sealing.seal(text, place, sealing.sealing_key_id())


def test_what_was_sealed_opens() -> None:
    assert box(a=OLD).open(seal(box(a=OLD), "hünter2"), PLACE) == "hünter2"


def test_the_text_is_not_in_the_ciphertext() -> None:
    assert b"hunter2" not in seal(box(a=OLD)).content


def test_no_nonce_is_used_twice() -> None:
    sealing = box(a=OLD)
    assert len({seal(sealing).content[:NONCE_BYTES] for _ in range(1000)}) == 1000


def test_a_secret_moved_to_another_place_does_not_open() -> None:
    with pytest.raises(CannotOpen):
        box(a=OLD).open(seal(box(a=OLD)), "connection\0other\0password")


def test_every_changed_byte_is_noticed() -> None:
    sealed = seal(box(a=OLD))
    for at in range(len(sealed.content)):
        changed = bytearray(sealed.content)
        changed[at] ^= 1
        with pytest.raises(CannotOpen):
            box(a=OLD).open(Sealed("a", bytes(changed)), PLACE)


@pytest.mark.parametrize("length", [0, 5, NONCE_BYTES, NONCE_BYTES + 15])
def test_a_truncated_secret_does_not_open(length: int) -> None:
    with pytest.raises(CannotOpen):
        box(a=OLD).open(Sealed("a", seal(box(a=OLD)).content[:length]), PLACE)


def test_another_key_under_the_same_id_does_not_open() -> None:
    with pytest.raises(CannotOpen, match="that id now belongs to another key"):
        box(a=NEW).open(seal(box(a=OLD)), PLACE)


def test_a_missing_key_is_named_and_so_are_those_at_hand() -> None:
    with pytest.raises(CannotOpen, match=r"key 'a', which this server does not have \(it has: 'b', 'c'\)"):
        box(b=NEW, c=OLD).open(seal(box(a=OLD)), PLACE)


def test_the_first_key_seals_and_all_open() -> None:
    ring = box(new=NEW, old=OLD)
    assert seal(ring).key_id == "new"
    assert ring.open(seal(box(old=OLD)), PLACE) == "hunter2"


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(CannotSeal, match="LEOFLOW_SECRETS_KEYS"):
        box().sealing_key_id()


def test_a_rotated_key_is_used_without_a_restart() -> None:
    ring: dict[str, bytes] = {"old": OLD}
    living = SecretBox(lambda: dict(ring))
    before = seal(living)
    ring.clear()
    ring.update({"new": NEW, "old": OLD})
    assert living.open(seal(box(new=NEW)), PLACE) == "hunter2"
    assert seal(living).key_id == "new"
    assert living.open(before, PLACE) == "hunter2"


# --- keys as they are written --------------------------------------------------------------------------------------


def written(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_keys_are_read_in_order() -> None:
    ring: KeyRing = parse_keys(f"new:{written(NEW)},old:{written(OLD)}", "the setting")
    assert list(ring.items()) == [("new", NEW), ("old", OLD)]


@pytest.mark.parametrize(
    "text", ["a", "a:", f":{written(OLD)}", f"a b:{written(OLD)}", f"a:{written(b'short')}", "a:%%%", f"{written(OLD)}"]
)
def test_a_malformed_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeysRefused, match="the setting: entry") as refused:
        parse_keys(text, "the setting")
    assert written(OLD) not in str(refused.value)


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(KeysRefused, match="entry 2"):
        parse_keys(f"a:{written(OLD)},a:{written(NEW)}", "the setting")


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret_key"
    make_key_file(file)
    first = file.read_text()
    make_key_file(file)
    assert file.read_text() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(read_key_file(file)) == 1


def test_an_added_key_seals_and_the_old_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    living = box_of(SecretsConfig(key_file=file))
    before = seal(living)
    key_id = add_key(file)
    assert list(read_key_file(file)) == [key_id, before.key_id]
    assert seal(living).key_id == key_id
    assert living.open(before, PLACE) == "hunter2"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    make_key_file(file)
    file.chmod(0o644)
    with pytest.raises(KeysRefused, match="chmod 600"):
        read_key_file(file)


def test_a_key_file_that_is_gone_is_an_error_while_running(tmp_path: Path) -> None:
    living = box_of(SecretsConfig(key_file=tmp_path / "secret_key"))
    (tmp_path / "secret_key").unlink()
    with pytest.raises(KeysRefused, match="bring it back"):
        seal(living)


def test_keys_of_the_setting_come_before_those_of_the_file(tmp_path: Path) -> None:
    config = SecretsConfig(keys=f"env:{written(NEW)}", key_file=tmp_path / "secret_key")
    assert seal(box_of(config)).key_id == "env"


def test_keys_are_hidden_in_the_repr_of_the_configuration() -> None:
    assert written(OLD) not in repr(SecretsConfig(keys=f"a:{written(OLD)}"))
