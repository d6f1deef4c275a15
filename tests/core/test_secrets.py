"""The store of secrets: encrypted at rest, and no tampering goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chittyops_core.errors import PlanStaleError, SecretError
from chittyops_core.secrets import Reference, SecretStore


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


# --- former values -------------------------------------------------------------------------------


def keeping(folder: Path, *used: Reference) -> SecretStore:
    return SecretStore(folder, lambda: set(used))


def test_a_former_value_stays_while_a_release_was_made_with_it(
    store: SecretStore, tmp_path: Path
) -> None:
    """By its fingerprint; without one, and for one that is not kept, it is the value of today."""
    old = store.fingerprints()["portal/key"]
    used = keeping(tmp_path, Reference("portal/key", old))
    used.set("portal/key", "second")
    used.set("portal/key", "third")

    assert used.get("portal/key", old) == "correct horse"
    assert used.get("portal/key") == "third"
    assert used.get("portal/key", "0" * 16) == "third"
    assert list(entries(tmp_path)["former"]["portal/key"]) == [old]


def test_an_unset_value_stays_while_a_release_was_made_with_it(
    store: SecretStore, tmp_path: Path
) -> None:
    """A reboot does not take a service down; no new release gets it."""
    old = store.fingerprints()["portal/key"]
    used = keeping(tmp_path, Reference("portal/key", old))
    used.unset("portal/key")

    assert used.get("portal/key", old) == "correct horse"
    assert "portal/key" not in used.names()
    with pytest.raises(SecretError, match="no secret named"):
        used.get("portal/key")


def test_what_nothing_refers_to_is_dropped(store: SecretStore, tmp_path: Path) -> None:
    """At the next change, or when it is pruned: no old value lies about."""
    old = store.fingerprints()["portal/key"]
    keeping(tmp_path, Reference("portal/key", old)).set("portal/key", "second")
    store.prune()

    assert entries(tmp_path)["former"] == {}
    assert store.get("portal/key", old) == "second"
    assert store.lacking([Reference("portal/key", old)]) == ["portal/key"]


def test_a_value_that_comes_back_is_one_again(store: SecretStore, tmp_path: Path) -> None:
    """Old, new, old: the same fingerprint, and not kept twice."""
    old = store.fingerprints()["portal/key"]
    used = keeping(tmp_path, Reference("portal/key", old))
    used.set("portal/key", "second")
    used.set("portal/key", "correct horse")

    assert used.fingerprints()["portal/key"] == old
    assert entries(tmp_path)["former"] == {}
    assert used.lacking([Reference("portal/key", old)]) == []


def test_swapped_former_value_attack(store: SecretStore, tmp_path: Path) -> None:
    """A value of another time under this fingerprint is noticed: the fingerprint is checked."""
    old = store.fingerprints()["portal/key"]
    used = keeping(tmp_path, Reference("portal/key", old))
    used.set("portal/key", "second")
    stored = entries(tmp_path)
    stored["former"]["portal/key"][old] = stored["values"]["portal/key"]
    (tmp_path / "values.json").write_text(json.dumps(stored))

    with pytest.raises(SecretError, match="was changed"):
        used.get("portal/key", old)


# --- all or nothing ------------------------------------------------------------------------------


def test_all_values_or_none(store: SecretStore, tmp_path: Path) -> None:
    """One bad value among many changes nothing."""
    before = (tmp_path / "values.json").read_bytes()

    with pytest.raises(SecretError, match="NUL"):
        store.set_all({"portal/key": "new", "portal/more": "a\0b"})
    assert (tmp_path / "values.json").read_bytes() == before


def test_what_was_agreed_to_is_what_is_done(store: SecretStore) -> None:
    """Somebody set one of them meanwhile: refused, nothing changed."""
    values = {"portal/key": "correct horse", "fresh": "x", "portal/other": "y"}
    agreed = store.compare(values)
    store.set("fresh", "theirs")

    assert agreed == {"portal/key": "same", "fresh": "new", "portal/other": "changed"}
    with pytest.raises(PlanStaleError, match="changed since"):
        store.set_all(values, agreed)
    assert (store.get("fresh"), store.get("portal/other")) == ("theirs", "battery staple")


WRITE_MANY = """
import sys
from pathlib import Path
from chittyops_core.secrets import SecretStore

store, who = SecretStore(Path(sys.argv[1])), sys.argv[2]
for number in range(25):
    store.set_all({f"{who}/{number}": "v", f"{who}/{number}-more": "v"})
    store.generate("shared", "hex64")
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    """The first key, every value of both, and one generated value that neither replaces."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITE_MANY, str(tmp_path), who]) for who in "ab"
    ]
    seen = set()
    while any(worker.poll() is None for worker in workers):
        names = SecretStore(tmp_path).names()
        for name in names:
            assert name == "shared" or {name.removesuffix("-more"), name} <= names.keys()
        if "shared" in names:
            seen.add(SecretStore(tmp_path).get("shared"))

    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(SecretStore(tmp_path).names()) == 101
    assert len(seen | {SecretStore(tmp_path).get("shared")}) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_a_rotation_is_marked_until_it_is_ended(store: SecretStore) -> None:
    """With the value, in one write; a value that is set otherwise ends it too."""
    store.begin_rotation("portal/key", "new", "hello")
    store.begin_rotation("portal/other", "new", None)
    begun = store.rotations()
    store.end_rotation("portal/key", forget=False)
    store.set("portal/other", "newer")

    assert begun == {"portal/key": "hello", "portal/other": None}
    assert store.rotations() == {}
    with pytest.raises(SecretError, match="no secret named"):
        store.begin_rotation("portal/none", "new", None)


def test_revoked_values_are_forgotten_whoever_was_made_with_them(
    store: SecretStore, tmp_path: Path
) -> None:
    """What was made with them then starts with the value of today."""
    old = store.fingerprints()["portal/key"]
    used = keeping(tmp_path, Reference("portal/key", old))
    used.begin_rotation("portal/key", "new", None)
    kept = used.get("portal/key", old)
    used.end_rotation("portal/key", forget=True)

    assert kept == "correct horse"
    assert used.get("portal/key", old) == "new"
