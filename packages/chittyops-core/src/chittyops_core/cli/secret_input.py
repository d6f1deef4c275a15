"""How secrets come in: typed, piped, or from a file. Never as an argument."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click
from attrs import field, frozen

from chittyops_core.errors import SecretError, UsageError

__all__ = ["SecretFile", "ask_value", "is_piped", "read_file"]


@frozen
class SecretFile:
    """What was read.

    Attributes:
        raw: Its bytes.
        warnings: What a person should know of it.
    """

    raw: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()


def is_piped() -> bool:
    return not sys.stdin.isatty()


def ask_value(what: str = "Value") -> str:
    """Return a value typed twice on a terminal, or piped; a piped one loses its last newline."""
    if is_piped():
        return sys.stdin.read().removesuffix("\n")
    return str(click.prompt(what, hide_input=True, confirmation_prompt=True, err=True))


def read_file(path: str, max_bytes: int) -> SecretFile:
    """Read a file of secrets, or stdin for `-`; at most one byte more than *max_bytes*.

    Raises:
        UsageError: It cannot be read.
        SecretError: It is a link or no regular file.
    """
    if path == "-":
        return SecretFile(sys.stdin.buffer.read(max_bytes + 1))
    try:
        # Not through a link, which somebody else may have put there; a pipe shall not hang it.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if Path(path).is_symlink():
            raise SecretError(
                f"{path} is a link",
                remedy="Name the file that it leads to, or pipe it: `secrets import - < FILE`.",
            ) from error
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise SecretError(f"{path} is no regular file", remedy="Pipe it: `secrets import -`.")
    with os.fdopen(fd, "rb") as file:
        return SecretFile(file.read(max_bytes + 1), _warnings(path, mode))


def _warnings(path: str, mode: int) -> tuple[str, ...]:
    others = mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not others:
        return ()
    warning = (
        f"{path} is not yours alone (mode {stat.S_IMODE(mode):o}): others may have seen what is "
        f"in it. `chmod 600 {path}`, delete it after the import, and think of new values."
    )
    return (warning,)
