"""Durable, atomic changes to files, and digests of trees.

Every write is temp file, fsync, rename, fsync of the directory, so that a crash at any point
leaves the old content or the new one, never half of it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = [
    "UnsafeTreeError",
    "copy_tree",
    "digest_tree",
    "ensure_private_dir",
    "is_bytecode",
    "remove_tree",
    "replace_symlink",
    "sync_dir",
    "walk_tree",
    "write_durably",
]

_CHUNK_BYTES = 1 << 20


class UnsafeTreeError(ValueError):
    """The tree holds what may not be copied: a device, a socket, a link that leads outside."""


def ensure_private_dir(path: Path) -> Path:
    """Create *path* and its parents, only its owner may enter it; return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(path.stat().st_mode) != 0o700:
        path.chmod(0o700)
    return path


def sync_dir(path: Path) -> None:
    """Make the names in *path* durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes | str, *, mode: int = 0o600) -> None:
    """Replace *path* by *data* atomically; *mode* holds from the first byte on."""
    raw = data.encode() if isinstance(data, str) else data
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


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
