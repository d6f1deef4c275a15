"""FLOE: what its reference implementations wrote opens here, and nothing that was changed does."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest

from chittyops_core.errors import DocumentError
from chittyops_core.vault import floe

DATA = Path(
    os.environ.get("CHITTYOPS_TEST_DATA", Path(__file__).parents[3] / "shared/data")
)  # fmt: skip
KNOWN = sorted(path.name.removesuffix("_ct.txt") for path in DATA.glob("floe/*_ct.txt"))
KEY, AAD = bytes(range(32)), b"case 26-cv-1"
SMALL = 64
"""Bytes of a segment, so that a short text has many."""


def sealed(plain: bytes, segment_bytes: int = SMALL, key: bytes = KEY, aad: bytes = AAD) -> bytes:
    sink = io.BytesIO()
    assert floe.encrypt(io.BytesIO(plain), sink, key, aad, segment_bytes=segment_bytes) == len(
        plain
    )
    return sink.getvalue()


def opened(raw: bytes, key: bytes = KEY, aad: bytes = AAD, rotation: int = 20) -> bytes:
    """Open it both ways, which must agree."""
    sink = io.BytesIO()
    floe.decrypt(io.BytesIO(raw), sink, key, aad, rotation=rotation)
    with floe.Reader(io.BytesIO(raw), key, aad, rotation=rotation) as reader:
        assert reader.readall() == sink.getvalue()
    return sink.getvalue()


def require_refused(raw: bytes, key: bytes = KEY, aad: bytes = AAD) -> None:
    """Neither way of opening says that all is well, and no changed byte is given away."""
    with pytest.raises(DocumentError):
        floe.decrypt(io.BytesIO(raw), io.BytesIO(), key, aad)
    with pytest.raises(DocumentError), floe.Reader(io.BytesIO(raw), key, aad) as reader:
        reader.readall()


@pytest.mark.skipif(not KNOWN, reason="known answers are not in $CHITTYOPS_TEST_DATA/floe")
@pytest.mark.parametrize("name", KNOWN)
def test_what_the_reference_implementations_wrote_opens(name: str) -> None:
    """C++, Go, Java, Rust; key and associated data as shared/data/README.md says."""
    raw, plain = (
        bytes.fromhex((DATA / f"floe/{name}_{what}.txt").read_text()) for what in ("ct", "pt")
    )
    rotation = 2 if name.endswith("rotation") else 20
    assert opened(raw, bytes(32), b"This is AAD", rotation) == plain


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64, 65, 320, 1000])
def test_any_size_comes_back_and_has_the_promised_length(size: int) -> None:
    plain = os.urandom(size)
    raw = sealed(plain)
    assert len(raw) == floe.encrypted_size(size, SMALL)
    assert opened(raw) == plain


def test_two_ciphertexts_of_one_document_have_nothing_in_common() -> None:
    one, two = sealed(bytes(100)), sealed(bytes(100))
    assert one[10:42] != two[10:42]
    assert one[74:] != two[74:]


def test_every_part_is_read_from_anywhere() -> None:
    plain = os.urandom(1000)
    reader = floe.Reader(io.BytesIO(sealed(plain)), KEY, AAD)
    chance = random.Random(3)
    assert reader.size == 1000
    for _ in range(300):
        start, length = chance.randrange(1100), chance.randrange(200)
        reader.seek(start)
        found = io.BufferedReader(reader).read(length) if length else b""
        reader = floe.Reader(io.BytesIO(sealed(plain)), KEY, AAD)
        assert found == plain[start : start + length]
    with pytest.raises(ValueError, match="before the beginning"):
        reader.seek(-1)
    assert reader.seek(-10, os.SEEK_END) == 990
    assert reader.readall() == plain[-10:]


def test_flipped_bit_attack() -> None:
    """Every single bit of a document of several segments."""
    raw = sealed(os.urandom(100))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        require_refused(bytes(changed))


def test_truncation_attack() -> None:
    """At every byte, also just between two segments, and down to nothing."""
    raw = sealed(os.urandom(150))
    for length in range(len(raw)):
        require_refused(raw[:length])


@pytest.mark.parametrize("more", [b"\x00", b"x" * SMALL, "segment", "document"])
def test_appended_tail_attack(more: bytes | str) -> None:
    raw = sealed(os.urandom(100))
    tail = {"segment": raw[74 : 74 + SMALL], "document": raw}.get(more, more)  # type: ignore[arg-type]
    assert isinstance(tail, bytes)
    require_refused(raw + tail)


def test_swapped_segments_attack() -> None:
    """Swapped, doubled, left out, and taken from another document of the same key."""
    raw, other = sealed(os.urandom(150)), sealed(os.urandom(150))
    head, parts = raw[:74], [raw[at : at + SMALL] for at in range(74, len(raw), SMALL)]
    strange = [other[at : at + SMALL] for at in range(74, len(other), SMALL)]
    for wrong in (
        [parts[1], parts[0], *parts[2:]], [parts[0], *parts], parts[1:], [*parts[:-1], parts[0]],
        [strange[0], *parts[1:]], [*parts[:-1], strange[-1]],
    ):  # fmt: skip
        require_refused(head + b"".join(wrong))
    require_refused(other[:74] + b"".join(parts))


def test_wrong_key_and_wrong_document_attack() -> None:
    """The header commits to both, so not one byte of content is looked at."""
    raw = sealed(b"secret")
    for key, aad in ((bytes(32), AAD), (KEY, b"case 26-cv-2"), (KEY, b"")):
        with pytest.raises(DocumentError) as caught:
            floe.Opener(key, aad, raw[:74])
        assert caught.value.facts["cause"] == "key"
    with pytest.raises(DocumentError, match="32 bytes"):
        floe.Sealer(b"short")


@pytest.mark.parametrize("field", [(0, b"\x01"), (1, b"\x01"), (2, b"\xff\xff\xff\xff"),
                                   (2, b"\x00\x00\x00\x20"), (6, b"\x00\x00\x00\x21")])  # fmt: skip
def test_hostile_header_attack(field: tuple[int, bytes]) -> None:
    """Another algorithm, segments of 4 GiB or of no content: refused before anything is made."""
    at, value = field
    raw = bytearray(sealed(b"secret"))
    raw[at : at + len(value)] = value
    with pytest.raises(DocumentError) as caught:
        floe.Opener(KEY, AAD, bytes(raw[:74]))
    assert caught.value.facts["cause"] == "foreign"


def test_segments_come_in_order_and_end_once() -> None:
    sealer = floe.Sealer(KEY, AAD, segment_bytes=SMALL)
    room = memoryview(bytearray(SMALL))
    with pytest.raises(ValueError, match="in order"):
        sealer.seal_into(memoryview(b"short"), room, is_last=False)
    with pytest.raises(ValueError, match="in order"):
        sealer.seal_into(memoryview(bytes(33)), room, is_last=True)
    sealer.seal_into(memoryview(b"end"), room, is_last=True)
    with pytest.raises(ValueError, match="in order"):
        sealer.seal_into(memoryview(b"more"), room, is_last=True)
