"""The store: one file of AES-256-GCM values, one file with their key.

A name has one value of today, and former ones for as long as a release that is kept was made with
them. Every change is one durable write under one lock: whoever reads sees all of it or nothing.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import secrets
import string
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core.errors import PlanStaleError, SecretError
from chittyops_core.model.names import require_secret_name

__all__ = ["MAX_VALUE_BYTES", "Reference", "SecretStore", "make_value", "require_value"]

MAX_VALUE_BYTES = 1 << 20
NONCE_BYTES = 12  # NIST SP 800-38D 8.2: 96 bits, random; far below 2^32 values a key.

Entry = dict[str, Any]


@frozen
class Reference:
    """One very value of a secret: its name, and the fingerprint of the value."""

    name: str
    fingerprint: str


@define
class _Content:
    """What the file holds.

    Attributes:
        values: Mapping of name to today's sealed value, when it was set, and `rotating` while
            the services are being brought to it.
        former: Mapping of name to fingerprint to sealed value.
    """

    values: dict[str, Entry] = field(factory=dict)
    former: dict[str, dict[str, Entry]] = field(factory=dict)


def require_value(name: str, value: str) -> str:
    """Return *value* when *name* may hold it. Raises SecretError."""
    try:
        require_secret_name(name)
    except ValueError as error:
        raise SecretError(str(error)) from error
    if not value:
        raise SecretError(f"the value for {name} is empty", remedy="Type or pipe a value.")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise SecretError(f"the value for {name} is no text of Unicode") from error
    if "\0" in value:
        # Neither an environment nor a C string could hold it.
        raise SecretError(f"the value for {name} holds a NUL character")
    if size > MAX_VALUE_BYTES:
        raise SecretError(f"the value for {name} has more than {MAX_VALUE_BYTES} bytes")
    return value


class SecretStore:
    """The secrets in *folder*, which only its owner may enter; safe for many processes."""

    def __init__(
        self, folder: Path, in_use: Callable[[], Collection[Reference]] = frozenset
    ) -> None:
        """Make a store.

        Args:
            folder: Where it lies.
            in_use: Says with which values the releases that are kept were made; a former value
                that none was made with is dropped. Called under the store's lock.
        """
        self._folder = folder
        self._in_use = in_use

    # --- one ---

    def set(self, name: str, value: str) -> None:
        """Keep *value* under *name*; releases made with the one before keep that.

        Raises:
            SecretError: The name or the value cannot be kept.
        """
        self.set_all({name: value})

    def unset(self, name: str) -> None:
        """Forget *name*. Raises SecretError when it is not there."""
        with self._changing() as content:
            if name not in content.values:
                raise self._missing(name)
            self._retire(content, name)
            del content.values[name]

    def get(self, name: str, fingerprint: str | None = None) -> str:
        """Return the value of *name*: the one with *fingerprint* where it is kept, else today's.

        Raises:
            SecretError: There is none, or the file was tampered with.
        """
        content = self._read()
        former = content.former.get(name, {}).get(fingerprint or "")
        if former is not None and fingerprint is not None:
            value = self._open(name, former)
            if not hmac.compare_digest(self._fingerprint(value), fingerprint):
                raise self._tampered(name)
            return value
        if name not in content.values:
            raise self._missing(name)
        return self._open(name, content.values[name])

    def generate(self, name: str, how: str) -> None:
        """Make a value for *name* unless there is one: `hex32`, `hex64` or `password`."""
        value = make_value(how)
        with self._changing() as content:
            # Under the lock: two deploys at once shall not each make one.
            if name not in content.values:
                self._put(content, name, value)

    # --- all ---

    def names(self) -> dict[str, str]:
        """Return name -> when it was set, ISO 8601 in UTC, sorted by name."""
        return {name: entry["set"] for name, entry in sorted(self._read().values.items())}

    def fingerprints(self) -> Mapping[str, str]:
        """Return name -> keyed digest of today's value: equal for equal values, no more."""
        values = self._read().values
        return {name: self._fingerprint(self._open(name, e)) for name, e in values.items()}

    def compare(self, values: Mapping[str, str]) -> dict[str, str]:
        """Say of each of *values* what setting it would be: `new`, `changed` or `same`."""
        return self._compare(self._read(), values)

    def set_all(self, values: Mapping[str, str], agreed: Mapping[str, str] | None = None) -> None:
        """Keep all *values*, mapping of name to value, or none of them.

        Args:
            values: What to keep.
            agreed: What somebody saw by `compare` and said yes to.

        Raises:
            SecretError: A name or a value cannot be kept.
            PlanStaleError: It would no longer be what was agreed to.
        """
        for name, value in values.items():
            require_value(name, value)
        with self._changing() as content:
            if agreed is not None and self._compare(content, values) != dict(agreed):
                raise PlanStaleError(
                    "the secrets of this host changed since they were compared",
                    remedy="Run the same command again.",
                )
            for name, value in values.items():
                self._put(content, name, value)

    def lacking(self, references: Iterable[Reference]) -> list[str]:
        """Return the names of those *references* whose very value is not kept, sorted.

        Under the lock, so that a value which is found stays for a release already recorded.
        """
        with self._locked():
            content = self._read()
            return sorted({ref.name for ref in references if not self._has(content, ref)})

    def prune(self) -> None:
        """Drop every former value that no release was made with."""
        if self._read().former:
            with self._changing():
                pass

    # --- rotations ---

    def begin_rotation(self, name: str, value: str, app: str | None) -> None:
        """Keep *value* under *name*, with a mark that services are to be brought to it.

        Args:
            name: Of a secret that there is.
            value: The new one.
            app: The app whose services are meant; None for all.

        Raises:
            SecretError: There is no such secret, or the value cannot be kept.
        """
        require_value(name, value)
        with self._changing() as content:
            if name not in content.values:
                raise self._missing(name)
            self._put(content, name, value)
            content.values[name]["rotating"] = {"app": app}

    def rotations(self) -> dict[str, str | None]:
        """Return the names whose rotation was begun and not ended -> the app that it is for."""
        values = sorted(self._read().values.items())
        return {name: e["rotating"]["app"] for name, e in values if "rotating" in e}

    def end_rotation(self, name: str, *, forget: bool) -> None:
        """Take the mark away; with *forget* also every former value, whoever was made with it."""
        with self._changing() as content:
            content.values.get(name, {}).pop("rotating", None)
            if forget:
                content.former.pop(name, None)

    # --- pieces ---

    @property
    def _file(self) -> Path:
        return self._folder / "values.json"

    def _locked(self) -> FileLock:
        return FileLock(self._folder / ".lock").acquire("secrets", wait=lambda _: time.sleep(0.01))

    @contextmanager
    def _changing(self) -> Iterator[_Content]:
        """Hold the lock; write what was made of the content, if anything, in one go."""
        with self._locked():
            content = self._read()
            before = copy.deepcopy(content)
            yield content
            self._drop_unused(content)
            if content != before:
                self._write(content)

    def _put(self, content: _Content, name: str, value: str) -> None:
        self._retire(content, name)
        content.former.get(name, {}).pop(self._fingerprint(value), None)
        nonce = secrets.token_bytes(NONCE_BYTES)
        content.values[name] = {
            "nonce": nonce.hex(),
            "sealed": AESGCM(self._key()).encrypt(nonce, value.encode(), name.encode()).hex(),
            "set": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _retire(self, content: _Content, name: str) -> None:
        """Move today's value of *name*, if it can still be read, to the former ones."""
        entry = content.values.get(name)
        if entry is None:
            return
        try:
            fingerprint = self._fingerprint(self._open(name, entry))
        except SecretError:
            return  # `set` is how a damaged value is mended.
        former = {key: entry[key] for key in ("nonce", "sealed", "set")}
        content.former.setdefault(name, {})[fingerprint] = former

    def _drop_unused(self, content: _Content) -> None:
        if not any(content.former.values()):
            content.former = {}
            return
        used = self._in_use()
        content.former = {
            name: kept
            for name, entries in content.former.items()
            if (kept := {f: e for f, e in entries.items() if Reference(name, f) in used})
        }

    def _has(self, content: _Content, reference: Reference) -> bool:
        name = reference.name
        if reference.fingerprint in content.former.get(name, {}):
            return True
        today = content.values.get(name)
        return (
            today is not None
            and self._fingerprint(self._open(name, today)) == reference.fingerprint
        )

    def _compare(self, content: _Content, values: Mapping[str, str]) -> dict[str, str]:
        def change(name: str, value: str) -> str:
            entry = content.values.get(name)
            if entry is None:
                return "new"
            same = hmac.compare_digest(self._open(name, entry).encode(), value.encode())
            return "same" if same else "changed"

        return {name: change(name, value) for name, value in values.items()}

    def _fingerprint(self, value: str) -> str:
        key = hashlib.sha256(b"chittyops fingerprint" + self._key()).digest()
        return hmac.new(key, value.encode(), "sha256").hexdigest()[:16]

    def _key(self) -> bytes:
        path = self._folder / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            if self._file.exists():
                raise SecretError(
                    f"the key of the secrets is gone: {path}",
                    remedy="Restore it from a backup, or delete values.json and set them anew.",
                ) from None
            key = AESGCM.generate_key(bit_length=256)
            files.write_durably(path, key)
        if len(key) != 32:
            raise SecretError(f"{path} is no key: {len(key)} bytes, expected 32")
        return key

    def _open(self, name: str, entry: Mapping[str, Any]) -> str:
        try:
            nonce, sealed = bytes.fromhex(entry["nonce"]), bytes.fromhex(entry["sealed"])
            return AESGCM(self._key()).decrypt(nonce, sealed, name.encode()).decode()
        except (InvalidTag, KeyError, ValueError, TypeError) as error:
            raise self._tampered(name) from error

    def _read(self) -> _Content:
        try:
            data = json.loads(self._file.read_text())
            values = {str(name): dict(entry) for name, entry in data["values"].items()}
            former = {
                str(name): {str(f): dict(e) for f, e in entries.items()}
                for name, entries in data.get("former", {}).items()
            }
            return _Content(values, former)
        except FileNotFoundError:
            return _Content()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SecretError(
                f"the store of secrets is damaged: {self._file}",
                remedy="Restore it from a backup, or delete it and set the secrets anew.",
            ) from error

    def _write(self, content: _Content) -> None:
        data = {"version": 1, "values": content.values, "former": content.former}
        files.write_durably(self._file, json.dumps(data, indent=1, sort_keys=True))

    def _tampered(self, name: str) -> SecretError:
        return SecretError(
            f"the secret {name} cannot be read: its file or the key was changed",
            remedy=f"chittyops secrets set {name}",
        )

    def _missing(self, name: str) -> SecretError:
        return SecretError(
            f"there is no secret named {name!r} on this host",
            remedy=f"chittyops secrets set {name}",
            secret=name,
        )


def make_value(how: str) -> str:
    """Return a random value: `hex32` or `hex64` digits, or a `password` of 24 letters, digits."""
    if how == "password":
        alphabet = string.ascii_letters + string.digits
        return "".join(secrets.choice(alphabet) for _ in range(24))
    return secrets.token_hex({"hex32": 16, "hex64": 32}[how])
