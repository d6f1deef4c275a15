"""Durable, atomic changes to files, and digests of trees.

Every write is temp file, fsync, rename, fsync of the directory, so that a crash at any point
leaves the old content or the new one, never half of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "UnsafeTreeError",
    "copy_tree",
    "digest_tree",
    "ensure_private_dir",
    "file_digest",
    "hand_over",
    "let_read",
    "open_regular",
    "is_bytecode",
    "kept_names",
    "remove_tree",
    "replace_symlink",
    "sync_dir",
    "tree_bytes",
    "walk_tree",
    "write_atomically",
    "write_durably",
]

_CHUNK_BYTES = 1 << 20


class UnsafeTreeError(ValueError):
    """The tree holds what may not be copied: a device, a socket, a link that leads outside."""


def ensure_private_dir(path: Path, *, passable: bool = False) -> Path:
    """Create *path* and its parents, only its owner may enter it; return it.

    A *passable* one that others may pass through, but neither list nor change, stays so.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = (0o700, 0o710, 0o711) if passable else (0o700,)
    if stat.S_IMODE(path.stat().st_mode) not in private:
        path.chmod(0o700)
    return path


def hand_over(root: Path, user: int) -> None:
    """Make *root* and all below it *user*'s, who may be changing it at this moment.

    Nothing outside can be handed over: neither what a link leads to, nor a file that has another
    name as well (a hard link), nor a device. Every entry is opened without following links, and
    what is opened is what is looked at and changed.
    """
    for _, folders, names, folder in os.fwalk(root, topdown=False, follow_symlinks=False):
        for name in (*folders, *names):
            try:
                entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                continue  # It went away meanwhile.
            try:
                if _may_change_hands(os.fstat(entry), user):
                    os.chown(f"/proc/self/fd/{entry}", user, user)
            finally:
                os.close(entry)
        os.fchown(folder, user, user)


def _may_change_hands(info: os.stat_result, user: int) -> bool:
    if (info.st_uid, info.st_gid) == (user, user):
        return False
    if stat.S_ISDIR(info.st_mode):
        return True
    is_own = (
        stat.S_ISREG(info.st_mode) or stat.S_ISFIFO(info.st_mode) or stat.S_ISSOCK(info.st_mode)
    )
    return is_own and info.st_nlink == 1


def let_read(root: Path) -> None:
    """Let everybody who can reach *root* read what is below it, and only its owner change it."""
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                continue
            passing = 0o111 if mode & 0o100 else 0
            wanted = (stat.S_IMODE(mode) | 0o444 | passing) & ~0o022
            if wanted != stat.S_IMODE(mode):
                os.chmod(path, wanted)


def open_regular(path: str) -> int:
    """Open a regular file for reading, return its descriptor. Raises OSError for anything else.

    Neither follows a link nor waits for the other end of a pipe.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def sync_dir(path: Path) -> None:
    """Make the names in *path* durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(
    path: Path, data: bytes | str, *, mode: int = 0o600, owner: int | None = None
) -> None:
    """Replace *path* by *data* atomically; *mode* and *owner* hold from the first byte on."""
    write_atomically(path, data, mode=mode, owner=owner, sync=True)
    sync_dir(path.parent)


def write_atomically(
    path: Path, data: bytes | str, *, mode: int = 0o600, owner: int | None = None,
    sync: bool = False,
) -> None:  # fmt: skip
    """Replace *path* as `write_durably` does; without *sync* a power cut may leave it empty.

    For what means nothing after a power cut, such as all that is in `run/`.
    """
    raw = data.encode() if isinstance(data, str) else data
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner, owner)
            file.write(raw)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def replace_symlink(link: Path, target: str, *, sync: bool = True) -> None:
    """Point *link* at *target* by one rename: readers see the old target or the new one.

    Without *sync* the caller makes it durable, by `sync_dir` of its folder.
    """
    temp = link.with_name(f".{link.name}.{secrets.token_hex(4)}.tmp")
    temp.symlink_to(target)
    try:
        temp.replace(link)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    if sync:
        sync_dir(link.parent)


@contextmanager
def kept_names(*paths: Path) -> Iterator[None]:
    """Keep *paths* what they are, though another process removes the names meanwhile.

    As a server does that ends, with a socket whose name its successor has taken over.
    """
    links = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.kept") for path in paths]
    for path, link in zip(paths, links, strict=True):
        os.link(path, link)
    try:
        yield
    finally:
        for path, link in zip(paths, links, strict=True):
            link.replace(path)
            # POSIX: a rename between two names of one file does nothing.
            link.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove *path* and all below it; do nothing when it is not there.

    The name goes first, by a rename, so that a crash never leaves half a tree under it.
    """
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name}.{secrets.token_hex(4)}.gone")
    path.rename(doomed)
    shutil.rmtree(doomed)


def walk_tree(root: Path, skip: Callable[[str, bool], bool]) -> Iterator[str]:
    """Yield the relative POSIX paths of files and links below *root*, sorted.

    Args:
        root: The folder to walk; links are not followed.
        skip: Called with (relative path, whether it is a folder); true leaves it out.

    Raises:
        UnsafeTreeError: An entry is neither file, folder nor link, or a link leads outside.
    """

    def visit(folder: Path, prefix: str) -> Iterator[str]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            relative = prefix + entry.name
            if skip(relative, entry.is_dir(follow_symlinks=False)):
                continue
            if entry.is_symlink():
                _require_inside(root, folder, entry)
                yield relative
            elif entry.is_dir():
                yield from visit(Path(entry.path), relative + "/")
            elif entry.is_file():
                yield relative
            else:
                raise UnsafeTreeError(
                    f"{relative!r} is neither a file nor a folder (a socket or a device)"
                )

    yield from visit(root, "")


def tree_bytes(root: Path) -> int:
    """Return the bytes on disk of all files below *root*; a file of two names counts at each."""
    total = 0
    for folder, _, names in os.walk(root):
        total += sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in names)
    return total


def is_bytecode(relative: str, _: bool = False) -> bool:
    """Say whether an entry is what Python makes of sources by itself; a *skip* of `walk_tree`."""
    return relative.rsplit("/", 1)[-1] == "__pycache__" or relative.endswith(".pyc")


def _require_inside(root: Path, folder: Path, entry: os.DirEntry[str]) -> None:
    target = os.readlink(entry.path)
    resolved = os.path.normpath(os.path.join(folder, target))
    if Path(target).is_absolute() or not Path(resolved).is_relative_to(root):
        raise UnsafeTreeError(f"the link {entry.path!r} leads outside the folder, to {target!r}")


def digest_tree(root: Path, files: list[str]) -> str:
    """Return the SHA-256 of names, kinds, executable bits and contents, as hexadecimal digits.

    Each part is preceded by its length, so that no two trees give the same bytes.
    """
    total = hashlib.sha256()
    for relative in files:
        path = root / relative
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            kind, content = b"link", hashlib.sha256(os.readlink(path).encode()).digest()
        else:
            kind = b"exec" if info.st_mode & 0o100 else b"file"
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        name = os.fsencode(relative)
        total.update(len(name).to_bytes(4) + name + kind + content)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of one file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_tree(source: Path, files: list[str], target: Path) -> None:
    """Copy *files* of *source* below *target*, links as links, writable by nobody else."""
    for relative in files:
        start, end = source / relative, target / relative
        end.parent.mkdir(parents=True, exist_ok=True)
        if start.is_symlink():
            end.symlink_to(os.readlink(start))
            continue
        shutil.copyfile(start, end)
        end.chmod(0o755 if start.stat().st_mode & 0o100 else 0o644)
