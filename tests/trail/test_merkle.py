"""The arithmetic of RFC 6962, against the roots of Certificate Transparency's own tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core.trail import merkle

LEAVES = [
    bytes.fromhex(each)
    for each in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first 1 to 8 leaves (certificate-transparency-go, merkletree)."""


def nodes_of(leaves: Sequence[bytes]) -> merkle.Nodes:
    """Hash it all anew at each question, so that nothing is shared with what is tested."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return merkle.leaf_hash(leaves[index])
        left, right = node(level - 1, 2 * index), node(level - 1, 2 * index + 1)
        return merkle.node_hash(left, right)

    return node


def test_the_roots_are_those_of_certificate_transparency() -> None:
    nodes = nodes_of(LEAVES)
    assert [merkle.root(n, nodes).hex() for n in range(1, 9)] == ROOTS
    assert merkle.root(0, nodes) == merkle.EMPTY


def test_every_proof_of_every_small_tree_holds_and_no_other_does() -> None:
    """All leaves of all trees up to 40, with each hash flipped, left out and doubled."""
    leaves = [bytes([n]) for n in range(40)]
    nodes = nodes_of(leaves)
    roots = [merkle.root(n, nodes) for n in range(41)]
    for size in range(1, 41):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, nodes)
            leaf = merkle.leaf_hash(leaves[index])
            assert merkle.is_included(leaf, index, size, proof, roots[size])
            assert not merkle.is_included(leaf, index, size, [*proof, leaf], roots[size])
            assert not merkle.is_included(merkle.leaf_hash(b"x"), index, size, proof, roots[size])
            for at in range(len(proof)):
                assert not merkle.is_included(leaf, index, size, flipped(proof, at), roots[size])
                assert not merkle.is_included(leaf, index, size, proof[:at], roots[size])
        for old in range(1, size + 1):
            proof = merkle.consistency_proof(old, size, nodes)
            assert merkle.is_consistent(old, size, roots[old], roots[size], proof)
            assert not merkle.is_consistent(old, size, roots[old], roots[size], [*proof, leaf])
            if old < size:
                assert not merkle.is_consistent(old, size, leaf, roots[size], proof)
                assert not merkle.is_consistent(old, size, roots[old], leaf, proof)
            for at in range(len(proof)):
                changed = flipped(proof, at)
                assert not merkle.is_consistent(old, size, roots[old], roots[size], changed)


def flipped(proof: Sequence[bytes], at: int) -> list[bytes]:
    return [bytes([each[0] ^ 1]) + each[1:] if n == at else each for n, each in enumerate(proof)]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_what_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_proof(index, size, nodes_of(LEAVES))
    assert not merkle.is_included(merkle.EMPTY, index, size, [], merkle.EMPTY)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_no_tree_begins_with_nothing_or_with_a_larger_one(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="does not begin"):
        merkle.consistency_proof(old, new, nodes_of(LEAVES))
    assert not merkle.is_consistent(old, new, merkle.EMPTY, merkle.EMPTY, [merkle.EMPTY])


@given(
    st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=80),
)  # fmt: skip
def test_hostile_proofs_end_and_prove_nothing(a: int, b: int, proof: list[bytes]) -> None:
    """Whatever numbers and hashes somebody sends."""
    assert not merkle.is_included(merkle.EMPTY, a, b, proof, b"x" * 32)
    assert not merkle.is_consistent(a, b, b"y" * 32, b"x" * 32, proof)
