"""Signed notes and checkpoints: what a log says of itself, and who said so.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, with Ed25519 keys (signature type 1), as
Go's `golang.org/x/mod/sumdb/note` reads them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Self

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chittyops_core.errors import TrailError

__all__ = ["Checkpoint", "Signer", "Verifier", "split"]

ED25519 = b"\x01"
MAX_BYTES = 1 << 20
_NAME = re.compile(r"[^\s+]{1,255}")
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@frozen
class Verifier:
    """A name and its public key.

    Attributes:
        name: The key's name: no white space, no plus sign.
        key: The public half.
    """

    name: str = field()
    key: Ed25519PublicKey = field(repr=False)

    @name.validator
    def _check(self, _: object, value: str) -> None:
        if not _NAME.fullmatch(value):
            raise TrailError(f"{value!r} cannot name a key: white space or a plus sign is in it")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `NAME+ID+KEY`, as Go's tools write it. Raises TrailError."""
        name, _, rest = text.strip().partition("+")
        digits, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            found = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        except (binascii.Error, ValueError) as error:
            raise TrailError(f"{text!r} is no key of the form NAME+ID+KEY") from error
        if raw[:1] != ED25519 or digits != found.id.hex():
            raise TrailError(f"{text!r} is no Ed25519 key, or its id is another key's")
        return found

    @property
    def id(self) -> bytes:
        """4 bytes that tell keys of one name apart."""
        named = self.name.encode() + b"\n" + ED25519 + self.key.public_bytes_raw()
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.key.public_bytes_raw()).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def open(self, note: bytes) -> bytes:
        """Return the text of *note*, newline at its end, once this key has signed it.

        Raises:
            TrailError: It is no note, or this key did not sign it.
        """
        text, signatures = split(note)
        for name, raw in signatures:
            if name == self.name and raw[:4] == self.id:
                try:
                    self.key.verify(raw[4:], text)
                except InvalidSignature as error:
                    raise TrailError(f"the signature of {self.name} does not match") from error
                return text
        raise TrailError(f"{self.name} has not signed this")


@frozen
class Signer:
    """A name and its private key."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """What others check by."""
        return Verifier(self.name, self.key.public_key())

    def sign(self, text: bytes) -> bytes:
        """Return *text*, which ends with a newline, as a note with this key's signature."""
        signature = base64.b64encode(self.verifier.id + self.key.sign(text))
        return b"%b\n\xe2\x80\x94 %b %b\n" % (text, self.name.encode(), signature)


@frozen
class Checkpoint:
    """What a log is at one moment.

    Attributes:
        origin: The log's name.
        size: How many entries it has.
        root: Their Merkle root, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def from_text(cls, text: bytes) -> Self:
        """Read a note's text; lines after the third are extensions. Raises TrailError."""
        try:
            origin, size, encoded, *rest = text.decode().split("\n")
            digest = base64.b64decode(encoded, validate=True)
        except (ValueError, UnicodeDecodeError) as error:
            raise TrailError(
                "this is no checkpoint: origin, size and root in a line each"
            ) from error
        if not origin or not _SIZE.fullmatch(size) or len(digest) != 32 or not rest:
            raise TrailError("this is no checkpoint: its size or its root is none")
        return cls(origin, int(size), digest)

    @property
    def text(self) -> bytes:
        encoded = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{encoded}\n".encode()


def split(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return a note's text and its (name, key id and signature), none of them checked.

    Raises:
        TrailError: It is no note.
    """
    text, found, rest = note.rpartition(b"\n\n")
    try:
        lines = rest.decode().split("\n")
        text.decode()
    except UnicodeDecodeError as error:
        raise TrailError("this is no signed note: it is no text") from error
    matches = [_LINE.fullmatch(line) for line in lines[:-1]]
    if not found or lines[-1] or not matches or len(note) > MAX_BYTES or None in matches:
        raise TrailError("this is no signed note: text, a blank line, and signatures")
    try:
        signatures = [(m[1], base64.b64decode(m[2], validate=True)) for m in matches if m]
    except binascii.Error as error:
        raise TrailError("this is no signed note: a signature is no base64") from error
    return text + b"\n", signatures
