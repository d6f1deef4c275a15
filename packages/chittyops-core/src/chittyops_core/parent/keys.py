"""The parent's own key: what it acknowledges, refuses and paces with."""

from __future__ import annotations

import stat
from pathlib import Path

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from chittyops_core._kit.files import write_durably
from chittyops_core.bridge.signatures import public_bytes, sign_response, thumbprint
from chittyops_core.errors import ParentError

__all__ = ["ParentKey"]


@frozen
class ParentKey:
    """An Ed25519 key and its id, which every child pins.

    Attributes:
        private: The key.
        id: Its thumbprint (docs/protocol.md section 3).
    """

    private: Ed25519PrivateKey = field(repr=False)
    id: str

    @classmethod
    def make(cls) -> ParentKey:
        """Return a new key."""
        return cls.of(Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> ParentKey:
        return cls(private, thumbprint(public_bytes(private)))

    @classmethod
    def read(cls, path: Path) -> ParentKey:
        """Return the key in *path*. Raises ParentError: it is missing, open to others or no key."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            raw = path.read_bytes()
        except OSError as error:
            raise ParentError(
                f"the parent's key {path} cannot be read: {error.strerror}",
                remedy="Restore it from a backup: children trust no other key.",
            ) from error
        if mode & 0o077:
            raise ParentError(
                f"the parent's key {path} can be read by others (its mode is {mode:04o})",
                remedy=f"chmod 600 {path}",
            )
        try:
            private = load_pem_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ParentError(f"{path} holds no private key in PEM form") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ParentError(f"the key in {path} is no Ed25519 key")
        return cls.of(private)

    def write(self, path: Path) -> None:
        """Keep the key in *path*, for its owner only."""
        pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_durably(path, pem, mode=0o600)

    def sign(
        self, status: int, body: bytes, content_type: str, created: int, request: bytes
    ) -> dict[str, str]:
        """Return the headers that sign an answer to the request with the signature *request*."""
        return sign_response(self.private, self.id, status, body, content_type, created, request)
