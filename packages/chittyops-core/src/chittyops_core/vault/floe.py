"""FLOE (c2sp.org/FLOE): AES-256-GCM over files of any size, in constant memory, seekable.

A ciphertext is a header and segments of one length; the last may be shorter, and says that it is
the last. Each segment is sealed with its place and whether it is the last, so that none can be
changed, moved, left out or added unseen. The header commits to key and associated data: one
ciphertext opens with one key only.

The key of a document must be used for nothing else. Parameters: GCM256_IV256 with the length of
a segment, 1 MiB by default, in the header.
"""

from __future__ import annotations

import hmac
import io
import os
import struct
from collections.abc import Iterator
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from chittyops_core.errors import DocumentError

__all__ = [
    "HEADER_BYTES",
    "KEY_BYTES",
    "SEGMENT_BYTES",
    "Opener",
    "Reader",
    "Sealer",
    "decrypt",
    "encrypt",
    "encrypted_size",
]

KEY_BYTES = 32
SEGMENT_BYTES = 1 << 20
"""Of a sealed segment, with its overhead."""

HEADER_BYTES = 74
OVERHEAD_BYTES = 32
"""Of a segment: 4 length, 12 initialisation vector, 16 tag."""

ROTATION_BITS = 20
"""A key seals 2**20 segments, then the next one is derived."""

_IV: Final = 32
_AEAD_IV = 12
_TAG = 16
_NOT_LAST = 0xFFFFFFFF
_MAX_SEGMENTS = 1 << 40
_LARGEST_SEGMENT = 1 << 26


class _Message:
    """What sealing and opening have in common: the keys of one ciphertext."""

    def __init__(self, key: bytes, aad: bytes, params: bytes, iv: bytes, rotation: int) -> None:
        if len(key) != KEY_BYTES:
            raise DocumentError(f"a document's key has {KEY_BYTES} bytes, not {len(key)}")
        self._aad, self._prefix, self._rotation = aad, params + iv, rotation
        self.tag = self._derive(key, b"HEADER_TAG:", 32)
        self._key = self._derive(key, b"MESSAGE_KEY:", 48)
        self._aead: tuple[int, AESGCM] | None = None

    def _derive(self, key: bytes, purpose: bytes, length: int) -> bytes:
        return HKDFExpand(SHA384(), length, self._prefix + purpose + self._aad).derive(key)

    def aead(self, position: int) -> AESGCM:
        """Return the cipher of the segment at *position*."""
        masked = position >> self._rotation << self._rotation
        if self._aead is None or self._aead[0] != masked:
            purpose = b"DEK:" + struct.pack(">Q", masked)
            self._aead = masked, AESGCM(self._derive(self._key, purpose, KEY_BYTES))
        return self._aead[1]


class Sealer:
    """Seals the segments of one ciphertext, in order.

    Attributes:
        header: What the ciphertext begins with.
        capacity: Plain bytes of every segment but the last.

    Args:
        key: 32 random bytes, for this document alone.
        aad: What the content is bound to; needed again to open it.
        segment_bytes: Length of a sealed segment.
        rotation: How many segments a derived key seals, as a power of two.

    Raises:
        DocumentError: The key has another length, or segments cannot have that one.
    """

    def __init__(
        self, key: bytes, aad: bytes = b"", *,
        segment_bytes: int = SEGMENT_BYTES, rotation: int = ROTATION_BITS,
    ) -> None:  # fmt: skip
        if not OVERHEAD_BYTES < segment_bytes <= _LARGEST_SEGMENT:
            raise DocumentError(f"a segment cannot have {segment_bytes} bytes")
        params, iv = _params(segment_bytes), os.urandom(_IV)
        self._message = _Message(key, aad, params, iv, rotation)
        self.header = params + iv + self._message.tag
        self.capacity = segment_bytes - OVERHEAD_BYTES
        self._position = 0
        self._is_closed = False

    def seal_into(self, plain: memoryview, sealed: memoryview, *, is_last: bool) -> int:
        """Seal the next segment into *sealed*; return how many bytes it has.

        Raises:
            ValueError: It is not `capacity` long although it is not the last, or one follows it.
        """
        fits = len(plain) <= self.capacity if is_last else len(plain) == self.capacity
        if self._is_closed or not fits or self._position >= _MAX_SEGMENTS - (not is_last):
            raise ValueError("segments are full, in order, and end with one that says so")
        length = len(plain) + OVERHEAD_BYTES
        iv = os.urandom(_AEAD_IV)
        struct.pack_into(">I", sealed, 0, length if is_last else _NOT_LAST)
        sealed[4:16] = iv
        aad = _segment_aad(self._position, is_last)
        self._message.aead(self._position).encrypt_into(iv, plain, aad, sealed[16:length])
        self._position += 1
        self._is_closed = is_last
        return length


class Opener:
    """Opens the segments of one ciphertext, in any order.

    Args:
        key: The document's.
        aad: As it was sealed with.
        header: The ciphertext's first 74 bytes.

    Raises:
        DocumentError: This is no such ciphertext, or it was sealed with another key or for
            something else.
    """

    def __init__(
        self, key: bytes, aad: bytes, header: bytes, *, rotation: int = ROTATION_BITS
    ) -> None:
        if len(header) != HEADER_BYTES:
            raise DocumentError("the document is cut off in its header", cause="damaged")
        self.segment_bytes: int = struct.unpack_from(">I", header, 2)[0]
        if not OVERHEAD_BYTES < self.segment_bytes <= _LARGEST_SEGMENT or header[:10] != _params(
            self.segment_bytes
        ):
            raise DocumentError("this is no document of the kind that we encrypt", cause="foreign")
        self._message = _Message(key, aad, header[:10], header[10:42], rotation)
        if not hmac.compare_digest(self._message.tag, header[42:]):
            raise DocumentError(
                "the document was encrypted with another key or for something else, or its header "
                "was changed",
                cause="key",
            )
        self.capacity = self.segment_bytes - OVERHEAD_BYTES

    def open_into(self, sealed: memoryview, plain: memoryview, position: int) -> int:
        """Open one segment into *plain*; return how many bytes it has. See `is_last`.

        Raises:
            DocumentError: It was changed, moved or cut off.
        """
        last = self.is_last(sealed)
        length = len(sealed) - OVERHEAD_BYTES
        aad = _segment_aad(position, last)
        try:
            self._message.aead(position).decrypt_into(
                bytes(sealed[4:16]), sealed[16:], aad, plain[:length]
            )
        except InvalidTag as error:
            raise _changed(position) from error
        return length

    def is_last(self, sealed: memoryview) -> bool:
        """Whether a segment says that it is the last. Raises DocumentError where it cannot be."""
        told = struct.unpack_from(">I", sealed, 0)[0] if len(sealed) >= OVERHEAD_BYTES else -1
        if told == _NOT_LAST and len(sealed) == self.segment_bytes:
            return False
        if told != len(sealed):
            raise DocumentError("the document is cut off, or was changed", cause="damaged")
        return True


class Reader(io.RawIOBase):
    """A sealed file as a file of its plain bytes, read from anywhere in it.

    The last segment is opened at once, so that the length is proven before anything is read.

    Args:
        source: The ciphertext, seekable; it is not closed with this.
        key: The document's.
        aad: As it was sealed with.

    Raises:
        DocumentError: See `Opener`; reading raises it too, and returns nothing of a segment that
            was changed.
    """

    def __init__(
        self, source: IO[bytes], key: bytes, aad: bytes = b"", *, rotation: int = ROTATION_BITS
    ) -> None:
        super().__init__()
        self._source = source
        source.seek(0)
        self._opener = Opener(key, aad, source.read(HEADER_BYTES), rotation=rotation)
        self._body = source.seek(0, os.SEEK_END) - HEADER_BYTES
        segment = self._opener.segment_bytes
        self._count = -(-self._body // segment)
        self._sealed, self._plain = bytearray(segment), bytearray(segment)
        self._held = -1
        self._held_bytes = 0
        self._at = 0
        if self._count == 0 or not self._load(self._count - 1):
            raise DocumentError("the document is cut off at its end", cause="damaged")
        self.size = (self._count - 1) * self._opener.capacity + self._held_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"there is nothing before the beginning: {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read up to the end of a segment; 0 at the end."""
        if self._at >= self.size:
            return 0
        position, start = divmod(self._at, self._opener.capacity)
        if position != self._held:
            self._load(position)
        wanted = memoryview(buffer).cast("B")
        count: int = min(len(wanted), self._held_bytes - start)
        wanted[:count] = memoryview(self._plain)[start : start + count]
        self._at += count
        return count

    def _load(self, position: int) -> bool:
        """Open a segment; return whether it says that it is the last."""
        self._held = -1
        at = position * self._opener.segment_bytes
        length = min(self._opener.segment_bytes, self._body - at)
        sealed = memoryview(self._sealed)[:length]
        self._source.seek(HEADER_BYTES + at)
        if _fill(self._source, sealed) != length:
            raise DocumentError("the document got shorter while it was read", cause="damaged")
        is_last = self._opener.is_last(sealed)
        if is_last != (position == self._count - 1):
            raise _changed(position)
        self._held_bytes = self._opener.open_into(sealed, memoryview(self._plain), position)
        self._held = position
        return is_last


def encrypt(
    source: IO[bytes], sink: IO[bytes], key: bytes, aad: bytes = b"", *,
    segment_bytes: int = SEGMENT_BYTES,
) -> int:  # fmt: skip
    """Read *source* to its end and write the ciphertext to *sink*; return the plain bytes' count.

    Raises:
        DocumentError: See `Sealer`.
        OSError: Of reading or writing; *sink* then holds something that does not open.
    """
    sealer = Sealer(key, aad, segment_bytes=segment_bytes)
    sink.write(sealer.header)
    buffers = memoryview(bytearray(sealer.capacity)), memoryview(bytearray(sealer.capacity))
    sealed = memoryview(bytearray(segment_bytes))
    held, total, turn = _fill(source, buffers[0]), 0, 0
    is_last = False
    while not is_last:
        # A full segment is the last one if nothing follows; so one is read ahead.
        ahead = _fill(source, buffers[1 - turn]) if held == sealer.capacity else 0
        is_last = ahead == 0
        length = sealer.seal_into(buffers[turn][:held], sealed, is_last=is_last)
        sink.write(sealed[:length])
        total += held
        held, turn = ahead, 1 - turn
    return total


def decrypt(
    source: IO[bytes], sink: IO[bytes], key: bytes, aad: bytes = b"", *,
    rotation: int = ROTATION_BITS,
) -> int:  # fmt: skip
    """Read a ciphertext from *source* and write what it holds to *sink*; return how many bytes.

    *source* need not be seekable. Each segment is written once it is proven; that nothing is
    missing at the end is known only when this returns, so a caller keeps *sink* to itself until
    then.

    Raises:
        DocumentError: See `Opener`; also when anything follows the last segment.
    """
    total = 0
    for plain in _opened(source, key, aad, rotation):
        sink.write(plain)
        total += len(plain)
    return total


def _opened(source: IO[bytes], key: bytes, aad: bytes, rotation: int) -> Iterator[memoryview]:
    header = memoryview(bytearray(HEADER_BYTES))
    opener = Opener(key, aad, bytes(header[: _fill(source, header)]), rotation=rotation)
    sealed = memoryview(bytearray(opener.segment_bytes))
    plain = memoryview(bytearray(opener.capacity))
    position = 0
    while True:
        length = _fill(source, sealed)
        count = opener.open_into(sealed[:length], plain, position)
        is_last = opener.is_last(sealed[:length])
        if is_last and source.read(1):
            raise DocumentError("something follows the document's end", cause="damaged")
        yield plain[:count]
        if is_last:
            return
        position += 1


def encrypted_size(plain: int, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Return how many bytes the ciphertext of *plain* bytes has."""
    segments = max(1, -(-plain // (segment_bytes - OVERHEAD_BYTES)))
    return HEADER_BYTES + plain + segments * OVERHEAD_BYTES


def _params(segment_bytes: int) -> bytes:
    return struct.pack(">BBII", 0, 0, segment_bytes, _IV)


def _segment_aad(position: int, is_last: bool) -> bytes:
    return struct.pack(">QB", position, is_last)


def _changed(position: int) -> DocumentError:
    return DocumentError(
        f"the document was changed: its segment {position} does not prove itself",
        remedy="Restore it from a backup.",
        cause="changed",
        segment=position,
    )


def _fill(source: IO[bytes], buffer: memoryview) -> int:
    """Read until *buffer* is full or *source* ends; return how many bytes."""
    filled = 0
    readinto = getattr(source, "readinto", None)
    while filled < len(buffer):
        if readinto is not None:
            count = readinto(buffer[filled:]) or 0
        else:
            piece = source.read(len(buffer) - filled)
            count = len(piece)
            buffer[filled : filled + count] = piece
        if not count:
            break
        filled += count
    return filled
