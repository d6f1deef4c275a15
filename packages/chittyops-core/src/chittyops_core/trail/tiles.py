"""The tree's hashes in tiles of 256 (c2sp.org/tlog-tiles): full ones in files, the edge in memory.

Everything here can be made again from the entries. So nothing is synced, and a tile that is read
from its file is believed only when its root is the hash that the level above has for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core.errors import TrailError
from chittyops_core.trail import merkle

__all__ = ["WIDTH", "Tiles", "tile_name"]

WIDTH = 256
_HEIGHT = 8
_HASH = 32
_CACHED = 512
"""Tiles with their inner nodes: 16 KiB each."""

_Levels = list[list[bytes]]


def tile_name(level: int | str, number: int, width: int = WIDTH) -> str:
    """Return a tile's path, such as `tile/0/x001/x234/067` or `tile/entries/000.p/17`."""
    digits = f"{number % 1000:03}"
    while number := number // 1000:
        digits = f"x{number % 1000:03}/{digits}"
    return f"tile/{level}/{digits}" + ("" if width == WIDTH else f".p/{width}")


class Tiles:
    """The tiles in *folder*; not safe for threads by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edges = [_Edge()]
        self._full = [0]
        self._cache: OrderedDict[tuple[int, int], _Levels] = OrderedDict()

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._full[0] * WIDTH + len(self._edges[0].levels[0])

    @property
    def root(self) -> bytes:
        return merkle.root(self.size, self.node)

    def append(self, leaves: Iterable[bytes]) -> None:
        """Add the hashes of leaves."""
        for leaf in leaves:
            self._add(0, leaf)

    def node(self, level: int, index: int) -> bytes:
        """Return a complete node's hash; see `merkle.Nodes`."""
        tile_level, within = divmod(level, _HEIGHT)
        number, place = divmod(index << within, WIDTH)
        return self._inner(tile_level, number)[within][place >> within]

    def tile(self, level: int, number: int) -> bytes:
        """Return a tile's bytes, as many hashes as there are. Raises TrailError for none."""
        if not (level < len(self._full) and 0 <= number <= self._full[level]):
            raise TrailError(f"there is no tile {level}/{number}")
        return b"".join(self._inner(level, number)[0])

    def restore(self, full: int) -> None:
        """Begin with *full* full tiles at level 0, as the files have them; the edge is empty.

        Raises:
            TrailError: A file is missing or damaged; `rebuild` by appending from nothing.
        """
        self._edges, self._full = [_Edge()], [full]
        self._cache.clear()
        level = 0
        while (count := self._full[level]) >= 1:
            above = count // WIDTH
            self._full.append(above)
            edge = _Edge()
            for number in range(above * WIDTH, count):
                edge.add(_Edge(self._read(level, number)).root)
            self._edges.append(edge)
            level += 1

    def forget(self) -> None:
        """Begin with nothing."""
        self._edges, self._full = [_Edge()], [0]
        self._cache.clear()

    def _add(self, level: int, found: bytes) -> None:
        edge = self._edges[level]
        edge.add(found)
        if not edge.is_full:
            return
        number = self._full[level]
        path = self._folder / tile_name(level, number)
        # The disk may be full: tiles can be made again, so the entries' durability goes on.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.write_atomically(path, b"".join(edge.levels[0]))
        self._keep((level, number), edge.levels)
        self._edges[level] = _Edge()
        self._full[level] += 1
        if level + 1 == len(self._full):
            self._full.append(0)
            self._edges.append(_Edge())
        self._add(level + 1, edge.root)

    def _inner(self, level: int, number: int) -> _Levels:
        if level < len(self._full) and number == self._full[level]:
            return self._edges[level].levels
        if (level, number) in self._cache:
            self._cache.move_to_end((level, number))
            return self._cache[level, number]
        tile = _Edge(self._read(level, number))
        if tile.root != self.node((level + 1) * _HEIGHT, number):
            raise TrailError(
                f"the tile {tile_name(level, number)} is damaged or was changed",
                remedy="`chittyops trail verify` says whether the entries are whole; tiles are "
                "made again from them.",
            )
        self._keep((level, number), tile.levels)
        return tile.levels

    def _keep(self, key: tuple[int, int], levels: _Levels) -> None:
        self._cache[key] = levels
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    def _read(self, level: int, number: int) -> list[bytes]:
        path = self._folder / tile_name(level, number)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raw = b""
        if len(raw) != WIDTH * _HASH:
            raise TrailError(f"the tile {tile_name(level, number)} is missing or was cut off")
        return [raw[at : at + _HASH] for at in range(0, len(raw), _HASH)]


class _Edge:
    """A tile that grows: its hashes, and the complete nodes above them, by level."""

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self.levels: _Levels = [[] for _ in range(_HEIGHT + 1)]
        for each in hashes:
            self.add(each)

    @property
    def is_full(self) -> bool:
        return bool(self.levels[_HEIGHT])

    @property
    def root(self) -> bytes:
        """Of a full one."""
        return self.levels[_HEIGHT][0]

    def add(self, found: bytes) -> None:
        for level in self.levels:
            level.append(found)
            if len(level) & 1:
                return
            found = merkle.node_hash(level[-2], found)
