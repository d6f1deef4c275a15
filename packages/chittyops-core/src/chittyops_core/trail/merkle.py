"""Merkle trees of RFC 6962 (RFC 9162 section 2.1): hashes, proofs, and what checks them. Pure.

A *node* is named by level and index: level 0 has the leaves' hashes, and node (l, i) covers the
leaves from i * 2**l on, 2**l of them. Functions that need stored nodes take one that returns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

__all__ = [
    "EMPTY",
    "Nodes",
    "consistency_proof",
    "inclusion_proof",
    "is_consistent",
    "is_included",
    "leaf_hash",
    "node_hash",
    "root",
]

Nodes = Callable[[int, int], bytes]
"""(level, index) -> hash of a complete node."""

EMPTY = sha256().digest()
"""Root of the tree without a leaf."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two others."""
    return sha256(b"\x01" + left + right).digest()


def root(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree of the first *size* leaves."""
    return _over(0, size, nodes) if size else EMPTY


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the hashes that lead from leaf *index* to the root of *size* leaves.

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} among {size}")
    return _path(index, 0, size, nodes)


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Return the hashes that show that the tree of *new* leaves begins with that of *old*.

    Raises:
        ValueError: *old* is not between 1 and *new*.
    """
    if not 1 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    return _subproof(old, 0, new, nodes, is_known=True) if old < new else []


def is_included(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> bool:
    """Whether *proof* leads from the hash *leaf* to the root *expected* (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, found = index, size - 1, leaf
    for each in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(each, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, each)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == expected


def is_consistent(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether *proof* shows that *new* leaves begin with *old* ones (RFC 9162 2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if not 1 <= old < new or not proof:
        return False
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for each in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(each, first), node_hash(each, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, each)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


def _split(size: int) -> int:
    """Return the largest power of two below *size*."""
    return 1 << (size - 1).bit_length() - 1


def _over(low: int, high: int, nodes: Nodes) -> bytes:
    size = high - low
    if size & (size - 1) == 0:  # So it is a complete node: *low* is a multiple of its size.
        level = size.bit_length() - 1
        return nodes(level, low >> level)
    middle = low + _split(size)
    return node_hash(_over(low, middle, nodes), _over(middle, high, nodes))


def _path(index: int, low: int, high: int, nodes: Nodes) -> list[bytes]:
    if high - low == 1:
        return []
    middle = low + _split(high - low)
    if index < middle:
        return [*_path(index, low, middle, nodes), _over(middle, high, nodes)]
    return [*_path(index, middle, high, nodes), _over(low, middle, nodes)]


def _subproof(old: int, low: int, high: int, nodes: Nodes, *, is_known: bool) -> list[bytes]:
    """RFC 6962 2.1.2's SUBPROOF, over [low, high); *is_known* while the old root covers it all."""
    if old == high:
        return [] if is_known else [_over(low, high, nodes)]
    middle = low + _split(high - low)
    if old <= middle:
        proof = _subproof(old, low, middle, nodes, is_known=is_known)
        return [*proof, _over(middle, high, nodes)]
    proof = _subproof(old, middle, high, nodes, is_known=False)
    return [*proof, _over(low, middle, nodes)]
