"""The log for others: as static files (c2sp.org/tlog-tiles), and one entry with its proof
(c2sp.org/tlog-proof), which anybody can check without asking us."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core.errors import TrailError, UsageError
from chittyops_core.trail import merkle
from chittyops_core.trail.log import Log, Proof
from chittyops_core.trail.note import Checkpoint, Verifier
from chittyops_core.trail.tiles import WIDTH, tile_name

__all__ = ["check_proof", "export", "proof_text", "read_proof"]

_FIRST = "c2sp.org/tlog-proof@v1"


def export(log: Log, folder: Path) -> int:
    """Write the whole log into *folder*, which must be empty or new; return how many entries.

    A web server that serves the folder makes it a log that public tools can follow.

    Raises:
        UsageError: The folder has something in it.
        TrailError: The log is empty, or was changed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", remedy="Name a folder that is not there yet.")
    note = log.checkpoint
    if not note:
        raise TrailError("the trail has no entry yet")
    size = Checkpoint.from_text(note.rpartition(b"\n\n")[0] + b"\n").size
    bundle = bytearray()
    for index, entry in enumerate(log.entries(0, size), start=1):
        bundle += struct.pack(">H", len(entry)) + entry
        if index % WIDTH == 0 or index == size:
            number, width = (index - 1) // WIDTH, (index - 1) % WIDTH + 1
            _write(folder / tile_name("entries", number, width), bundle)
            bundle.clear()
    level, count = 0, size
    while count:
        for number in range(-(-count // WIDTH)):
            width = min(WIDTH, count - number * WIDTH)
            hashes = log.tile(level, number)[: width * 32]
            _write(folder / tile_name(level, number, width), hashes)
        level, count = level + 1, count // WIDTH
    _write(folder / "checkpoint", note)
    return size


def proof_text(proof: Proof) -> str:
    """Return a proof as c2sp.org/tlog-proof writes it."""
    hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof.hashes)
    return f"{_FIRST}\nindex {proof.index}\n{hashes}\n{proof.checkpoint.decode()}"


def read_proof(text: str, entry: bytes) -> Proof:
    """Read what `proof_text` wrote, for *entry*. Raises TrailError."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines and lines[1:2] and lines[1].startswith("extra "):
        del lines[1]
    try:
        first, index, *hashes = lines
        if first != _FIRST or not index.startswith("index ") or not index[6:].isdecimal():
            raise ValueError
        raw = tuple(base64.b64decode(each, validate=True) for each in hashes)
        return Proof(int(index[6:]), entry, raw, note.encode())
    except ValueError as error:
        raise TrailError("this is no proof of the form c2sp.org/tlog-proof@v1") from error


def check_proof(proof: Proof, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Return the checkpoint that says that the entry is in the log, once all of it is proven.

    Raises:
        TrailError: A verifier has not signed the checkpoint, or the proof does not lead to it.
    """
    for verifier in verifiers:
        verifier.open(proof.checkpoint)
    head = Checkpoint.from_text(verifiers[0].open(proof.checkpoint))
    leaf = merkle.leaf_hash(proof.entry)
    if not merkle.is_included(leaf, proof.index, head.size, proof.hashes, head.root):
        raise TrailError(f"the proof does not lead from entry {proof.index} to the checkpoint")
    return head


def _write(path: Path, data: bytes | bytearray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write_atomically(path, bytes(data))
