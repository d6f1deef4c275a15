"""Durable files, digests of trees, locks and the wire."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chittyops_core._kit import files, process, wire
from chittyops_core._kit.locks import FileLock, LockHeldError
from chittyops_core.model.manifest import Health, Hooks, Process, Size
from chittyops_core.model.release import (
    EdgePolicy,
    Lifecycle,
    Release,
    ReleaseConfig,
    SecretRef,
    Variable,
)
from chittyops_core.model.service import Service


def test_a_write_replaces_whole_and_is_private_from_the_first_byte(tmp_path: Path) -> None:
    """Nobody ever sees half a file or a readable secret; no temporary file stays."""
    path = tmp_path / "file"
    before = os.umask(0)
    try:
        files.write_durably(path, "first")
        files.write_durably(path, b"second", mode=0o640)
    finally:
        os.umask(before)

    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_to_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """/dev/full stands for one: what cannot be written does not replace."""
    path = tmp_path / "file"
    path.write_text("old")
    (tmp_path / "big").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space"):
        (tmp_path / "big").write_text("x")
    with pytest.raises(FileNotFoundError):
        files.write_durably(tmp_path / "nowhere" / "file", "new")
    assert path.read_text() == "old"


def test_a_link_is_replaced_by_one_rename(tmp_path: Path) -> None:
    """It points to the old target or to the new one, also where there was none."""
    files.replace_symlink(tmp_path / "live", "a")
    files.replace_symlink(tmp_path / "live", "b")

    assert os.readlink(tmp_path / "live") == "b"
    assert len(list(tmp_path.iterdir())) == 1


def tree(root: Path, content: dict[str, str]) -> str:
    for name, text in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return files.digest_tree(root, list(files.walk_tree(root, lambda name, is_dir: False)))


@pytest.mark.parametrize(
    "other",
    [{"a": "1", "b": "3"}, {"a": "1"}, {"a": "1", "c": "2"}, {"a": "1b2"}, {"a": "1", "b/x": "2"}],
)
def test_other_trees_have_other_digests(tmp_path: Path, other: dict[str, str]) -> None:
    """Names, contents and where one ends and the next begins all count."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()

    assert tree(tmp_path / "one", {"a": "1", "b": "2"}) != tree(tmp_path / "other", other)


def test_the_digest_sees_what_is_executable_and_what_is_a_link(tmp_path: Path) -> None:
    """The same bytes under the same name, but another kind of file."""
    plain = tree(tmp_path, {"a": "1", "b": "1"})
    (tmp_path / "a").chmod(0o755)
    executable = tree(tmp_path, {})
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("b")
    link = tree(tmp_path, {})

    assert len({plain, executable, link}) == 3


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "inner/../../outside", "/"])
def test_symlink_escape_attack(tmp_path: Path, target: str) -> None:
    """A link that leads out of the app's folder is refused, not followed and not copied."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/link").symlink_to(target)

    with pytest.raises(files.UnsafeTreeError, match="leads outside"):
        list(files.walk_tree(tmp_path / "app", lambda name, is_dir: False))


def test_a_socket_in_the_tree_is_refused(tmp_path: Path) -> None:
    """It cannot be copied, and leaving it out silently would be worse."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))

        with pytest.raises(files.UnsafeTreeError, match="neither a file nor a folder"):
            list(files.walk_tree(tmp_path, lambda name, is_dir: False))


def test_a_copy_is_writable_by_nobody_else(tmp_path: Path) -> None:
    """Whatever the source's mode; what is executable stays so; links stay links."""
    (tmp_path / "app").mkdir()
    tree(tmp_path / "app", {"a": "1", "b": "2"})
    (tmp_path / "app/a").chmod(0o777)
    (tmp_path / "app/b").chmod(0o666)
    (tmp_path / "app/c").symlink_to("a")

    files.copy_tree(tmp_path / "app", ["a", "b", "c"], tmp_path / "copy")

    assert (tmp_path / "copy/a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "copy/b").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "copy/c").is_symlink()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    """Another process is refused with pid and purpose; kill -9 of the holder frees it."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from chittyops_core._kit.locks import FileLock\n"
        "FileLock(Path(sys.argv[1])).acquire('deploy', wait=None); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(LockHeldError) as caught:
            FileLock(tmp_path / "lock").acquire("other", wait=None)
        holder.kill()
        holder.wait()

    assert caught.value.holder["pid"] == holder.pid
    assert caught.value.holder["purpose"] == "deploy"
    with FileLock(tmp_path / "lock").acquire("other", wait=None) as lock:
        assert lock.is_held


def test_a_lock_file_of_rubbish_does_not_matter(tmp_path: Path) -> None:
    """What stands in it is only for people."""
    (tmp_path / "lock").write_bytes(b"\xff\0not json")

    with FileLock(tmp_path / "lock").acquire("mine", wait=None):
        assert json.loads((tmp_path / "lock").read_text())["purpose"] == "mine"


text = st.text(max_size=20)
seconds = st.integers(0, 10**6).map(lambda n: timedelta(milliseconds=n))
configs = st.builds(
    ReleaseConfig,
    processes=st.dictionaries(
        text, st.builds(Process, st.just("x"), st.integers(1, 12), st.none() | st.just(Size(5)))
    ),
    variables=st.dictionaries(
        text,
        st.builds(Variable, value=text)
        | st.builds(Variable, secret=st.builds(SecretRef, text, st.none() | text)),
    ),
    health=st.builds(Health, soak=st.just(timedelta(seconds=3))),
    lifecycle=st.builds(Lifecycle, drain=seconds, warm_rollback=seconds),
    hooks=st.just(Hooks(post_gate="x")),
    edge=st.builds(EdgePolicy, hosts=st.just(("a.example",)), headers=st.dictionaries(text, text)),
)


@given(configs, text)
def test_a_release_survives_the_wire(config: ReleaseConfig, artifact: str) -> None:
    """What is written is what is read, and so its id stays its id."""
    release = Release(Service("app"), artifact, config)

    back = wire.from_wire(Release, json.loads(json.dumps(wire.to_wire(release))))

    assert back == release
    assert back.id == release.id


def test_unknown_keys_from_a_newer_peer_are_ignored() -> None:
    """Adding one must not break an older caller or host."""
    assert wire.from_wire(Service, {"app": "a", "newer": 1}) == Service("a")


def test_a_zombie_counts_as_ended() -> None:
    """Nobody waits for the grace of a process whose parent takes no notice of its end."""
    parent_code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    grace_s = 60.0
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        start = time.monotonic()

        ended = process.end_processes([child], grace_s=grace_s)

        took_s = time.monotonic() - start
        assert (ended, child.status()) == (1, psutil.STATUS_ZOMBIE)
        assert took_s < grace_s
        parent.communicate()


def test_a_log_that_is_no_terminal_s_has_tracebacks_as_text() -> None:
    """Not as the names of Python's objects, by which nobody finds the line."""
    code = (
        "from chittyops_core._kit import logs\n"
        "logs.configure('INFO')\n"
        "try:\n    [][1]\n"
        "except IndexError:\n    logs.get_logger('x').exception('part.failed', number=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(done.stderr)
    assert (told["event"], told["number"]) == ("part.failed", 1)
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("IndexError: list index out of range")
