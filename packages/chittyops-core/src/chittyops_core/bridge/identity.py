"""A child's keys: the present one, the next one while it is being rotated, and former ones.

They are one file that only its owner may read, replaced as a whole: whatever a rotation was killed
in, there is a key that the parent takes.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core._kit import files
from chittyops_core.bridge import signatures
from chittyops_core.errors import BridgeError

__all__ = ["FILE_NAME", "Key", "Keys", "read", "write"]

FILE_NAME = "key"
MAX_FORMER = 8
"""Former keys that are kept, newest first; a parent's backup is older than few rotations."""


@frozen
class Key:
    """An Ed25519 key and its id."""

    private: Ed25519PrivateKey = field(repr=False, eq=False)
    id: str

    @classmethod
    def generate(cls) -> Key:
        return cls.from_private(Ed25519PrivateKey.generate())

    @classmethod
    def from_private(cls, private: Ed25519PrivateKey) -> Key:
        return cls(private, signatures.thumbprint(signatures.public_bytes(private)))

    @property
    def public(self) -> str:
        """The public half in base64url."""
        return signatures.encode(signatures.public_bytes(self.private))


@frozen
class Keys:
    """What the file holds.

    Attributes:
        present: Signs.
        next: Was made to take its place, and the parent has not said yes yet.
        former: Newest first.
    """

    present: Key
    next: Key | None = None
    former: tuple[Key, ...] = ()

    def rotated(self) -> Keys:
        """Return them with the next key as the present one."""
        assert self.next is not None
        return Keys(self.next, None, (self.present, *self.former)[:MAX_FORMER])


def read(folder: Path) -> Keys | None:
    """Return the keys in *folder*; None when there are none.

    Raises:
        BridgeError: The file is damaged, or others may read it.
    """
    path = folder / FILE_NAME
    try:
        fd = files.open_regular(str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BridgeError(f"the key {path} cannot be read: {error.strerror}") from error
    with os.fdopen(fd) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise BridgeError(
                f"others may read the key {path} (mode {mode:o})",
                remedy=f"chmod 600 {path}; then `chittyops bridge rotate`, if others could log in.",
            )
        try:
            data = json.load(file)
            present, *former = [_from_text(text) for text in [data["present"], *data["former"]]]
            following = _from_text(data["next"]) if data.get("next") else None
        except (ValueError, KeyError, TypeError, BridgeError):
            # Not the error's own text: it may quote the key.
            raise BridgeError(
                f"the key {path} is damaged",
                remedy="Restore it from a backup, or move it away and enrol as a new child.",
            ) from None
    return Keys(present, following, tuple(former))


def write(folder: Path, keys: Keys) -> None:
    """Keep *keys*, also across a power cut."""
    data = {
        "present": _to_text(keys.present),
        "next": _to_text(keys.next) if keys.next else None,
        "former": [_to_text(key) for key in keys.former],
    }
    files.write_durably(folder / FILE_NAME, json.dumps(data))


def _to_text(key: Key) -> str:
    return signatures.encode(key.private.private_bytes_raw())


def _from_text(text: str) -> Key:
    return Key.from_private(Ed25519PrivateKey.from_private_bytes(signatures.decode(text)))
