"""The store: one file of AES-256-GCM values, one file with their key."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core.errors import SecretError
from chittyops_core.model.names import require_secret_name

__all__ = ["SecretStore"]

MAX_VALUE_BYTES = 1 << 20
NONCE_BYTES = 12  # NIST SP 800-38D 8.2: 96 bits, random; far below 2^32 values a key.


class SecretStore:
    """The secrets in *folder*, which only its owner may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, value: str) -> None:
        """Keep *value* under *name*, in place of what was there.

        Raises:
            SecretError: The name or the value cannot be kept.
        """
        try:
            require_secret_name(name)
        except ValueError as error:
            raise SecretError(str(error)) from error
        if not value:
            raise SecretError(f"the value for {name} is empty", remedy="Type or pipe a value.")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise SecretError(f"the value for {name} has more than {MAX_VALUE_BYTES} bytes")
        with self._locked():
            entries = self._read()
            nonce = secrets.token_bytes(NONCE_BYTES)
            sealed = AESGCM(self._key()).encrypt(nonce, value.encode(), name.encode())
            entries[name] = {
                "nonce": nonce.hex(),
                "sealed": sealed.hex(),
                "set": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._write(entries)

    def unset(self, name: str) -> None:
        """Forget *name*. Raises SecretError when it is not there."""
        with self._locked():
            entries = self._read()
            if entries.pop(name, None) is None:
                raise self._missing(name)
            self._write(entries)

    def get(self, name: str) -> str:
        """Return the value of *name*. Raises SecretError."""
        entry = self._read().get(name)
        if entry is None:
            raise self._missing(name)
        return self._open(name, entry)

    def names(self) -> dict[str, str]:
        """Return name -> when it was set, ISO 8601 in UTC, sorted by name."""
        return {name: entry["set"] for name, entry in sorted(self._read().items())}

    def fingerprints(self) -> Mapping[str, str]:
        """Return name -> keyed digest of its value: equal for equal values, no more."""
        entries = self._read()
        if not entries:
            return {}
        key = hashlib.sha256(b"chittyops fingerprint" + self._key()).digest()
        return {
            name: hmac.new(key, self._open(name, entry).encode(), "sha256").hexdigest()[:16]
            for name, entry in entries.items()
        }

    def generate(self, name: str, how: str) -> None:
        """Make a value for *name* unless there is one: `hex32`, `hex64` or `password`."""
        with self._locked():
            if name in self._read():
                return
        if how == "password":
            alphabet = string.ascii_letters + string.digits
            value = "".join(secrets.choice(alphabet) for _ in range(24))
        else:
            value = secrets.token_hex({"hex32": 16, "hex64": 32}[how])
        self.set(name, value)

    # --- pieces ---

    @property
    def _file(self) -> Path:
        return self._folder / "values.json"

    def _locked(self) -> FileLock:
        return FileLock(self._folder / ".lock").acquire("secrets", wait=lambda _: None)

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

    def _open(self, name: str, entry: Mapping[str, str]) -> str:
        try:
            nonce, sealed = bytes.fromhex(entry["nonce"]), bytes.fromhex(entry["sealed"])
            return AESGCM(self._key()).decrypt(nonce, sealed, name.encode()).decode()
        except (InvalidTag, KeyError, ValueError) as error:
            raise SecretError(
                f"the secret {name} cannot be read: its file or the key was changed",
                remedy=f"chittyops secrets set {name}",
            ) from error

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            values = json.loads(self._file.read_text())["values"]
            return {str(name): dict(entry) for name, entry in values.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SecretError(
                f"the store of secrets is damaged: {self._file}",
                remedy="Restore it from a backup, or delete it and set the secrets anew.",
            ) from error

    def _write(self, entries: Mapping[str, Any]) -> None:
        text = json.dumps({"version": 1, "values": entries}, indent=1, sort_keys=True)
        files.write_durably(self._file, text)

    def _missing(self, name: str) -> SecretError:
        return SecretError(
            f"there is no secret named {name!r} on this host",
            remedy=f"chittyops secrets set {name}",
            secret=name,
        )
