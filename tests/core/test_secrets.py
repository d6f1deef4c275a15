"""The store of secrets: encrypted at rest, and no tampering goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chittyops_core.errors import SecretError
from chittyops_core.secrets import SecretStore


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    made = SecretStore(tmp_path)
    made.set("portal/key", "correct horse")
    made.set("portal/other", "battery staple")
    return made


def entries(folder: Path) -> dict:
    return json.loads((folder / "values.json").read_text())


def test_a_value_comes_back_as_it_was(store: SecretStore) -> None:
    """Whatever is in it."""
    value = "ž\n\r\t\"'%$\\ " + "x" * 100_000
    store.set("hard", value)

    assert store.get("hard") == value
    assert list(store.names()) == ["hard", "portal/key", "portal/other"]


def test_nothing_is_in_the_clear(store: SecretStore, tmp_path: Path) -> None:
    """Neither value stands in any file; files are the owner's alone."""
    for path in tmp_path.iterdir():
        assert b"horse" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


def test_bit_flip_attack(store: SecretStore, tmp_path: Path) -> None:
    """Every flipped bit of a sealed value is noticed."""
    stored = entries(tmp_path)
    sealed = bytes.fromhex(stored["values"]["portal/key"]["sealed"])
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        stored["values"]["portal/key"]["sealed"] = changed.hex()
        (tmp_path / "values.json").write_text(json.dumps(stored))

        with pytest.raises(SecretError, match="was changed"):
            store.get("portal/key")


def test_swap_attack(store: SecretStore, tmp_path: Path) -> None:
    """One secret's value under another's name is noticed: the name is authenticated."""
    stored = entries(tmp_path)
    values = stored["values"]
    values["portal/key"], values["portal/other"] = values["portal/other"], values["portal/key"]
    (tmp_path / "values.json").write_text(json.dumps(stored))

    with pytest.raises(SecretError, match="was changed"):
        store.get("portal/key")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"values": 3}', "null", "\0"])
def test_a_damaged_store_is_named_and_kept(store: SecretStore, tmp_path: Path, damage: str) -> None:
    """A truncated file is an error, never an empty store that the next `set` writes over."""
    (tmp_path / "values.json").write_text(damage)

    with pytest.raises(SecretError, match="damaged"):
        store.get("portal/key")
    with pytest.raises(SecretError, match="damaged"):
        store.set("new", "value")
    assert (tmp_path / "values.json").read_text() == damage


def test_a_lost_key_is_not_made_anew(store: SecretStore, tmp_path: Path) -> None:
    """That would turn all values into noise."""
    (tmp_path / "key").unlink()

    with pytest.raises(SecretError, match="key of the secrets is gone"):
        store.set("new", "value")
    assert not (tmp_path / "key").exists()


def test_fingerprints_tell_equal_from_changed_and_nothing_else(
    store: SecretStore, tmp_path: Path
) -> None:
    """Stable, different for each value, and keyed: another store's differ for equal values."""
    before = store.fingerprints()
    store.set("portal/key", "correct horse")
    again = store.fingerprints()
    store.set("portal/key", "changed")
    other = SecretStore(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.set("portal/key", "correct horse")

    assert before == again
    assert store.fingerprints()["portal/key"] != before["portal/key"]
    assert other.fingerprints()["portal/key"] != before["portal/key"]


@pytest.mark.parametrize(("how", "length"), [("hex32", 32), ("hex64", 64), ("password", 24)])
def test_generating_never_replaces(store: SecretStore, how: str, length: int) -> None:
    """It makes a value once."""
    store.generate("made", how)
    first = store.get("made")
    store.generate("made", how)

    assert len(first) == length
    assert store.get("made") == first


@pytest.mark.parametrize(
    ("name", "value"), [("../x", "v"), ("A", "v"), ("a", ""), ("a", "x" * 2**21)]
)
def test_what_cannot_be_kept_is_refused(store: SecretStore, name: str, value: str) -> None:
    """Hostile names, empty and huge values."""
    with pytest.raises(SecretError):
        store.set(name, value)


def test_unset_forgets_and_says_when_there_is_nothing(store: SecretStore) -> None:
    """Twice is a mistake worth telling."""
    store.unset("portal/key")

    with pytest.raises(SecretError, match="no secret named 'portal/key'"):
        store.unset("portal/key")
