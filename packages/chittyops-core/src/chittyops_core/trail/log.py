"""The log: entries, made durable in batches, each closed by a signed checkpoint.

One file, `log`, holds everything and is only ever added to:

    entry        2 bytes length (1 to 65,534), big-endian, then the entry
    checkpoint   FF FF, 4 bytes length, then a signed note; the end of a batch

A batch is written by one call and made durable by one fdatasync; `append` returns after that. All
else (`tile/`, `offsets`) is made from it and can be made again. Threads and
processes may append at once: who holds the lock commits what all threads of its process have
waiting, after it has read what other processes added.

What a crash cuts off has no checkpoint behind it, so nobody was told that it is kept: it is moved
aside. What has one and does not fit it was changed, and is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import threading
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen, mutable

from chittyops_core._kit import files
from chittyops_core.errors import TrailError
from chittyops_core.trail import merkle
from chittyops_core.trail.note import Checkpoint, Signer
from chittyops_core.trail.tiles import WIDTH, Tiles

__all__ = ["MAX_ENTRY", "Log", "Proof"]

MAX_ENTRY = 0xFFFE
"""Bytes; c2sp.org/tlog-tiles has 16 bits for it, and the last value marks a checkpoint."""

MAX_BATCH = 4096
"""Entries that are committed at once."""

_MARK = 0xFFFF
_MAX_NOTE = 1 << 16
_READ = 1 << 20


@frozen
class Proof:
    """That an entry is in the log as a checkpoint says.

    Attributes:
        index: Of the entry, from 0 on.
        entry: Its bytes.
        hashes: From its leaf up to the root.
        checkpoint: The signed note.
    """

    index: int
    entry: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes


@mutable(eq=False)
class _Ticket:
    """Entries of one caller, until they are on the disk."""

    entries: Sequence[bytes]
    turn: threading.Event = field(factory=threading.Event)
    first: int | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.first is not None or self.error is not None


@frozen
class _Batch:
    """What the file has from one point on: entries and the checkpoint that closes them."""

    entries: list[bytes] = field(factory=list)
    starts: list[int] = field(factory=list)
    note: bytes = b""
    end: int = 0


class Log:
    """The log in *folder*, made when it is not there; safe for threads and processes.

    Args:
        folder: Its own, 0700.
        signer: Signs checkpoints; its name is the log's origin.

    Raises:
        TrailError: From everything here: it was changed, is damaged or cannot be written
            (fact `cause`: changed, damaged, full or other).
    """

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._signer = signer
        self._folder = files.ensure_private_dir(folder)
        self._path = folder / "log"
        self._tiles = Tiles(folder)
        self._offsets = array("Q")
        self._end = 0
        self._note = b""
        self._waiting: deque[_Ticket] = deque()
        self._is_led = False
        self._waiting_lock, self._lock = threading.Lock(), threading.RLock()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with _told(self._path):
            self._fd = os.open(self._path, flags, 0o600)
            files.sync_dir(folder)
        try:
            with self._held():
                self._open()
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        with self._lock:
            os.close(self._fd)

    # --- in ---

    def append(self, *entries: bytes) -> range:
        """Add *entries*, all or none; return their indexes once they are on the disk.

        Raises:
            TrailError: They could not be written, and are not in the log.
        """
        for entry in entries:
            if not 1 <= len(entry) <= MAX_ENTRY:
                raise TrailError(f"an entry has 1 to {MAX_ENTRY} bytes, not {len(entry)}")
        ticket = _Ticket(entries)
        with self._waiting_lock:
            self._waiting.append(ticket)
            must_wait, self._is_led = self._is_led, True
        if must_wait:
            ticket.turn.wait()
        if not ticket.is_done:
            # Its turn to commit what waits, itself included; then the next one that waits leads.
            try:
                self._commit_waiting()
            finally:
                self._hand_over()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.first is not None
        return range(ticket.first, ticket.first + len(entries))

    def _hand_over(self) -> None:
        with self._waiting_lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].turn.set()

    def _commit_waiting(self) -> None:
        with self._waiting_lock:
            tickets: list[_Ticket] = []
            count = 0
            while self._waiting and (not tickets or count < MAX_BATCH):
                tickets.append(self._waiting.popleft())
                count += len(tickets[-1].entries)
        try:
            with self._lock, self._held():
                self._catch_up()
                first = self._tiles.size
                self._commit([entry for ticket in tickets for entry in ticket.entries])
        except BaseException as error:
            for ticket in tickets:
                ticket.error = error
        else:
            for ticket in tickets:
                ticket.first, first = first, first + len(ticket.entries)
        for ticket in tickets:
            ticket.turn.set()

    def _commit(self, entries: list[bytes]) -> None:
        raw, starts, at = bytearray(), [], self._end
        for entry in entries:
            starts.append(at + len(raw))
            raw += struct.pack(">H", len(entry))
            raw += entry
        size = self._tiles.size
        # The tree is ahead of the file until the write is done; when that fails it is made anew.
        self._grow(entries, starts)
        checkpoint = Checkpoint(self._signer.name, self._tiles.size, self._tiles.root)
        note = self._signer.sign(checkpoint.text)
        raw += struct.pack(">HI", _MARK, len(note)) + note
        try:
            with _told(self._path):
                _write_whole(self._fd, raw)
                os.fdatasync(self._fd)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            self._rewind(size)
            raise
        self._end += len(raw)
        self._note = note

    # --- out ---

    @property
    def size(self) -> int:
        """How many entries are in it, those of other processes too."""
        with self._reading():
            return self._tiles.size

    @property
    def checkpoint(self) -> bytes:
        """The latest signed note; b"" while there is no entry."""
        with self._reading():
            return self._note

    def entry(self, index: int) -> bytes:
        """Return one entry. Raises TrailError for none."""
        return next(self.entries(index, index + 1))

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Yield the entries from *first* on, before *last*. Raises TrailError for none there."""
        with self._reading():
            size = self._tiles.size
            stop = size if last is None else last
            if not 0 <= first <= stop <= size:
                raise TrailError(f"there are no entries {first} to {stop}; there are {size}")
            number = first // WIDTH
            at = self._offsets[number] if number < len(self._offsets) else self._end
        index = number * WIDTH
        for batch in self._batches(at, self._end):
            for entry in batch.entries:
                if index >= stop:
                    return
                if index >= first:
                    yield entry
                index += 1

    def proof(self, index: int) -> Proof:
        """Prove that an entry is in the log. Raises TrailError."""
        with self._reading():
            size = self._tiles.size
            if not 0 <= index < size:
                raise TrailError(f"there is no entry {index}; there are {size}")
            hashes = merkle.inclusion_proof(index, size, self._tiles.node)
            note = self._note
        return Proof(index, self.entry(index), tuple(hashes), note)

    def consistency(self, old: int) -> tuple[list[bytes], bytes]:
        """Return the proof that the log of *old* entries is the beginning of today's, and today's
        checkpoint. Raises TrailError."""
        with self._reading():
            try:
                proof = merkle.consistency_proof(old, self._tiles.size, self._tiles.node)
            except ValueError as error:
                raise TrailError(str(error)) from error
            return proof, self._note

    def tile(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile, as many as there are. Raises TrailError for none there."""
        with self._reading():
            return self._tiles.tile(level, number)

    def verify(self) -> int:
        """Read everything again, and check every checkpoint; return how many entries there are.

        Raises:
            TrailError: Something does not fit (fact `entry`: the first of the batch that is wrong).
        """
        with self._reading():
            end, size, root = self._end, self._tiles.size, self._tiles.root
        tree = _Peaks()
        for batch in self._batches(0, end):
            first = tree.size
            for entry in batch.entries:
                tree.append(merkle.leaf_hash(entry))
            self._require(batch, tree.size, tree.root, first)
        if (tree.size, tree.root) != (size, root):
            raise self._changed(tree.size)
        return size

    # --- the file ---

    def _open(self) -> None:
        """Restore the tree from its tiles and read the rest, or all where tiles do not fit."""
        if not self._resume():
            self._tiles.forget()
            self._forget_offsets()
            self._end, self._note = 0, b""
            self._catch_up()

    def _resume(self) -> bool:
        """Begin at the last full tile that both `offsets` and the tiles know of."""
        try:
            raw = (self._folder / "offsets").read_bytes()
        except FileNotFoundError:
            return False
        offsets = array("Q")
        offsets.frombytes(raw[: len(raw) // 8 * 8])
        if len(offsets) < 2 or offsets[-1] > os.fstat(self._fd).st_size:
            return False
        try:
            self._tiles.restore(len(offsets) - 1)
            self._offsets, self._end = offsets, offsets[-1]
            self._catch_up(is_whole=True)
        except TrailError:
            # All of it is read, and that says what is wrong, or that only tiles were.
            return False
        return bool(self._note)

    def _catch_up(self, *, is_whole: bool = False) -> None:
        """Read what was added behind `_end`, and check it by its checkpoints.

        What a crash left at the end is set aside, or refused where all *is_whole*.
        """
        size = os.fstat(self._fd).st_size
        if size == self._end:
            return
        if size < self._end:
            raise self._changed(self._tiles.size, "it is shorter than it was")
        start = self._end
        for batch in self._batches(start, size):
            if not batch.note:
                if is_whole or self._has_checkpoint(start, size):
                    raise self._changed(self._tiles.size)
                self._set_aside(start, size)
                return
            before = self._tiles.size
            self._grow(batch.entries, batch.starts)
            self._require(batch, self._tiles.size, self._tiles.root, before)
            self._end = start = batch.end
            self._note = batch.note

    def _grow(self, entries: list[bytes], starts: list[int]) -> None:
        known, size = len(self._offsets), self._tiles.size
        for number, start in enumerate(starts, start=size):
            if number % WIDTH == 0 and number // WIDTH >= len(self._offsets):
                self._offsets.append(start)
        self._tiles.append(map(merkle.leaf_hash, entries))
        if len(self._offsets) > known:
            with suppress(OSError), open(self._folder / "offsets", "ab") as file:
                if file.tell() == known * 8:
                    file.write(self._offsets[known:].tobytes())

    def _batches(self, start: int, end: int) -> Iterator[_Batch]:
        """Yield the batches in the file from *start* to *end*; the last may have no note."""
        batch, at, buffer, base = _Batch(), start, b"", start

        def take(count: int) -> bytes | None:
            nonlocal buffer, base
            if at + count > base + len(buffer):
                buffer, base = os.pread(self._fd, max(_READ, count), at), at
            found = buffer[at - base : at - base + count]
            return found if len(found) == count and at + count <= end else None

        while at < end:
            head = take(2)
            length = struct.unpack(">H", head)[0] if head else 0
            if length == _MARK:
                long = take(6)
                length = struct.unpack(">HI", long)[1] if long else 0
                note = None
                if 0 < length <= _MAX_NOTE:
                    at += 6
                    note = take(length)
                if note is None:
                    break
                at += length
                yield _Batch(batch.entries, batch.starts, note, at)
                batch = _Batch()
                continue
            at += 2
            entry = take(length) if length else None
            if entry is None:
                break
            batch.starts.append(at - 2)
            batch.entries.append(entry)
            at += length
        else:
            if not batch.entries:
                return
        yield _Batch(batch.entries, batch.starts, b"", at)

    def _require(self, batch: _Batch, size: int, root: bytes, first: int) -> None:
        """Raise unless the batch's note is the very one that we would sign for this tree."""
        if batch.note != self._signer.sign(Checkpoint(self._signer.name, size, root).text):
            raise self._changed(first)

    def _has_checkpoint(self, start: int, end: int) -> bool:
        """Whether a later checkpoint of ours is in there: then that was no torn batch."""
        name = re.escape(self._signer.name.encode())
        form = name + rb"\n[0-9]{1,19}\n[\w+/=]{44}\n\n\xe2\x80\x94 " + name + rb" [\w+/=]+\n"
        for found in re.finditer(form, os.pread(self._fd, end - start, start)):
            with suppress(TrailError):
                text = self._signer.verifier.open(found[0])
                if Checkpoint.from_text(text).size > self._tiles.size:
                    return True
        return False

    def _set_aside(self, start: int, end: int) -> None:
        """Move what a crash cut off out of the way; nobody was told that it is kept."""
        torn = self._folder / f"torn-{start}"
        with _told(self._path):
            files.write_durably(torn, os.pread(self._fd, end - start, start))
            os.ftruncate(self._fd, start)
            os.fsync(self._fd)

    def _rewind(self, size: int) -> None:
        """Take back what the tree has beyond *size* entries, which the file does not have."""
        self._tiles.forget()
        self._forget_offsets()
        self._end, self._note = 0, b""
        if size:
            self._catch_up()

    def _forget_offsets(self) -> None:
        self._offsets = array("Q")
        with suppress(OSError):
            (self._folder / "offsets").unlink(missing_ok=True)

    def _changed(self, entry: int, why: str = "") -> TrailError:
        return TrailError(
            f"the trail {self._path} was changed or is damaged at entry {entry} or soon after"
            + (f": {why}" if why else ""),
            remedy="Nothing is written to it any more. Compare it with a copy or with what a "
            "witness has signed, and move it away to begin a new one.",
            cause="changed",
            entry=entry,
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if os.fstat(self._fd).st_size != self._end:
                with self._held():
                    self._catch_up()
            yield

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the log against other processes; the kernel frees it when this one dies."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


class _Peaks:
    """A tree of which only the edge is kept: 32 bytes a level."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        size, found = self.size, leaf
        while size & 1:
            found, size = merkle.node_hash(self._peaks.pop(), found), size >> 1
        self._peaks.append(found)
        self.size += 1

    @property
    def root(self) -> bytes:
        if not self._peaks:
            return merkle.EMPTY
        *others, found = self._peaks
        for peak in reversed(others):
            found = merkle.node_hash(peak, found)
        return found


def _write_whole(fd: int, raw: bytes | bytearray) -> None:
    view = memoryview(raw)
    while view:
        view = view[os.write(fd, view) :]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn the disk's errors into ours."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise TrailError(
            f"the disk is full: the trail {path} cannot be written"
            if is_full
            else f"the trail {path} cannot be written: {error.strerror}",
            remedy="Free some space, or mend the disk or the permissions.",
            cause="full" if is_full else "other",
        ) from error
