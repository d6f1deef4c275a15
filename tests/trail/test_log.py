"""The log: what was acknowledged is there whatever happens, and what was changed is found."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chittyops_core.errors import TrailError
from chittyops_core.trail import merkle
from chittyops_core.trail.log import MAX_ENTRY, Log
from chittyops_core.trail.note import Checkpoint, Signer
from chittyops_core.trail.tiles import WIDTH, tile_name
from conftest import IS_CHAOS_FULL
from trail_driver import KEY, NAME

SIGNER = Signer(NAME, KEY)
DRIVER = Path(__file__).parent.parent / "trail_driver.py"
KILLS = 1000 if IS_CHAOS_FULL else 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trail"


def filled(folder: Path, count: int, *, at_once: int = 7) -> Log:
    log = Log(folder, SIGNER)
    numbers = iter(range(count))
    while batch := [b"entry %d" % n for _, n in zip(range(at_once), numbers, strict=False)]:
        log.append(*batch)
    return log


def require_whole(log: Log, count: int) -> None:
    """All entries, in order, each proven by the checkpoint."""
    assert log.verify() == count
    assert list(log.entries()) == [b"entry %d" % n for n in range(count)]
    head = Checkpoint.from_text(SIGNER.verifier.open(log.checkpoint))
    assert (head.origin, head.size) == (NAME, count)
    for index in {0, count // 2, count - 1}:
        proof = log.proof(index)
        leaf = merkle.leaf_hash(proof.entry)
        assert proof.entry == b"entry %d" % index
        assert merkle.is_included(leaf, index, count, proof.hashes, head.root)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_what_was_appended_is_there_and_proven_also_when_it_is_opened_again(
    folder: Path, count: int
) -> None:
    require_whole(filled(folder, count), count)
    require_whole(Log(folder, SIGNER), count)


def test_an_empty_log_has_no_checkpoint_and_the_root_of_nothing(folder: Path) -> None:
    log = Log(folder, SIGNER)
    assert (log.size, log.checkpoint, list(log.entries()), log.verify()) == (0, b"", [], 0)
    with pytest.raises(TrailError, match="no entry 0"):
        log.proof(0)


def test_every_checkpoint_is_the_beginning_of_those_that_follow(folder: Path) -> None:
    log = Log(folder, SIGNER)
    heads = []
    for number in range(40):
        log.append(b"entry %d" % number)
        heads.append(Checkpoint.from_text(SIGNER.verifier.open(log.checkpoint)))
    for head in heads:
        proof, note = log.consistency(head.size)
        now = Checkpoint.from_text(SIGNER.verifier.open(note))
        assert merkle.is_consistent(head.size, now.size, head.root, now.root, proof)


@pytest.mark.parametrize("entry", [b"", b"x" * (MAX_ENTRY + 1)])
def test_what_is_no_entry_is_refused_and_nothing_of_it_is_kept(folder: Path, entry: bytes) -> None:
    log = filled(folder, 3)
    with pytest.raises(TrailError, match="bytes"):
        log.append(b"good", entry)
    require_whole(log, 3)


def test_the_largest_entry_and_any_bytes_are_kept(folder: Path) -> None:
    log = Log(folder, SIGNER)
    odd = [b"x" * MAX_ENTRY, b"\xff\xff\x00\x00\x00\x01", b"\n\n", b"\x00"]
    log.append(*odd)
    assert list(Log(folder, SIGNER).entries()) == odd


def test_tiles_and_offsets_can_go_and_are_made_again(folder: Path) -> None:
    """Missing, cut off or of something else: only the file `log` counts."""
    filled(folder, 1000).close()
    for harm in ("gone", "cut", "other", "offsets"):
        tile = folder / tile_name(0, 1)
        if harm == "gone":
            shutil.rmtree(folder / "tile")
        elif harm == "cut":
            tile.write_bytes(tile.read_bytes()[:100])
        elif harm == "other":
            tile.write_bytes(bytes(WIDTH * 32))
        else:
            (folder / "offsets").write_bytes(b"\xff" * 24)
        require_whole(Log(folder, SIGNER), 1000)


def test_threads_and_processes_append_at_once_and_lose_nothing(folder: Path) -> None:
    """Each gets indexes of its own, and all of it is in one tree."""
    log = Log(folder, SIGNER)
    others = [start(folder, str(n)) for n in range(2)]
    seen: list[range] = []

    def work(name: int) -> None:
        for turn in range(30):
            seen.append(log.append(b"t %d %d" % (name, turn), b"second"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [stop(other) for other in others]

    entries = list(Log(folder, SIGNER).entries())
    assert log.verify() == len(entries)
    assert len({each.start for each in seen}) == 240
    assert all(entries[each.start].startswith(b"t ") for each in seen)
    assert all(entries[index] == text for lines in told for index, text in lines.items())


# --- kills, full disks ---


@pytest.mark.chaos
def test_what_was_acknowledged_survives_every_kill(folder: Path) -> None:
    """kill -9 at random moments: the log opens, verifies, and has all that it had told."""
    chance = random.Random(6)
    told: dict[int, bytes] = {}
    for turn in range(KILLS):
        running = start(folder, f"turn {turn}", size=chance.choice(("1", "3", "300")))
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.03))
        told |= stop(running, signal.SIGKILL)
    log = Log(folder, SIGNER)
    assert log.verify() == log.size >= KILLS
    entries = list(log.entries())
    assert {index: entries[index] for index in told} == told


@pytest.mark.parametrize("cut", [1, 2, 5, 60, 150])
def test_a_torn_batch_is_set_aside_and_the_next_one_goes_on(folder: Path, cut: int) -> None:
    """As a power cut leaves it: the file ends in the middle of a batch without a checkpoint."""
    filled(folder, 300).close()
    whole = (folder / "log").read_bytes()
    log = Log(folder, SIGNER)
    log.append(*(b"torn %d" % n for n in range(20)))
    log.close()
    raw = (folder / "log").read_bytes()
    torn = raw[: len(raw) - cut]
    (folder / "log").write_bytes(torn)

    again = Log(folder, SIGNER)

    require_whole(again, 300)
    assert next(folder.glob("torn-*")).read_bytes() == torn[len(whole) :]
    again.append(b"entry 300")
    require_whole(Log(folder, SIGNER), 301)


def test_a_full_disk_takes_back_the_batch_and_goes_on_when_there_is_room() -> None:
    """Nothing half-written stays, and the tree is what the file is."""
    with small_disk() as disk:
        log = filled(disk / "trail", 100)
        ballast = disk / "ballast"
        fill = ["dd", "if=/dev/zero", f"of={ballast}", "bs=4096"]
        assert subprocess.run(fill, capture_output=True, check=False).returncode == 1
        with pytest.raises(TrailError, match="the disk is full") as caught:
            for _ in range(100):
                log.append(bytes([1]) * 4000)
        assert caught.value.facts["cause"] == "full"
        kept = log.size
        ballast.unlink()
        log.append(b"after")
        assert log.verify() == kept + 1
        assert Log(disk / "trail", SIGNER).verify() == kept + 1
        log.close()


class small_disk:
    """A file system of 1 MiB."""

    def __enter__(self) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root can mount a small disk")
        self._at = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1M", "chittyops-test", str(self._at)],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a tmpfs")
        return self._at

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self._at)], check=True)
        self._at.rmdir()


# --- changed ---


def test_bit_flip_attack(folder: Path) -> None:
    """Every single bit of entries, lengths and checkpoints: found, nothing is written, and no
    acknowledged entry is taken for a torn one."""
    log = Log(folder, SIGNER)
    for n in range(2):
        log.append(b"e%d" % n, b"f")
    log.close()
    raw = (folder / "log").read_bytes()
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        (folder / "log").write_bytes(changed)
        with pytest.raises(TrailError, match="changed or is damaged"):
            Log(folder, SIGNER)
        assert (folder / "log").read_bytes() == changed, bit


def test_a_torn_batch_that_tells_of_an_older_checkpoint_is_torn_all_the_same(folder: Path) -> None:
    """As when a witness's answer was being recorded."""
    log = filled(folder, 10)
    log.append(b"seen: " + log.checkpoint, b"more")
    log.close()
    raw = (folder / "log").read_bytes()
    (folder / "log").write_bytes(raw[:-3])
    require_whole(Log(folder, SIGNER), 10)


def test_rewritten_history_attack(folder: Path, tmp_path: Path) -> None:
    """Somebody with the key writes another history: no proof leads from the old head to it."""
    old = filled(folder, 10)
    head = Checkpoint.from_text(SIGNER.verifier.open(old.checkpoint))
    forged = Log(tmp_path / "forged", SIGNER)
    forged.append(*(b"forged %d" % n for n in range(20)))
    proof, note = forged.consistency(10)
    now = Checkpoint.from_text(SIGNER.verifier.open(note))
    assert not merkle.is_consistent(10, now.size, head.root, now.root, proof)


def test_another_key_attack(folder: Path) -> None:
    """A log that another key has signed is not taken for ours."""
    filled(folder, 5).close()
    with pytest.raises(TrailError, match="changed or is damaged"):
        Log(folder, Signer(NAME, Ed25519PrivateKey.generate()))


def test_cut_off_while_it_is_open_attack(folder: Path) -> None:
    """The file gets shorter under a process that knows better."""
    log = filled(folder, 20)
    os.truncate(folder / "log", 50)
    with pytest.raises(TrailError, match="shorter"):
        log.append(b"more")
    with pytest.raises(TrailError, match="shorter"):
        log.verify()


# --- the driver ---


def start(folder: Path, name: str, *, size: str = "1") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), name, size], stdout=subprocess.PIPE, bufsize=0
    )


def stop(
    running: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM
) -> dict[int, bytes]:
    """End it; return what it had told: index -> entry."""
    if number is signal.SIGTERM:
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(0.1)
    running.send_signal(number)
    said, _ = running.communicate(timeout=30)
    lines = [line.split(b"\t") for line in said.split(b"\n")[:-1]]
    return {int(index): entry for index, entry in lines}
